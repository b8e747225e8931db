"""How well scores tell women from men, for many bootstrap weightings at once: AUC and accuracies of held-out scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MEASURES = ("auc", "balanced_accuracy", "accuracy")


def auc(score: Array, female: NDArray[np.bool_], fold: NDArray[np.int_], weights: Array) -> Array:
    """Share of (woman, man) pairs in which the woman scores higher, ties half, for each row of ``weights`` (draws, n).

    Only pairs within a fold count: scores of different folds come from different probes and have no common zero. With
    one fold and weights of 1 this is the area under the ROC curve. NaN where a weighting leaves no pair.
    """
    wins, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for number in np.unique(fold):
        women, men = (np.flatnonzero((fold == number) & side) for side in (female, ~female))
        above, below = score[women][:, None], score[men][None]
        won = (above > below) + 0.5 * (above == below)
        wins += ((weights[:, women] @ won) * weights[:, men]).sum(1)
        pairs += weights[:, women].sum(1) * weights[:, men].sum(1)
    return np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def accuracies(score: Array, female: NDArray[np.bool_], weights: Array) -> tuple[Array, Array]:
    """Balanced accuracy and accuracy of calling a score above 0 a woman, for each row of ``weights`` (draws, n)."""
    right = (score > 0) == female
    hits = [(weights[:, side] * right[side]).sum(1) for side in (female, ~female)]
    n = [weights[:, side].sum(1) for side in (female, ~female)]
    with np.errstate(divide="ignore", invalid="ignore"):
        return (hits[0] / n[0] + hits[1] / n[1]) / 2, (hits[0] + hits[1]) / (n[0] + n[1])


def all_measures(score: Array, female: NDArray[np.bool_], fold: NDArray[np.int_], weights: Array) -> Array:
    """Every one of MEASURES (3, draws)."""
    return np.stack([auc(score, female, fold, weights), *accuracies(score, female, weights)])
