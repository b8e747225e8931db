"""Shares of captions several to an image: intervals that hold what they promise, and p values that rarely cry wolf."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from core.bias.shares import MARGIN, group_shares, grouped, image_counts, shared_error
from core.intervals import difference, wilson
from tests.bias.levels_table import MIXED, drawn, levels


def shares_of(world):
    return grouped(world["hits"], world["n"], world["group"])


def test_one_caption_an_image_is_the_binomial_case_exactly():
    world = drawn(np.random.default_rng(0), np.array([0.1, 0.3, 0.5, 0.95]), 0.3, 24, 1)
    for row in shares_of(world).itertuples():
        k, n = int(row.n_hits), int(row.n)
        ends = beta.ppf(0.025, k, n - k + 1) if k else 0, beta.ppf(0.975, k + 1, n - k) if k < n else 1
        assert (row.low, row.high) == pytest.approx(ends, abs=1e-3)
        assert row.p_even == pytest.approx(binomtest(k, n).pvalue, abs=1e-3) and row.n_effective == pytest.approx(n)


def test_images_of_one_mind_count_once_and_images_alike_count_by_caption():
    group = np.repeat(np.arange(20), 10)
    rng = np.random.default_rng(0)
    minds = pd.DataFrame({"group": group, "n": 16, "hits": 16 * rng.integers(0, 2, 200)})
    assert shares_of(minds)["n_effective"].to_numpy() == pytest.approx(10, rel=0.25)
    alike = drawn(rng, np.full(20, 0.5), 0.0, 10, 16)
    assert (shares_of(alike)["n_effective"] > 120).all()


def test_a_group_of_one_image_has_a_share_and_no_interval_and_says_why():
    """An image's sixteen captions alike say how sure that image is, not how its kind is: 95 % intervals held .19."""
    world = drawn(np.random.default_rng(3), np.full(30, 0.5), 0.6, 1, 16)
    table = shares_of(world)
    assert table["share"].notna().all() and table[["low", "high", "p_even", "p_beyond"]].isna().all().all()
    assert table["why"].str.contains("one image").all()
    mixed = pd.concat([world[:1].assign(group="one"), world[1:].assign(group="many")])
    table = shares_of(mixed)
    assert np.isnan(table.loc["one", "low"]) and table.loc["many", "low"] < table.loc["many", "high"]


@pytest.mark.parametrize("captions, icc", [(2, 0.05), (5, 0.6), (16, MIXED)])
def test_tests_keep_their_level_and_intervals_cover_whatever_the_images_are_like(captions, icc):
    """5 images a group, 57 groups; with the spread pooled over groups those of clumped images were called in .13."""
    found = levels(icc, 5, captions, 8)
    n = 8 * 57  # bounds: three standard errors above the level
    assert max(found["even at 5 %"], found["beyond at 5 %"]) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / n)
    assert found["any even"] <= 4 / 8 and found["coverage"] > 0.92


def test_two_images_a_group_still_cover():
    assert levels(0.3, 2, 16, 6)["coverage"] > 0.93


def test_groups_of_images_of_one_mind_are_not_called_for_the_sake_of_the_others():
    rng, rates = np.random.default_rng(7), []
    for _ in range(15):
        table = shares_of(drawn(rng, np.full(40, 0.5), MIXED, 5, 16))
        rates.append([(part["p_even"] <= 0.05).mean() for part in (table[:20], table[20:])])
    even, clumped = np.mean(rates, 0)
    assert clumped < 0.09 and even < 0.07


def counts_of(hits, n):
    return pd.DataFrame(
        {"male": hits, "female": n - hits, "both": 0, "neutral": 0, "none": 0},
        index=pd.RangeIndex(len(hits), name="sample_id"),
    )


def test_what_leans_hard_is_found_all_the_same_and_what_leans_within_the_margin_is_not():
    world = drawn(np.random.default_rng(5), np.repeat([0.5 + MARGIN, 0.95], 20), 0.05, 5, 16)
    table = shares_of(world)
    assert (table["p_beyond"][20:] < 0.01).all() and (table["p_even"][20:] < 1e-3).all()
    found = group_shares(counts_of(world["hits"], 16), world["group"].map(str)).set_index("value")
    called = found["q_beyond"] <= 0.05
    assert called.loc[[str(i) for i in range(20, 40)]].all() and called.sum() <= 22


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


def both_languages(rng, shared, n_groups=20, n_images=8, captions=8):
    """Image counts in two languages whose images lean alike by ``shared`` (-1 to 1), all of share 0.5."""
    group = pd.Series(np.repeat(np.arange(n_groups), n_images))
    lean = rng.normal(size=(2, len(group)))
    lean[1] = shared * lean[0] + np.sqrt(1 - shared**2) * lean[1]
    hits = rng.binomial(captions, 1 / (1 + np.exp(-1.5 * lean)))
    return group, [counts_of(one, captions) for one in hits]


@pytest.mark.parametrize("shared", [-0.9, 0.0, 0.9])
def test_the_difference_of_languages_that_describe_the_same_images_covers_nothing(shared):
    """Taken as independent, images that lean apart in the two languages were covered in .86, not .95."""
    rng, covered, width, alone = np.random.default_rng(1), [], [], []
    for _ in range(12):
        group, said = both_languages(rng, shared)
        tables = [grouped(one["male"], one["male"] + one["female"], group) for one in said]
        ends = [table[name] for table in tables for name in ("share", "low", "high")]
        _, low, high = difference(*ends, shared_error(*said, group))
        covered += list((low <= 0) & (high >= 0))
        width.append((high - low).mean())
        alone.append(np.subtract(*difference(*ends)[:0:-1]).mean())
    assert np.mean(covered) > 0.93
    assert (np.mean(width) < 0.85 * np.mean(alone)) == (shared > 0.5)
