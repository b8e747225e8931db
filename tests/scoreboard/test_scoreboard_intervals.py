"""Intervals hold the truth at the sizes that are accepted: 20 images a gender, AUC near 1, values that hardly occur."""

import numpy as np
import pytest
from scipy.stats import beta, norm
from scipy.stats import t as student

from core.intervals import (
    auc_interval,
    clopper_pearson,
    mean_interval,
    ratio_interval,
    skewed_interval,
)
from core.scoreboard.intervals import LEAST, TABLES, missed

N_WORLDS = 200


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_what_is_shown_holds_the_truth(table):
    """The bound leaves a correct interval, of .93, 3.3 standard errors of 200 samples."""
    for row in table(np.random.default_rng([7, TABLES.index(table)]), N_WORLDS):
        assert missed(row) < 1 - LEAST + 3.3 * np.sqrt(LEAST * (1 - LEAST) / N_WORLDS), row


@pytest.mark.parametrize(
    ("n", "draw", "truth"),
    [
        (20, lambda rng, size: rng.binomial(1, 0.1, size) * rng.exponential(1, size), 0.1),
        (20, lambda rng, size: rng.standard_t(3, size), 0.0),
        (50, lambda rng, size: rng.lognormal(0, 1, size), np.exp(0.5)),
    ],
    ids=["shown because five fire by chance", "long tails", "long tail on one side"],
)
def test_a_mean_that_is_shown_holds_the_truth(n, draw, truth):
    """Where the variance itself is hardly known: .945 to 1 of those shown; .935 is four standard errors below."""
    _, low, high = mean_interval(draw(np.random.default_rng(5), (n, 9000)))
    shown = np.isfinite(low)
    assert ((low <= truth) & (truth <= high))[shown].mean() > 0.935


def test_a_perfect_auc_has_a_lower_end_and_chance_is_in_the_middle():
    low, high = auc_interval([1.0, 0.5, 0.0], 20, 20)
    assert 0.85 < low[0] < 0.95 and high[0] == 1 and low[2] == 0 and high[2] == pytest.approx(1 - low[0])
    assert low[1] == pytest.approx(1 - high[1]) and high[1] - low[1] == pytest.approx(0.35, abs=0.03)
    wide, _ = auc_interval(0.8, 20, 20, spread=2.0)
    assert wide < auc_interval(0.8, 20, 20)[0]


def test_exact_intervals_of_shares_are_those_of_the_tables():
    low, high = clopper_pearson([0, 3, 20], 20)
    assert low[0] == 0 and high[2] == 1
    assert low[1:] == pytest.approx(beta.ppf(0.025, [3, 20], [18, 1]))
    assert high[:2] == pytest.approx(beta.ppf(0.975, [1, 4], [20, 17]))
    assert np.isnan(clopper_pearson(0, 0)).all()


def test_without_skew_the_mean_has_students_interval_and_rare_values_have_none():
    x = norm.ppf((np.arange(20) + 0.5) / 20)
    _, low, high = mean_interval(x)
    assert high == pytest.approx(
        student.ppf(0.975, 19) * x.std(ddof=1) / np.sqrt(20), rel=0.01
    ) and low == pytest.approx(-high, rel=1e-3)
    rare = np.zeros(100)
    rare[:4] = 1.0
    assert mean_interval(rare)[0] == 0.04 and np.isnan(mean_interval(rare)[1:]).all()
    assert np.isfinite(mean_interval(np.ones(3))[1:]).all()


def test_the_long_tail_has_the_longer_side():
    low, high = skewed_interval(1.0, 0.1, 0.3, 50)
    assert high - 1 > 1.2 * (1 - low)
    assert skewed_interval(-1.0, 0.1, -0.3, 50) == pytest.approx((-high, -low))


def test_a_ratio_of_one_thing_to_itself_is_known():
    x = np.random.default_rng(0).exponential(1, 30)
    assert ratio_interval(x, 2 * x) == pytest.approx((0.5, 0.5, 0.5))
