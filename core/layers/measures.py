"""How well scores tell women from men, and the first layer at which the image's gender can be read.

AUC and accuracies of held-out scores are taken for many bootstrap weightings at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from core.intervals import auc_interval, auc_variance, clopper_pearson, hochberg, q_values

Array = NDArray[np.float64]
MARGIN = 0.05  # of AUC beyond the baseline, at which gender counts as there when it is asked how surely from where on
ERROR = 0.05  # of runs in which a layer before the first true one may be named
MEASURES = ("auc", "balanced_accuracy", "accuracy")
KEYS = ("method", "position", "lang")
BEFORE = ("pixels", "tower", "projector")  # views of the image before the language model begins
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


def auc_ends(drawn: Array, female: NDArray[np.bool_], fold: NDArray[np.int_]) -> tuple[float, float]:
    """Interval of the AUC whose value and bootstrap draws are ``drawn`` (1 + n_draws,), over the images as units.

    Newcombe's (2006, method 5), summed over folds, since only pairs within one are compared; wider where the draws
    scatter more than that method takes for granted.
    """
    sizes = np.array([((fold == f) & side).sum() for f in np.unique(fold) for side in (female, ~female)]).reshape(-1, 2)
    sizes = sizes[sizes.min(1) > 0]
    share, value = sizes.prod(1) / sizes.prod(1).sum(), float(drawn[0])
    inner = float(np.clip(value, 0.05, 0.95))
    whole = (float(female.sum()), float((~female).sum()))
    folds = float((share**2 * auc_variance(inner, *sizes.T)).sum() / auc_variance(inner, *whole))
    expected = folds * float(auc_variance(value, *whole))
    wider = max(1.0, float(np.nanvar(drawn[1:])) / expected) if expected > 0 else 1.0
    low, high = auc_interval(value, *whole, folds * wider)
    return float(low), float(high)


def accuracy_ends(score: Array, female: NDArray[np.bool_], balanced: bool) -> tuple[float, float]:
    """Interval of accuracy, or of balanced accuracy, of calling a score above 0 a woman.

    Clopper and Pearson's; that of the mean of two such shares from both intervals (Zou and Donner 2008).
    """
    right = (score > 0) == female
    if not balanced:
        low, high = clopper_pearson(right.sum(), len(right))
        return float(low), float(high)
    shares = [right[side].mean() for side in (female, ~female)]
    ends = [clopper_pearson(right[side].sum(), side.sum()) for side in (female, ~female)]
    value = float(np.mean(shares))
    down, up = (np.hypot(*(share - end[i] for share, end in zip(shares, ends, strict=True))) / 2 for i in (0, 1))
    return max(0.0, float(value - down)), min(1.0, float(value + up))


def with_q(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    """Put q, Benjamini and Hochberg's over the p of all rows of both lists together, into every row."""
    both = [*rows, *others]
    for row, q in zip(both, q_values([row["p"] for row in both]), strict=True):
        row["q"] = float(q)


def leaves_baseline(row: Mapping[str, Any], baseline: float, fdr: float = 0.05) -> bool:
    """Whether the whole interval lies above chance and above the control, and q is at most ``fdr``."""
    return bool(row["q"] <= fdr and row["low"] > max(0.5, baseline))


def simultaneous(row: Mapping[str, Any], value: float, n: int) -> tuple[float, float]:
    """Ends of the AUC's interval that hold for ``n`` layers together, from its 95 % interval in ``row``.

    How much the scores scatter is read off that interval (``auc_interval``'s spread), at the end that is not cut.
    """
    sizes = row["n_female"], row["n_male"]
    end = row["low"] if value - row["low"] > 1e-6 and row["low"] > 1e-6 else row["high"]
    variance = float(auc_variance(end, *sizes))
    if not np.isfinite(value) or not variance > 0:
        return row["low"], row["high"]
    low, high = auc_interval(value, *sizes, ((value - end) / norm.ppf(0.975)) ** 2 / variance, 1 - 0.05 / n)
    return float(low), float(high)


