"""The token of a character, for tokenizers of words, of pieces and of single bytes."""

from hypothesis import given
from hypothesis import strategies as st

from core.gender.positions import token_at


@given(st.lists(st.text("abاب ", min_size=1, max_size=5), min_size=1, max_size=12), st.data())
def test_the_token_found_holds_the_character(pieces, data):
    def decode(ids):
        return "".join(pieces[i] for i in ids).strip()

    ids = list(range(len(pieces)))
    text = decode(ids)
    letters = [i for i, char in enumerate(text) if not char.isspace()]
    if not letters:
        return
    offset = data.draw(st.sampled_from(letters))
    found = token_at(ids, offset, decode)
    assert len(decode(ids[: found + 1])) > offset >= len(decode(ids[:found]))


def test_a_letter_of_two_byte_tokens_is_found():
    data = "رجل".encode()

    def decode(ids):
        return bytes(data[i] for i in ids).decode("utf-8", errors="replace")

    assert token_at(range(6), 0, decode) in (0, 1) and token_at(range(6), 2, decode) in (4, 5)


def test_a_character_behind_the_end_is_in_no_token():
    assert token_at([0, 1], 9, lambda ids: "ab"[: len(ids)]) == 2
