"""Whole words of a vocabulary, and how many of a caption's words they are."""

import pytest
import torch

from core.gender.logit_words import WordSets, random_sets, word_sets
from core.words.pairs import Pair
from tests.gender.toy_tokenizers import toy_tokenizer

PAIRS = [
    Pair("woman", "man", "noun", "woman", "man"),
    Pair("طبيبة", "طبيب", "role", "طبيبة", "طبيب"),
    Pair("هي", "هو", "pronoun", "هي", "هو"),
    Pair("تقف", "يقف", "agreement", "تقف", "يقف"),
]


class Whole:
    special_ids = frozenset({0})

    def __init__(self, kind):
        self.tokenizer = toy_tokenizer(kind)


def test_only_pairs_that_are_one_token_each_are_compared_so_that_no_token_begins_another_word():
    vlm = Whole("unigram")
    sets = word_sets(vlm, "en", listed=PAIRS)
    assert set(sets.words.values()) == {"woman", "man"} and len(sets.female) == len(sets.male) == 1
    arabic = word_sets(vlm, "ar", listed=PAIRS[1:])
    assert len(arabic.female) == 0 and arabic.covers(["طبيب"]) == 0  # طبي begins both: it is in no set
    assert sets.covers(["Man", "woman", "waiter", "her"]) == 0.5


def test_the_difference_is_that_of_the_sums_over_both_sets_in_every_row():
    sets = WordSets("en", torch.tensor([1, 2]), torch.tensor([3]))
    logits = torch.randn(4, 6)
    expected = logits[:, [1, 2]].exp().sum(1).log() - logits[:, 3]
    torch.testing.assert_close(sets(logits), expected)
    torch.testing.assert_close(sets[1:3](logits[1:3]), expected[1:3])
    none = torch.tensor([], dtype=torch.int64)
    assert torch.isnan(WordSets("en", none, torch.tensor([3]))(logits)).all()


def test_other_words_are_of_the_same_numbers_and_never_the_sets_own():
    sets = WordSets("en", torch.tensor([1, 2]), torch.tensor([3]))
    for other in random_sets(sets, range(12), [0]):
        assert (len(other.female), len(other.male)) == (2, 1)
        assert not {1, 2, 3} & {*other.female.tolist(), *other.male.tolist()}
    assert random_sets(sets, [1, 2], [0]) == []


@pytest.mark.parametrize("lang", ["en", "ar"])
def test_a_word_of_both_sides_is_in_neither(lang):
    twice = [Pair("woman", "man", "noun", "", ""), Pair("man", "woman", "noun", "", "")]
    sets = word_sets(Whole("unigram"), lang, listed=twice)
    assert len(sets.female) == len(sets.male) == 0