def emergence(probes: Rows, lens: Rows) -> list[dict[str, Any]]:
    """One row a method ("probe", "lens"), position and language: the first layer whose held-out AUC leaves a baseline.

    The baseline of a probe is its control task, or chance where there is none; that of the lens is what other words
    give (95th percentile), and what the words that are compared tell by themselves (shuffled labels, upper end),
    whichever is larger. ``layer`` is -1 where no recorded layer does; ``is_lowest`` says that it is the lowest one
    recorded, so that it may have been there before; ``n_after`` of the ``n_later`` layers above it hold it too.
    ``why`` is set where nothing can be said. The layer that is named comes before the first true one in at most ERROR
    of runs, over the layers and languages of a method and position together (Hochberg 1988): that many layers are
    looked at from below is no reason to find gender early.

    How sure is the layer? The first at which the true AUC lies MARGIN beyond the baseline is, with 95 %, one of those
    from ``earliest`` to ``latest``: the first whose upper end reaches that, and the first whose lower end does, of
    intervals that hold for all recorded layers together (Bonferroni). -1: not even the last does. low and high of the
    layer are such ends too, since it was chosen among all of them.
    """
    own = [r for r in probes if r["measure"] == "auc" and r["lang"] == r["trained_on"] and r["view"] not in BEFORE]
    series = [("probe", r["view"], r["lang"], r, float(np.fmax(r["control"], 0.5)), r["value"]) for r in own]
    series += [
        ("lens", r["position"], r["lang"], r, float(np.fmax(r["random_high"], r["shuffled_high"])), r["auc"])
        for r in lens
    ]
    asked: dict[tuple[str, str], list[int]] = {}
    for place, one in enumerate(series):
        asked.setdefault(one[:2], []).append(place)
    named = np.zeros(len(series), bool)
    for places in asked.values():
        named[places] = hochberg([series[place][3]["p"] for place in places]) <= ERROR
    found = []
    for key in dict.fromkeys(s[:3] for s in series):
        layers = sorted(
            ((*s[3:], bool(may)) for s, may in zip(series, named, strict=True) if s[:3] == key),
            key=lambda s: s[0]["layer"],
        )
        found.append(dict(zip(KEYS, key, strict=True)) | _first(layers))
    return found


def _first(layers: Iterable[tuple[Mapping[str, Any], float, float, bool]]) -> dict[str, Any]:
    layers = list(layers)
    clear = [leaves_baseline(row, baseline) for row, baseline, _, _ in layers]
    first = [there and may for there, (_, _, _, may) in zip(clear, layers, strict=True)]
    why = next((row["why"] for row, _, _, _ in layers if row["why"]), "")
    n = layers[0][0]["n_female"] + layers[0][0]["n_male"]
    empty = {"layer": -1, "is_lowest": False, "value": np.nan, "low": np.nan, "high": np.nan, "baseline": np.nan}
    empty |= {"earliest": -1, "latest": -1}
    out = {**empty, "n_later": 0, "n_after": 0, "n_images": n, "n_layers": len(layers), "why": why}
    if why:
        return out
    ends = [simultaneous(row, value, len(layers)) for row, _, value, _ in layers]
    needed = [max(0.5, baseline) + MARGIN for _, baseline, _, _ in layers]
    for name, side in (("earliest", 1), ("latest", 0)):
        reached = (row["layer"] for (row, *_), end, at in zip(layers, ends, needed, strict=True) if end[side] >= at)
        out[name] = next(reached, -1)
    if any(first):
        at = first.index(True)
        row, baseline, value, _ = layers[at]
        out |= {"layer": row["layer"], "is_lowest": at == 0, "value": value, "low": ends[at][0], "high": ends[at][1]}
        out |= {"baseline": max(0.5, baseline), "n_later": len(layers) - at - 1, "n_after": sum(clear[at + 1 :])}
    return out
