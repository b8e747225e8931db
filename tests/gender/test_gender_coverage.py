"""For how many captions and forms the contrasts speak."""

import pytest

from core.config.sections import MIN_COVERAGE
from core.gender.coverage import coverage
from core.gender.tokenized_forms import forms
from tests.gender.toy_tokenizers import KINDS, toy_tokenizer


@pytest.mark.parametrize("lang", ["en", "ar"])
@pytest.mark.parametrize("kind", KINDS)
def test_however_a_tokenizer_cuts_them_nearly_all_forms_part_somewhere_and_in_arabic_seldom_at_the_first_piece(
    kind, lang
):
    tokenizer = toy_tokenizer(kind)
    found = forms(tokenizer, lang)
    if kind == "unigram":  # it lacks letters: forms with an unknown one may be spelled alike
        return
    assert found.n > 200 and found.n_covered / found.n > 0.9 and sum(found.parts.values()) == found.n_covered
    if lang == "ar":
        assert found.parts["first"] / found.n_covered < 0.5


def test_below_its_limit_a_language_is_not_spoken_for_and_the_most_frequent_reason_is_said():
    rows = [{"why": ""}] * 5 + [{"why": "rare"}] + [{"why": "no counterpart"}] * 4
    few = coverage(rows, 40)
    assert (few.n_captions, few.n_gendered, few.n_covered) == (40, 10, 5) and few.share == 0.5 < MIN_COVERAGE
    assert "5 of 10" in few.why and "no counterpart" in few.why
    assert coverage([{"why": ""}] * 3 + [{"why": "rare"}] * 2, 9).why == ""
    assert "no caption names" in coverage([], 9).why
