"""The demo captioner's tokenizer cuts nouns for persons as large vocabularies do: genders share the first pieces."""

import random
from collections import Counter

import pytest

from core.demo.captioner import IN_PIECES, build_tokenizer
from core.demo.world import LANGUAGES, PROMPTS, ROLES, DemoWorld


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def pieces(tokenizer, text):
    return tokenizer.tokenize(text)


def parting(tokenizer, before, one, other):
    """Place (from 1) of the first piece in which two words differ, counted from the one that the word begins in.

    A word that ends where the other goes on differs from it in the piece after its last.
    """
    outer = pieces(tokenizer, "x")
    a, b = ([*pieces(tokenizer, f"x {before}{word}")[len(outer) :], end] for word, end in ((one, ""), (other, None)))
    return next(i for i, (x, y) in enumerate(zip(a, b, strict=False), 1) if x != y)


@pytest.mark.parametrize("before", ["", "ال", "و"], ids=["blank", "al", "wa"])
def test_the_genders_of_arabic_roles_part_at_the_second_piece_or_later(tokenizer, before):
    pairs = {(role.ar_male.split()[0], role.ar_female.split()[0]) for role in ROLES}
    places = Counter(parting(tokenizer, before, *pair) for pair in pairs)
    print(before or "blank", dict(sorted(places.items())))
    assert places[1] <= 0.1 * len(pairs)
    assert sum(n >= 2 for n in places.values()) >= 2  # not all at one place
    if not before:
        assert all(places[place] >= 0.25 * len(pairs) for place in (2, 3))


def test_of_other_pairs_some_part_at_the_first_piece_and_some_later(tokenizer):
    for one, other in (("man", "woman"), ("his", "her"), ("رجل", "امرأة"), ("يقف", "تقف")):
        assert parting(tokenizer, "", one, other) == 1
    assert parting(tokenizer, "", "he", "her") == 2  # a word for a woman begins as one for a man does
    assert parting(tokenizer, "", "هو", "هي") == 2
    assert parting(tokenizer, "", "وبجانبه", "وبجانبها") == 3
    for word in IN_PIECES:
        assert len(pieces(tokenizer, word)) > 1


def test_it_is_gemmas_pipeline(tokenizer):
    """Blanks are part of the pieces, unknown letters become bytes, nothing splits at words, every text comes back."""
    for text in ("A person and their dog.", "طبيبة مع كلب على خلفية حمراء.", "π 中", " two  blanks "):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert pieces(tokenizer, "é") == ["<0xC3>", "<0xA9>"]


def test_captions_stay_short(tokenizer):
    """On the mean 14 pieces in English and 10 in Arabic; prompts are frequent and take few."""
    world, rng = DemoWorld(), random.Random(9)
    for lang, most in (("en", 16), ("ar", 12)):
        texts = [t for _ in range(200) for t in world.references(world.scene(rng), lang, rng)]
        assert sum(len(pieces(tokenizer, t)) for t in texts) / len(texts) < most
    assert max(len(pieces(tokenizer, p)) for lang in LANGUAGES for p in PROMPTS[lang]) <= 8
