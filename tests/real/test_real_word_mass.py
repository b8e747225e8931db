"""With the published tokenizer the tries hold the forms that first tokens miss."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.gender.word_ends import ends_word
from core.gender.word_mass import WordTrie

pytestmark = pytest.mark.real
PAIRS = (("طبيب", "طبيبة"), ("لاعب", "لاعبة"), ("معلم", "معلمة"), ("والمهندس", "والمهندسة"))


class Bare:
    """What a trie needs of a model."""

    def __init__(self, tokenizer: Any):
        self.tokenizer, self.special_ids = tokenizer, frozenset(tokenizer.all_special_ids)


def test_forms_that_share_their_first_pieces_part_in_the_trie(real_tokenizer: Any) -> None:
    words = WordTrie(Bare(real_tokenizer), "ar")
    for man, woman in PAIRS:
        ways = [real_tokenizer(f". {form}", add_special_tokens=False).input_ids[1:] for form in (man, woman)]
        genders = []
        for ids in ways:
            node = words.root("مع")
            for token in ids:
                node = node.children[token]
            genders.append(node.gender)
        assert genders[1] == "female" and genders[0] in ("male", "unmarked")
    alone = real_tokenizer(". العالم", add_special_tokens=False).input_ids[1:]
    assert len(alone) == 1 and not words.inside.children.get(alone[0], words.inside).gender  # "the world"


def test_no_piece_within_a_form_ends_a_word(real_tokenizer: Any) -> None:
    for lang in ("en", "ar"):
        waiting, inner = [WordTrie(Bare(real_tokenizer), lang).inside], set()
        below = list(waiting[0].children.values())
        while below:
            node = below.pop()
            inner |= set(node.children)
            below += node.children.values()
        names = [real_tokenizer.convert_ids_to_tokens(i).replace("▁", " ") for i in inner]
        assert not torch.tensor([ends_word(name) for name in names]).any()
