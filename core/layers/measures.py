"""How well scores tell women from men, and the first layer at which the image's gender can be read.

AUC and accuracies of held-out scores are taken for many bootstrap weightings at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.intervals import q_values

Array = NDArray[np.float64]
MEASURES = ("auc", "balanced_accuracy", "accuracy")
KEYS = ("method", "position", "lang")
Rows = Sequence[Mapping[str, Any]]


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


def with_q(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    """Put q, Benjamini and Hochberg's over the p of all rows of both lists together, into every row."""
    both = [*rows, *others]
    for row, q in zip(both, q_values([row["p"] for row in both]), strict=True):
        row["q"] = float(q)


def leaves_baseline(row: Mapping[str, Any], baseline: float, fdr: float = 0.05) -> bool:
    """Whether the whole interval lies above chance and above the control, and q is at most ``fdr``."""
    return bool(row["q"] <= fdr and row["low"] > max(0.5, baseline))


def emergence(probes: Rows, lens: Rows) -> list[dict[str, Any]]:
    """One row a method ("probe", "lens"), position and language: the first layer whose held-out AUC leaves a baseline.

    The baseline of a probe is its control task; that of the lens is what other words give (95th percentile), and what
    the words that are compared tell by themselves (shuffled labels, upper end), whichever is larger. ``layer`` is
    -1 where no recorded layer does; ``is_lowest`` says that it is the lowest one recorded, so that it may have been
    there before; ``n_after`` of the ``n_later`` layers above it hold it too. ``why`` is set where nothing can be said.
    """
    own = [r for r in probes if r["measure"] == "auc" and r["lang"] == r["trained_on"] and r["layer"] >= 0]
    series = [("probe", r["view"], r["lang"], r, r["control"], r["value"]) for r in own]
    series += [
        ("lens", r["position"], r["lang"], r, float(np.fmax(r["random_high"], r["shuffled_high"])), r["auc"])
        for r in lens
    ]
    found = []
    for key in dict.fromkeys(s[:3] for s in series):
        layers = sorted(((s[3], s[4], s[5]) for s in series if s[:3] == key), key=lambda s: s[0]["layer"])
        found.append(dict(zip(KEYS, key, strict=True)) | _first(layers))
    return found


def _first(layers: Iterable[tuple[Mapping[str, Any], float, float]]) -> dict[str, Any]:
    layers = list(layers)
    clear = [leaves_baseline(row, baseline) for row, baseline, _ in layers]
    why = next((row["why"] for row, _, _ in layers if row["why"]), "")
    n = layers[0][0]["n_female"] + layers[0][0]["n_male"]
    empty = {"layer": -1, "is_lowest": False, "value": np.nan, "low": np.nan, "high": np.nan, "baseline": np.nan}
    out = {**empty, "n_later": 0, "n_after": 0, "n_images": n, "n_layers": len(layers), "why": why}
    if any(clear):
        at = clear.index(True)
        row, baseline, value = layers[at]
        out |= {"layer": row["layer"], "is_lowest": at == 0, "value": value, "low": row["low"], "high": row["high"]}
        out |= {"baseline": max(0.5, baseline), "n_later": len(layers) - at - 1, "n_after": sum(clear[at + 1 :])}
    return out
