"""AUC of scores with the part that each image has in it, so that scores of the same images can be compared.

DeLong, DeLong and Clarke-Pearson (1988): the AUC is a mean over women and over men of their *placements*, the share of
the other gender that each lies above or below. Their correlation joins the single intervals to those of differences and
ratios (Zou and Donner 2008; Donner and Zou 2012: MOVER), so that a score without an error has no false certainty.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.stats import norm, rankdata, t

from core.gender.effects import auc_interval

Floats = NDArray[np.float64]
Z = float(norm.ppf(0.975))


class Placed(NamedTuple):
    """AUC (n_scores,) and placements (n_scores, n_images): an image of a woman's share of men below it, ties half.

    ``ranks`` (n_scores, n_images) are those of the scores, ``female`` (n_images,) bool.
    """

    auc: Floats
    placements: Floats
    ranks: Floats
    female: NDArray[np.bool_]


class Estimate(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


NOTHING = Estimate(float("nan"), float("nan"), float("nan"))


def placed(scores: Floats, female: NDArray[np.bool_]) -> Placed:
    """Placements of ``scores`` (n_scores, n_images); of a man the share of women above him."""
    ranks = rankdata(np.atleast_2d(scores), axis=1)
    n_female, n_male = int(female.sum()), int((~female).sum())
    found = np.empty(ranks.shape)
    found[:, female] = (ranks[:, female] - rankdata(ranks[:, female], axis=1)) / n_male
    found[:, ~female] = 1 - (ranks[:, ~female] - rankdata(ranks[:, ~female], axis=1)) / n_female
    return Placed(found[:, female].mean(1), found, ranks, female)


def mean_auc(scores: Placed) -> Estimate:
    """AUC of one score as stage gender has it; of several draws their mean, over images and draws."""
    m, value = len(scores.auc), float(scores.auc.mean())
    if m == 1:
        low, high = auc_interval(csc_array(scores.ranks.T.astype(np.float32)), scores.female, scores.auc)
        return Estimate(value, float(low[0]), float(high[0]))
    mean = scores.placements.mean(0)
    spread = _covariance(mean, mean, scores.female)
    half = np.sqrt(Z**2 * spread + t.ppf(0.975, m - 1) ** 2 * scores.auc.var(ddof=1) / m)
    return Estimate(value, float(max(0.0, value - half)), float(min(1.0, value + half)))


def difference(own: Placed, others: Placed) -> Estimate:
    """AUC of one score less the mean of others on the same images.

    Others are draws of a kind (other random dictionaries): the question is whether ``own`` is beyond one more draw, so
    that their spread counts with 1 + 1 / n and Student's t of n - 1. A single other stands for itself.
    """
    a, b, r = mean_auc(own), mean_auc(others), _correlation(own, others)
    m, more = len(others.auc), 0.0
    if m > 1:  # the mean's interval has the spread over m draws in it already
        more = t.ppf(0.975, m - 1) ** 2 * float(others.auc.var(ddof=1))
    value = a.value - b.value
    below, above = a.value - a.low, b.high - b.value
    low = value - np.sqrt(below**2 + above**2 - 2 * r * below * above + more)
    below, above = b.value - b.low, a.high - a.value
    high = value + np.sqrt(below**2 + above**2 - 2 * r * below * above + more)
    return Estimate(value, float(low), float(high))


def share(part: Placed, whole: Placed) -> Estimate:
    """(AUC of a part - 1/2) / (AUC of the whole - 1/2), mean over the parts' draws.

    NaN where the whole cannot be told from chance: a share of nothing is no number.
    """
    r = _correlation(whole, part)
    a, al, ah = (x - 0.5 for x in mean_auc(part))
    b, bl, bh = (x - 0.5 for x in mean_auc(whole))
    if bl <= 0:
        return NOTHING
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = a * b - r * (a - al) * (bh - b)
        low = (middle - np.sqrt(middle**2 - al * bh * (2 * a - al) * (2 * b - bh))) / (bh * (2 * b - bh))
        middle = a * b - r * (ah - a) * (b - bl)
        high = (middle + np.sqrt(middle**2 - ah * bl * (2 * a - ah) * (2 * b - bl))) / (bl * (2 * b - bl))
    return Estimate(a / b, float(low), float(high))


def _covariance(a: Floats, b: Floats, female: NDArray[np.bool_]) -> float:
    """Covariance over images of the numbers whose placements (n_images,) these are (DeLong et al. 1988, eq. 5)."""
    return float(sum(np.cov(a[of], b[of])[0, 1] / int(of.sum()) for of in (female, ~female)))


def _correlation(one: Placed, others: Placed) -> float:
    """Of the AUC of a score with the mean AUC of others; 0 where one of them has no spread."""
    a, b, female = one.placements[0], others.placements.mean(0), one.female
    spread = _covariance(a, a, female) * _covariance(b, b, female)
    return _covariance(a, b, female) / float(np.sqrt(spread)) if spread > 0 else 0.0
