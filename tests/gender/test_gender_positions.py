"""The token of a character, for tokenizers of pieces and of single bytes, with and without offsets."""

import pytest

from core.gender.positions import token_at, token_spans
from tests.gender.toy_tokenizers import AR, EN, KINDS, toy_tokenizer

TEXTS = (*EN, *AR, "طبيبة 🧑🏽‍⚕️ مع كرة", "a man \U0001f9d1 and \u2603 his dog", "é ü طِبّيب")


class Bare:
    """A tokenizer that knows no offsets."""

    def __init__(self, tokenizer):
        self.decode = tokenizer.decode


@pytest.mark.parametrize("offsets", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_character_is_held_by_the_first_token_that_spells_it(kind, offsets):
    tokenizer = toy_tokenizer(kind)
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if tokenizer.unk_token_id in ids or "<unk>" in tokenizer.convert_ids_to_tokens(ids):
            continue
        assert tokenizer.decode(ids) == text
        spans = token_spans(ids, tokenizer if offsets else Bare(tokenizer))
        for offset, letter in enumerate(text):
            if letter.isspace():
                continue
            at = token_at(spans, offset)
            before, until = (tokenizer.decode(ids[:n]) for n in (at, at + 1))
            rest = next(
                n for n in range(at + 1, len(ids) + 1) if tokenizer.decode(ids[:n]).startswith(text[: offset + 1])
            )
            assert text.startswith(before.rstrip("\ufffd")) and len(before.rstrip("\ufffd")) <= offset, (text, offset)
            assert until.startswith(text[: offset + 1]) or (rest > at + 1 and "\ufffd" in until), (text, offset)


def test_both_ways_agree_where_the_caption_is_in_the_tokenizers_own_tokens():
    for kind in KINDS:
        tokenizer = toy_tokenizer(kind)
        for text in (*EN, *AR):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            both = [token_spans(ids, t) for t in (tokenizer, Bare(tokenizer))]
            letters = [i for i, c in enumerate(text) if not c.isspace()]
            assert [token_at(both[0], i) for i in letters] == [token_at(both[1], i) for i in letters]


def test_a_character_behind_the_end_is_in_no_token_and_blanks_in_front_do_not_count():
    tokenizer = toy_tokenizer("fallback")
    ids = tokenizer(" A man", add_special_tokens=False)["input_ids"]
    spans = token_spans(ids, tokenizer)
    assert token_at(spans, 99) == len(ids)
    assert tokenizer.decode(ids[: token_at(spans, 2)]).strip() == "A"


def test_a_caption_that_was_not_cut_as_the_tokenizer_would_is_read_all_the_same():
    tokenizer = toy_tokenizer("bytes")
    ids = [i for letter in "A man" for i in tokenizer(letter, add_special_tokens=False)["input_ids"]]
    assert ids != tokenizer("A man", add_special_tokens=False)["input_ids"]
    spans = token_spans(ids, tokenizer)
    assert [token_at(spans, i) for i in range(5)] == [0, 1, 2, 3, 4]
