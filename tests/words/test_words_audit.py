"""The audit: nothing where nothing changed, the whole change where all did, and no conclusion from shorter captions."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from core.answers.audit import audit_answer
from core.words.audit import MIN_IMAGES, TOTAL, _intervals, audit, occurrences, signed_rank
from core.words.lexicon import split_words

LONG = "A {} stands beside a red car near the old stone bridge."


def captions(before, after, n=60):
    return pd.DataFrame(
        {"image_id": range(n), "before": [before(i) for i in range(n)], "after": [after(i) for i in range(n)]}
    )


def row(result, term):
    return result.terms.set_index("term").loc[term]


def person(i):
    return LONG.format("man" if i % 2 else "woman")


def test_the_same_captions_show_no_change():
    result = audit(captions(person, person), "en")
    total = row(result, TOTAL)
    assert (total["before"], total["after"], total["n_nonzero"]) == (60, 60, 0)
    assert np.isnan([total["change_low"], total["rate_low"], total["p"]]).all()
    assert audit_answer(result.terms).sure == "unclear" and "No change can be shown" in audit_answer(result.terms).text
    assert (result.flips["before"] == result.flips["after"]).all()


def test_captions_that_only_vary_by_chance_are_rarely_called_changed():
    rng = np.random.default_rng(0)
    changed = 0
    for _ in range(30):
        texts = np.where(rng.random((2, 60)) < 0.5, LONG.format("man"), LONG.format("tree"))
        made = captions(texts[0].__getitem__, texts[1].__getitem__)
        total = row(audit(made, "en"), TOTAL)
        changed += not total["change_low"] <= 0 <= total["change_high"]
    assert changed <= 5  # 5 % of 30 is 1.5; more than 5 has a chance of 1 in 300


def test_all_women_turned_into_men_are_all_found():
    result = audit(captions(lambda i: LONG.format("woman"), lambda i: LONG.format("man")), "en")
    assert row(result, "female")["change"] == -60 and row(result, "male")["change"] == 60
    assert row(result, "female")["p"] < 1e-9 and row(result, TOTAL)["change"] == 0
    assert result.flips.to_dict("records") == [{"before": "female", "after": "male", "n": 60}]


def test_words_taken_out_are_rarer_by_number_and_by_rate():
    result = audit(captions(person, lambda i: LONG.format("statue")), "en")
    total = row(result, TOTAL)
    assert total["change"] == -60 and total["rate_high"] < 0
    answer = audit_answer(result.terms)
    assert answer.sure == "supported" and "rarer, by number and by rate" in answer.text and "no control" in answer.text


def test_captions_that_only_got_shorter_prove_nothing_about_gender():
    two = "A man and a car. A man and a car."
    result = audit(captions(lambda i: two, lambda i: two[: len(two) // 2]), "en")
    total = row(result, TOTAL)
    assert total["change_high"] < 0 and total["rate_change"] == pytest.approx(0)
    answer = audit_answer(result.terms)
    assert answer.sure == "unclear" and "got shorter" in answer.text and "may not be concluded" in answer.text


def test_captions_cut_at_their_end_are_said_to_be_shorter():
    result = audit(captions(person, lambda i: " ".join(person(i).split()[:4])), "en")
    assert row(result, TOTAL)["rate_low"] > 0 and "the number alone does not show it" in audit_answer(result.terms).text
    assert "a rate moves by itself" in audit_answer(result.terms).text


def test_few_images_give_counts_and_no_number_more():
    result = audit(captions(person, person, n=MIN_IMAGES - 1), "en")
    total = row(result, TOTAL)
    assert total["before"] == MIN_IMAGES - 1 and np.isnan(total["change_low"]) and np.isnan(total["p"])
    assert audit_answer(result.terms).sure == "not enough data" and str(MIN_IMAGES) in total["why"]


def test_captions_of_one_image_are_one_unit():
    frame = captions(person, lambda i: LONG.format("statue"), n=40)
    many = pd.concat([frame] * 5)
    one, five = audit(frame, "en"), audit(many, "en")
    assert five.n_images == one.n_images == 40
    assert row(five, TOTAL)["p"] == row(one, TOTAL)["p"]
    assert row(five, "female")["change_low"] == pytest.approx(5 * row(one, "female")["change_low"])


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_intervals_of_few_captions_hold_the_change_where_there_is_one(share):
    """20 images of which a share loses its word: 0.93 is asked, 3.3 standard errors of 200 files below it allowed."""
    rng, n = np.random.default_rng(3), 20
    lost, words = rng.random((200, n)) < share, np.full(n, len(LONG.split()))
    sides = [[np.column_stack([has, words]) for has in side] for side in (np.ones((200, n)), 1.0 - lost)]
    ends = np.array([_intervals(before, after) for before, after in zip(*sides, strict=True)])[..., 0]
    truth = np.array([-n * share, -1000 * share / words[0]])
    missed = ((ends[:, :, 0] > truth) | (ends[:, :, 1] < truth)).mean(0)
    assert (missed < 0.07 + 3.3 * np.sqrt(0.07 * 0.93 / 200)).all()


def test_arabic_is_counted_through_its_clitics_and_agreement_apart():
    frame = captions(lambda i: "يقف الرجل بجانب السيارة الجديدة.", lambda i: "تقف المرأة بجانب السيارة الجديدة.")
    result = audit(frame, "ar")
    assert row(result, "male")["change"] == -60 and row(result, "female")["change"] == 60
    assert row(result, "verbs, adjectives")["before"] > 0


def test_empty_captions_have_no_rate():
    result = audit(captions(person, lambda i: ""), "en")
    assert np.isnan(row(result, TOTAL)["rate_after"]) and "no rate" in audit_answer(result.terms).text


def test_terms_are_whole_words_in_any_case_and_may_be_several():
    frame = captions(lambda i: "The Fire fighter and the firefighter. He is here.", lambda i: "The tree.")
    result = audit(frame, "en", terms=["fire fighter", "the", "he"])
    asked = result.terms.query("kind == 'term'").set_index("term")["before"]
    assert asked.to_dict() == {"fire fighter": 60, "the": 120, "he": 60}


def test_no_gendered_word_at_all_is_nothing_to_compare():
    result = audit(captions(lambda i: "A red car.", lambda i: "A car."), "en")
    assert audit_answer(result.terms).sure == "not enough data"


@settings(deadline=None, max_examples=8)
@given(st.lists(st.integers(-3, 3), max_size=30))
def test_the_signed_rank_test_is_the_same_turned_around(values):
    values = np.array(values, float)
    there, back = signed_rank(values), signed_rank(-values)
    assert np.isnan(there) == np.isnan(back) == (not values.any())
    assert np.isnan(there) or there == pytest.approx(back)


@given(st.lists(st.integers(-3, 3).filter(bool), min_size=1, max_size=8))
def test_the_signed_rank_test_of_few_counts_every_sign_that_there_could_be(values):
    ranks = rankdata(np.abs(values))
    sums = [np.dot(ranks, signs) for signs in product((0, 1), repeat=len(values))]
    seen = np.dot(ranks, np.array(values) > 0)
    assert signed_rank(np.array(values, float)) == pytest.approx(
        min(1.0, 2 * min(np.mean(sums <= seen), np.mean(sums >= seen)))
    )


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=5))
def test_occurrences_never_fail(text, term):
    form = tuple(w.plain for w in split_words(term))
    assert 0 <= occurrences(split_words(text), form) <= len(split_words(text))
