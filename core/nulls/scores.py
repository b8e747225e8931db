"""AUC of scores with the part that each image has in it, so that scores of the same images can be compared.

DeLong, DeLong and Clarke-Pearson (1988): the AUC is a mean over women and over men of their *placements*, the share of
the other gender that each lies above or below. Differences and ratios of AUCs on the same images follow from them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata, t

Floats = NDArray[np.float64]


class Placed(NamedTuple):
    """AUC (n_scores,) and placements (n_scores, n_images): an image of a woman's share of men below it, ties half."""

    auc: Floats
    placements: Floats
    female: NDArray[np.bool_]  # (n_images,)


class Estimate(NamedTuple):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


NOTHING = Estimate(float("nan"), float("nan"), float("nan"))


def placed(scores: Floats, female: NDArray[np.bool_]) -> Placed:
    """Placements of ``scores`` (n_scores, n_images); of a man the share of women above him."""
    scores = np.atleast_2d(scores)
    n_female, n_male = int(female.sum()), int((~female).sum())
    above = rankdata(scores, axis=1)
    found = np.empty(scores.shape)
    found[:, female] = (above[:, female] - rankdata(scores[:, female], axis=1)) / n_male
    found[:, ~female] = 1 - (above[:, ~female] - rankdata(scores[:, ~female], axis=1)) / n_female
    return Placed(found[:, female].mean(1), found, female)


def variance(placements: Floats, female: NDArray[np.bool_]) -> float:
    """Variance over images of the number whose placements (n_images,) these are (DeLong et al. 1988, eq. 5)."""
    return float(sum(placements[of].var(ddof=1) / int(of.sum()) for of in (female, ~female)))


def difference(own: Placed, others: Placed) -> Estimate:
    """AUC of one score less the mean of others on the same images.

    Others are draws of a kind (other random dictionaries): the question is whether ``own`` is beyond one more draw, so
    that the spread of draws counts with 1 + 1 / n and Student's t of n - 1. A single other stands for itself.
    """
    m = len(others.auc)
    value = float(own.auc[0] - others.auc.mean())
    spread = variance(own.placements[0] - others.placements.mean(0), own.female)
    quantile = norm.ppf(0.975)
    if m > 1:
        spread += float(others.auc.var(ddof=1)) * (1 + 1 / m)
        quantile = t.ppf(0.975, m - 1)
    half = float(quantile * np.sqrt(spread))
    return Estimate(value, value - half, value + half)


def mean_auc(scores: Placed) -> Estimate:
    """Mean AUC of several draws, over images and draws; of a single one see ``core.gender.effects.auc_interval``."""
    m, value = len(scores.auc), float(scores.auc.mean())
    spread = variance(scores.placements.mean(0), scores.female)
    quantile = norm.ppf(0.975)
    if m > 1:
        spread += float(scores.auc.var(ddof=1)) / m
        quantile = t.ppf(0.975, m - 1)
    half = float(quantile * np.sqrt(spread))
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))


def share(part: Placed, whole: Placed) -> Estimate:
    """(AUC of a part - 1/2) / (AUC of the whole - 1/2), mean over the parts' draws, by the delta method.

    NaN where the whole cannot be told from chance: a share of nothing is no number.
    """
    above = float(whole.auc[0]) - 0.5
    if above <= norm.ppf(0.975) * np.sqrt(variance(whole.placements[0], whole.female)):
        return NOTHING
    value = (float(part.auc.mean()) - 0.5) / above
    spread = variance((part.placements.mean(0) - value * whole.placements[0]) / above, whole.female)
    m = len(part.auc)
    spread += float(part.auc.var(ddof=1)) / m / above**2 if m > 1 else 0.0
    half = float((t.ppf(0.975, m - 1) if m > 1 else norm.ppf(0.975)) * np.sqrt(spread))
    return Estimate(value, value - half, value + half)
