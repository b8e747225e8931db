"""Shares of captions several to an image: intervals that hold what they promise, and p values that rarely cry wolf."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.bias.shares import (
    Dispersion,
    clustered_wilson,
    difference,
    dispersion,
    group_shares,
    image_counts,
    p_beyond,
    p_even,
)
from core.intervals import wilson


def drawn(rng, p, n_images, n, spread):
    """Captions that name a man, of images whose own p scatter around ``p`` (beta-binomial)."""
    own = rng.beta(p * (1 / spread - 1), (1 - p) * (1 / spread - 1), n_images) if spread else np.full(n_images, p)
    return rng.binomial(n, own)


def counts_of(hits, n):
    return pd.DataFrame(
        {"male": hits, "female": n - hits, "both": 0, "neutral": 0, "none": 0},
        index=pd.RangeIndex(len(hits), name="sample_id"),
    )


def test_images_alike_have_no_dispersion_and_images_of_one_mind_all_of_it():
    rng, group = np.random.default_rng(0), np.repeat(np.arange(20), 10)
    alike = dispersion(rng.binomial(16, 0.5, 200), np.full(200, 16), group)
    assert alike.phi == pytest.approx(1, abs=0.25) and alike.freedom == 180
    minds = dispersion(16 * rng.integers(0, 2, 200), np.full(200, 16), group)
    assert minds.phi == pytest.approx(16, rel=0.15)


def test_one_caption_an_image_has_nothing_to_disperse():
    assert dispersion([1, 0, 1], [1, 1, 1], [0, 0, 0]).phi == 1
    assert dispersion([], [], []).phi == 1 and dispersion([0, 0], [0, 0], [0, 0]).phi == 1


@pytest.mark.parametrize("spread", [0.0, 0.15])
def test_intervals_cover_the_truth_at_their_level(spread):
    rng, inside, total = np.random.default_rng(1), 0, 0
    truth = np.repeat([0.1, 0.3, 0.5, 0.7, 0.9], 4)
    group = np.repeat(np.arange(20), 5)
    for _ in range(60):
        hits = np.concatenate([drawn(rng, p, 5, 16, spread) for p in truth])
        phi = dispersion(hits, np.full(100, 16), group).phi
        low, high = clustered_wilson(np.bincount(group, hits), np.full(20, 80), phi)
        inside, total = inside + int(((low <= truth) & (truth <= high)).sum()), total + 20
    assert 0.92 <= inside / total <= 0.985


def test_p_is_small_one_time_in_twenty_where_there_is_no_leaning_and_always_where_all_lean():
    rng, group = np.random.default_rng(2), np.repeat(np.arange(30), 5)
    small = 0
    for _ in range(40):
        hits = drawn(rng, 0.5, 150, 16, 0.1)
        found = dispersion(hits, np.full(150, 16), group)
        small += int((p_even(np.bincount(group, hits), np.full(30, 80), found) < 0.05).sum())
    assert 0.025 <= small / (40 * 30) <= 0.075
    table = group_shares(counts_of(drawn(rng, 0.98, 150, 16, 0.0), 16), pd.Series(group).map(str))
    assert (table["q_even"] < 0.01).all()


@pytest.mark.parametrize("p, most", [(0.5, 0.02), (0.6, 0.075), (0.4, 0.075)])
def test_a_share_within_the_margin_is_seldom_called_beyond_it(p, most):
    rng, group = np.random.default_rng(5), np.repeat(np.arange(30), 5)
    small = 0
    for _ in range(40):
        hits = drawn(rng, p, 150, 16, 0.1)
        found = dispersion(hits, np.full(150, 16), group)
        small += int((p_beyond(np.bincount(group, hits), np.full(30, 80), found, 0.1) < 0.05).sum())
    assert small / (40 * 30) <= most


def test_a_share_far_beyond_the_margin_is_called_so_and_without_a_margin_the_test_is_the_usual_one():
    hits, n, found = np.array([75, 5, 40]), np.full(3, 80), Dispersion(1.5, 100)
    assert (p_beyond(hits, n, found, 0.1) < 0.01).tolist() == [True, True, False]
    assert p_beyond(hits, n, found, 0.0) == pytest.approx(p_even(hits, n, found))
    assert np.isnan(p_beyond([0], [0], found, 0.1)).all()


def test_a_group_of_one_image_gets_an_interval_as_wide_as_one_image_deserves():
    rng = np.random.default_rng(3)
    hits = drawn(rng, 0.5, 41, 16, 0.4)
    value = pd.Series(["many"] * 40 + ["one"])
    table = group_shares(counts_of(hits, 16), value).set_index("value")
    width = table["high"] - table["low"]
    naive_low, naive_high = wilson(hits[40], 16)
    assert width["one"] > 1.5 * (naive_high - naive_low) and width["one"] > 3 * width["many"]


def test_captions_without_one_gender_are_counted_and_left_out_of_the_share():
    said = pd.DataFrame({"sample_id": [7, 7, 7, 9], "named": ["male", "both", "none", "neutral"]})
    counts = image_counts(said)
    assert counts.loc[7].to_dict() == {"male": 1, "female": 0, "both": 1, "unmarked": 0, "neutral": 0, "none": 1}
    table = group_shares(counts, pd.Series({7: "a", 9: "b"})).set_index("value")
    assert table.loc["a", "p_male"] == 1 and table.loc["a", "n_captions"] == 3
    assert np.isnan(table.loc["b", "p_male"]) and np.isnan(table.loc["b", "low"]) and np.isnan(table.loc["b", "q_even"])


shares = st.integers(0, 30)


@given(shares, shares, st.integers(1, 20), st.integers(1, 20))
def test_a_difference_lies_in_its_interval_and_turns_round_with_its_sign(a, b, more_a, more_b):
    one, other = (a, a + more_a), (b, b + more_b)
    x, y = ((h / n, *wilson(h, n)) for h, n in (one, other))
    value, low, high = difference(*x, *y)
    back, back_low, back_high = difference(*y, *x)
    assert low <= value + 1e-12 and value <= high + 1e-12
    assert back == pytest.approx(-value) and back_low == pytest.approx(-high) and back_high == pytest.approx(-low)
