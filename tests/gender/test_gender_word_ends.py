"""Which tokens say that a word is over: true of blanks and punctuation, never of what may go on its spelling."""

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from core.gender.word_ends import ends_word, word_ends
from core.vlm.prompts import Prompts
from tests.vlm.toy_model import toy_vlm


class Bare(Prompts):
    """A tokenizer with a vocabulary padded by five rows, and no model."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self.tokenizer, self.eos_ids = tokenizer, (tokenizer.eos_token_id,)
        self.special_ids = frozenset(tokenizer.all_special_ids)

    def unembed(self):
        return torch.empty(len(self.tokenizer) + 5, 0)

    def vocabulary(self):
        return [self.token_strings([i])[0] for i in range(len(self.tokenizer) + 5)]


def trained(kind: str) -> Bare:
    """A small unigram tokenizer with byte fallback, or a byte-level BPE."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    texts = ["A woman walks, a man's dog. طبيبة تقف، والطبيب يقف؟", "women\nand men (two) 3 طبيبات"] * 20
    if kind == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        letters = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<eos>"], initial_alphabet=letters)
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        special = ["<unk>", "<eos>", "<unused0>"]
        trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(texts, trainer)
    return Bare(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>"))


@pytest.mark.parametrize("kind", ["bytes", "unigram"])
def test_a_word_is_over_where_its_own_letters_cannot_go_on(kind: str) -> None:
    vlm = trained(kind)
    ends, n = word_ends(vlm), len(vlm.tokenizer)
    assert ends.shape == (n + 5,) and ends.dtype == torch.bool and not ends[n:].any()
    for text, behind in (("a woman", " walks"), ("طبيبة", " تقف"), ("طبيبة", "، وال"), ("man", "'s"), ("a", "\nb")):
        whole, first = (vlm.tokenizer(t, add_special_tokens=False).input_ids for t in (text + behind, text))
        if whole[: len(first)] == first and "\ufffd" not in vlm.token_strings(whole[len(first) :])[0]:
            assert ends[whole[len(first)]], (text, behind)
    for word in ("woman", "women", "طبيبة", "والطبيب", "طبيبات"):
        assert not ends[vlm.tokenizer(f" {word}", add_special_tokens=False).input_ids[1:]][1:].any(), word
    assert ends[vlm.tokenizer.eos_token_id] and word_ends(vlm) is ends


@pytest.mark.parametrize("piece", [" man", " ", "\n", ".", "،", "؟", "'s", "-made", "»", "…", "\t"])
def test_what_parts_words_ends_one(piece: str) -> None:
    assert ends_word(piece)


@pytest.mark.parametrize(
    "piece", ["ة", "men", "3", "_", "\u0651", "ـ", "\u200c", "\u00ad", "ु", "\ufffd", "", "<unused7>"]
)
def test_letters_marks_parts_of_characters_and_reserved_tokens_end_none(piece: str) -> None:
    assert not ends_word(piece)


def test_of_a_captioner_the_end_of_its_turn_ends_a_word() -> None:
    vlm = toy_vlm()
    assert word_ends(vlm)[list(vlm.eos_ids)].all() and 0.1 < word_ends(vlm).float().mean() < 0.95
