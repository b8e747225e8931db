"""Intervals cover what they should, and multiplicity is held where there is nothing."""

import numpy as np
from scipy.stats import binomtest, norm

from core.intervals import mean_interval, paired_ratio, percentile_interval, q_values, resampled_counts, told, wilson


def test_wilson_is_that_of_scipy_for_every_count():
    for n in (1, 7, 60):
        low, high = wilson(np.arange(n + 1), n)
        for hits in range(n + 1):
            expected = binomtest(hits, n).proportion_ci(method="wilson")
            assert np.isclose(low[hits], expected.low) and np.isclose(high[hits], expected.high)


def test_wilson_gives_the_printed_example():
    low, high = wilson(81, 263)  # Newcombe 1998, table I, method 3
    assert (round(float(low), 4), round(float(high), 4)) == (0.2553, 0.3662)


def test_wilson_holds_the_share_itself():
    for n in range(1, 200):
        low, high = wilson(np.arange(n + 1), n)
        share = np.arange(n + 1) / n
        assert (low <= share).all() and (share <= high).all() and low[0] == 0.0 and high[-1] == 1.0


def test_wilson_of_nothing_is_not_a_number():
    assert np.isnan(wilson(0, 0)).all()


def test_every_bootstrap_draw_has_as_many_units_as_there_are_and_the_seed_fixes_it():
    counts = resampled_counts(13, 40, seed=1)
    assert counts.shape == (40, 13) and (counts.sum(1) == 13).all()
    assert (counts == resampled_counts(13, 40, seed=1)).all() and (counts != resampled_counts(13, 40, seed=2)).any()


def test_the_interval_of_a_mean_covers_it_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        _, low, high = mean_interval(rng.normal(1.0, 2.0, size=40))
        covered += low <= 1.0 <= high
    assert 0.91 <= covered / 300 <= 0.98


def test_a_mean_of_nothing_is_not_a_number_and_missing_units_are_left_out():
    assert np.isnan(mean_interval([np.nan, np.nan])).all()
    assert mean_interval([1.0, np.nan, 1.0]) == (1.0, 1.0, 1.0)


def test_percentiles_are_over_the_draws():
    low, high = percentile_interval(np.arange(1001.0)[:, None] * [1.0, 2.0])
    assert np.allclose(low, [25, 50]) and np.allclose(high, [975, 1950])


def test_under_the_null_findings_are_rare_and_a_strong_effect_is_found():
    rng = np.random.default_rng(1)
    runs_with_findings = sum((q_values(rng.uniform(size=500)) <= 0.05).any() for _ in range(200))
    assert runs_with_findings / 200 <= 0.09
    p = rng.uniform(size=500)
    p[:20] = 1e-9
    found = q_values(p) <= 0.05
    assert found[:20].all() and found[20:].sum() <= 5


def test_untested_features_take_no_part():
    q = q_values([0.01, np.nan, 0.04])
    assert np.isnan(q[1]) and np.allclose(q[[0, 2]], [0.02, 0.04])


def test_a_paired_ratio_holds_the_truth_also_where_nothing_is_left():
    rng, shares = np.random.default_rng(0), ((0.3, 0.3), (0.3, 0.03), (0.25, 0.5))
    for before, after in shares:
        ease = rng.standard_normal((1200, 30))
        held = [
            np.sqrt(0.6) * ease + np.sqrt(0.4) * rng.standard_normal(ease.shape) < norm.ppf(p) for p in (before, after)
        ]
        counts = [(a.sum(), b.sum(), (a & b).sum()) for b, a in zip(*held, strict=True) if b.sum() >= 5]
        ends = np.array([paired_ratio(*map(int, one))[1:] for one in counts])
        inside = int(((ends[:, 0] <= after / before) & (after / before <= ends[:, 1])).sum())
        assert binomtest(inside, len(ends), 0.93, "less").pvalue > 1e-3
    assert paired_ratio(0, 8, 0)[0] == 0 and paired_ratio(0, 8, 0)[2] < 1 and np.isnan(paired_ratio(3, 0, 0)).all()


def test_an_end_beside_its_null_says_on_which_side_it_lies():
    assert told(0.09, 0.0004, 0.18, form="+.2f") == "+0.0900 [+0.0004, +0.1800]"
    assert told(0.55, 0.497, 0.6, null=0.5) == "0.550 [0.497, 0.600]"
    assert told(0.09, -0.02, 0.18) == "0.09 [-0.02, 0.18]" and told(0.0, 0.0, 0.0) == "0.00 [0.00, 0.00]"
    assert told(0.3, 1e-9, 0.4) == "0.30 [0.00, 0.40]"  # no more digits where they do not help
