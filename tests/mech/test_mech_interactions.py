"""Pairs of features: what fires together beyond chance and beyond gender, and what does more than the sum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_array

from core.mech.interactions import InteractionPatternAnalyzer, interaction


def analyzer(fires: np.ndarray, groups=None, min_images: int = 2) -> InteractionPatternAnalyzer:
    groups = np.zeros(len(fires)) if groups is None else groups
    return InteractionPatternAnalyzer(csc_array(fires.astype(np.float32) * 3), groups, min_images)


def test_pmi_is_one_bit_for_features_that_are_one_and_fire_half_the_time():
    x = np.tile([[1, 1, 0], [0, 0, 1]], (20, 1))
    found = analyzer(x).co_activation(np.array([[0, 1], [0, 2]]))
    assert found.columns["pmi"][0] == pytest.approx(1) and found.columns["pmi"][1] == -np.inf
    assert (
        found.columns["b_given_a"][0] == 1
        and found.columns["p"][0] < 1e-6
        and found.columns["n_both"].tolist() == [20, 0]
    )


def test_independent_features_stay_within_their_null():
    x = np.random.default_rng(0).random((400, 30)) < 0.4
    a = analyzer(x)
    found = a.co_activation(a.pairs_among(range(30)))
    inside = (found.columns["pmi"] >= found.columns["pmi_low"]) & (found.columns["pmi"] <= found.columns["pmi_high"])
    assert inside.mean() > 0.93 and (found.columns["q"] > 0.05).all() and np.abs(found.columns["pmi"]).max() < 0.5


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 99))
def test_the_null_is_that_of_a_drawn_shuffle(seed):
    rng = np.random.default_rng(seed)
    x = rng.random((60, 2)) < 0.5
    found = analyzer(x).co_activation(np.array([[0, 1]])).columns
    drawn = [
        np.log2(60 * (x[:, 0] & rng.permutation(x[:, 1])).sum() / x[:, 0].sum() / x[:, 1].sum()) for _ in range(400)
    ]
    assert np.mean((drawn >= found["pmi_low"] - 1e-9) & (drawn <= found["pmi_high"] + 1e-9)) > 0.9


def test_what_gender_alone_explains_is_no_pattern_within_gender():
    """Two features that answer to women only, each at random: together by gender, not beyond it."""
    rng, female = np.random.default_rng(1), np.arange(400) % 2 == 0
    x = (rng.random((400, 2)) < 0.5) & female[:, None]
    found = analyzer(x, female).co_activation(np.array([[0, 1]])).columns
    assert found["pmi"][0] > 0.7 and found["p"][0] < 1e-6
    assert abs(found["pmi_within"][0]) < 0.2 and found["p_within"][0] > 0.01


def test_pairs_need_images_on_which_they_fire_and_on_which_they_do_not():
    x = np.zeros((20, 4), int)
    x[:, 0], x[:10, 1], x[:5, 2], x[0, 3] = 1, 1, 1, 1
    assert analyzer(x).pairs_among([0, 1, 2, 3]).tolist() == [[1, 2]]
    assert analyzer(x).pairs_among([]).shape == (0, 2)


def test_control_pairs_fire_about_as_often_and_are_others():
    rng = np.random.default_rng(0)
    x = rng.random((300, 40)) < np.linspace(0.1, 0.9, 40)
    a = analyzer(x)
    pair = a.matched((5, 30), range(40), {5, 30, 6}, rng)
    assert pair is not None and not {5, 30, 6} & set(pair)
    want, got = sorted(a.n_fires[[5, 30]]), sorted(a.n_fires[list(pair)])
    assert max(abs(w - g) for w, g in zip(want, got, strict=True)) < 40
    assert a.matched((5, 30), [5], set(), rng) is None


def test_effects_that_add_up_do_not_interact_and_saturation_does():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 0.3, 50), rng.normal(2, 0.3, 50)
    plain = interaction(a, b, a + b)
    assert plain["interaction"] == pytest.approx(0) and plain["relative"] == pytest.approx(0)
    full = interaction(a, b, np.maximum(a, b))
    assert (
        full["high"] < 0
        and full["p_interaction"] < 0.001
        and full["relative_low"] > 0.2
        and full["relative"] == pytest.approx(1 / 3, abs=0.05)
    )
    assert np.isnan(interaction([], [], [])["interaction"])
