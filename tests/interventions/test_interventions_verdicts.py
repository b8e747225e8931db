"""Each verdict is given where it is true, and the tables behind it are filled."""

import numpy as np
import pytest

from core.interventions.tables import percent
from core.interventions.verdicts import DAMAGE, EFFECT, FEW, NOTHING, SPECIFIC
from tests.toy_interventions import destructive, nothing, specific, toy_interventions, unspecific


@pytest.fixture(scope="module")
def toy():
    return toy_interventions()


def heads(toy):
    found = toy.verdicts[toy.verdicts["note"] == "headline"]
    return set(found[found["mode"] == "swap"]["verdict"])


def test_target_alone_changes_captions(toy):
    assert heads(toy) == {SPECIFIC}
    identity = toy.verdicts[toy.verdicts["part"] == "identity"]
    assert set(identity["verdict"]) == {NOTHING}


@pytest.mark.parametrize(("behaviour", "expected"), [(nothing, NOTHING), (unspecific, EFFECT), (destructive, DAMAGE)])
def test_other_worlds_get_other_verdicts(behaviour, expected):
    assert heads(toy_interventions(behaviour)) == {expected}


def test_too_few_images_or_controls_are_not_enough_data(toy):
    assert heads(toy_interventions(specific, 10)) == {FEW}
    dose = toy.verdicts[toy.verdicts["part"] == "dose"]
    assert set(dose["verdict"]) == {FEW} and dose["why"].str.contains("p cannot be below 0.17").all()


def test_the_headline_keeps_its_p_and_the_rest_is_adjusted(toy):
    clean = toy.effects[(toy.effects["outcome"] == "clean") & (toy.effects["n_controls"] == 20)]
    head = clean[clean["note"] == "headline"]
    assert (head["p_adjusted"] == head["p_specific"]).all() and head["p_specific"].min() == pytest.approx(1 / 21)
    rest = clean[clean["note"] != "headline"]
    assert (rest["p_adjusted"] >= rest["p_specific"] - 1e-12).all()
    beyond = rest[(rest["part"] == "sets") & (rest["k"] == 5)]  # one of eleven designs, and found
    assert (beyond["p_adjusted"] <= 0.05).all()
    few = toy.effects[(toy.effects["n_controls"] == 5) & (toy.effects["part"] == "dose")]
    assert few["p_adjusted"].isna().all()


def test_effects_grow_with_nested_k_as_planted(toy):
    sets = toy.effects.query("outcome == 'clean' and part == 'sets' and mode == 'swap' and lang == 'en'")
    assert sets.sort_values("k")["target"].is_monotonic_increasing
    np.testing.assert_allclose(sets.sort_values("k")["target"], [0.23, 0.35, 0.95], atol=0.2)


def test_words_of_both_genders_come_and_go(toy):
    terms = toy.terms.query("part == 'sets' and k == 25 and mode == 'swap' and lang == 'en' and lemma == 'he'")
    assert len(terms) == 1 and terms["effect_low"].item() <= terms["effect"].item() <= terms["effect_high"].item()


def test_a_word_that_is_swapped_away_falls_by_so_many_percent_and_its_counterpart_rises(toy):
    """In the toys 95 % of captions change their gender, and controls change none."""
    mine = toy.terms.query("note == 'headline' and mode == 'swap' and lang == 'en'").set_index("lemma")
    known = mine[mine["percent"].notna()]
    assert (known["percent_low"] <= known["percent"]).all() and (known["percent"] <= known["percent_high"]).all()
    assert (known["percent_control"] == 0).all() and (
        known["percent"] == 100 * (known["n_after"] / known["n_before"] - 1)
    ).all()
    rare = mine[mine["n_before"] < 5]
    assert len(rare) and rare["why_percent"].str.contains("5 are needed").all() and rare["percent"].isna().all()
    assert (mine["n_before"] + mine["n_after"] > 0).all(), "what stands in one caption has its row"


def test_percent_is_of_the_captions_before_and_signed():
    gone = percent(np.array([[1.0] * 8 + [0.0] * 16, [0.0] * 24, *[[1.0] * 8 + [0.0] * 16] * 3]))
    assert gone["percent"] == gone["percent_low"] == -100 < gone["percent_high"] < 0 == gone["percent_control"]
    doubled = percent(np.array([[1.0] * 8 + [0.0] * 16, [1.0] * 16 + [0.0] * 8]))
    assert doubled["percent"] == 100 and doubled["percent_low"] > 0 and "percent_control" not in doubled
    moved = percent(np.array([[1.0] * 8 + [0.0] * 16, [0.0] * 16 + [1.0] * 8]))  # comes where it was not
    assert moved["percent"] == 0 and moved["percent_low"] < 0 < moved["percent_high"]
    assert "percent" not in percent(np.array([[1.0] * 4 + [0.0] * 20, [0.0] * 24]))
