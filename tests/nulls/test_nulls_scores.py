"""AUCs on the same images: against closed forms, and how often their intervals hold what they should."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from core.nulls.scores import difference, mean_auc, placed, share

FEMALE = np.arange(40) % 2 == 0


def normal_scores(rng, aucs, n=60, common=0.0):
    """Scores (len(aucs), 2 n) of true AUCs, the first half women; ``common`` is their correlation over images."""
    female = np.arange(2 * n) < n
    noise = np.sqrt(common) * rng.standard_normal(2 * n) + np.sqrt(1 - common) * rng.standard_normal((len(aucs), 2 * n))
    return noise + np.sqrt(2) * norm.ppf(aucs)[:, None] * female, female


def test_the_auc_is_that_of_mann_and_whitney_ties_counting_half():
    scores = np.random.default_rng(0).integers(0, 5, (3, 40)).astype(float)
    found = placed(scores, FEMALE)
    for auc, one in zip(found.auc, scores, strict=True):
        u = mannwhitneyu(one[FEMALE], one[~FEMALE]).statistic
        assert auc == pytest.approx(u / 400)
    assert found.placements[:, ~FEMALE].mean(1) == pytest.approx(found.auc), "over men it is the same mean"


def test_a_score_is_no_better_than_itself_and_perfect_ones_are_alike():
    one = placed(np.random.default_rng(0).standard_normal((1, 40)), FEMALE)
    same = difference(one, one)  # the two sides of one interval differ, by which MOVER is a little too wide here
    assert same.value == 0 and -0.05 < same.low <= 0 <= same.high < 0.05
    assert same.high - same.low < 0.3 * (mean_auc(one).high - mean_auc(one).low), "the images are the same"
    perfect = placed(FEMALE[None].astype(float), FEMALE)
    for told, value in ((difference(perfect, perfect), 0), (share(perfect, perfect), 1)):
        assert told.value == value and told.low < value < told.high, "20 + 20 without an error are no certainty"
    assert np.isnan(share(perfect, one).value), "a share of what cannot be told from chance is no number"


@pytest.mark.parametrize(("n", "auc"), [(20, 0.9), (60, 0.6)])
def test_a_difference_of_two_equal_scores_holds_zero_in_95_of_100(n, auc):
    rng, held = np.random.default_rng(n), 0
    for _ in range(250):
        scores, female = normal_scores(rng, [auc, auc], n, 0.3)
        a, b = (placed(scores[i : i + 1], female) for i in range(2))
        low, high = difference(a, b)[1:]
        held += low <= 0 <= high
    assert held / 250 > 0.9


def test_one_more_draw_of_a_kind_is_seldom_beyond_the_others():
    """The run's dictionary is itself a draw whose best feature is by luck better or worse."""
    rng, above = np.random.default_rng(1), 0
    for _ in range(250):
        scores, female = normal_scores(rng, np.clip(rng.normal(0.68, 0.04, 6), 0.5, 0.95), 60, 0.2)
        above += difference(placed(scores[:1], female), placed(scores[1:], female)).low > 0
    assert above / 250 < 0.07, "2.5 % are asked for"


def test_a_true_difference_is_found():
    rng, found = np.random.default_rng(2), 0
    for _ in range(40):
        scores, female = normal_scores(rng, [0.95, 0.65, 0.66, 0.7, 0.68, 0.64], 60, 0.2)
        found += difference(placed(scores[:1], female), placed(scores[1:], female)).low > 0
    assert found > 36


def test_shares_and_means_hold_the_truth():
    rng, held = np.random.default_rng(3), np.zeros(2)
    for _ in range(250):
        scores, female = normal_scores(rng, [0.7, 0.9], 60, 0.5)
        told = share(placed(scores[:1], female), placed(scores[1:], female))
        held[0] += told.low <= 0.5 <= told.high
        scores, female = normal_scores(rng, np.clip(rng.normal(0.7, 0.03, 5), 0, 1), 60, 0.2)
        mean = mean_auc(placed(scores, female))
        held[1] += mean.low <= norm.cdf(norm.ppf(0.7)) <= mean.high
    assert (held / 250 > 0.9).all(), held
