"""Each verdict is given where it is true, and the tables behind it are filled."""

import numpy as np
import pytest

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
