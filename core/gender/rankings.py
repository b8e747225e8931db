"""Features ranked by gender in four ways, and how far the rankings agree beyond what needs no gender."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom, spearmanr

from core.gender.tables import RANKINGS

MIN_FEATURES = 20  # below which agreement is not spoken of
LONGEST_HEAD = 100  # features at the head of two rankings whose overlap is counted; a tenth of all where that is less
TOO_FEW_FEATURES = "too few features"
Floats = NDArray[np.float64]


def sizes(columns: Mapping[str, np.ndarray], split: str) -> dict[str, Floats]:
    """What features are ranked by (n_features,), the larger the more to do with gender; NaN where unknown."""
    middle = {"auc": 0.5}
    return {r: np.abs(np.asarray(columns[f"{r}_{split}"], float) - middle.get(r, 0.0)) for r in RANKINGS}


def ranks(columns: Mapping[str, np.ndarray]) -> dict[str, NDArray[np.float64]]:
    """``rank_<ranking>`` (n_features,): 1 for the largest on the training images, ties by feature; NaN stays NaN."""
    found = {}
    for ranking, size in sizes(columns, "train").items():
        place = np.full(len(size), np.nan)
        known = np.flatnonzero(~np.isnan(size))
        place[known[np.argsort(-size[known], kind="stable")]] = np.arange(1, len(known) + 1)
        found[f"rank_{ranking}"] = place
    return found


def agreement(columns: Mapping[str, np.ndarray], shuffled: Floats) -> list[dict[str, Any]]:
    """Rows of gender_rankings of one cell: every pair of rankings, and each with itself from train to test.

    ``shuffled`` (n_shuffles, 3, n_features) are AUC - 0.5, d and difference of the training images with labels
    exchanged at random: rankings from the same images agree even then, which is what an agreement is compared with.
    Spearman's rho of the sizes; the overlap of two heads of k features has the hypergeometric law by chance.
    """
    train, test = sizes(columns, "train"), sizes(columns, "test")
    mixed = {name: np.abs(shuffled[:, i]) for i, name in enumerate(RANKINGS[:3])}
    rows = []
    for i, a in enumerate(RANKINGS):
        for b in RANKINGS[i:]:
            other = test[b] if a == b else train[b]
            row = {"ranking_a": a, "ranking_b": b, **_compare(train[a], other)}
            if not row["why"] and a in mixed:
                others = [other] * len(shuffled) if a == b or b not in mixed else list(mixed[b])
                rho = [_rho(x, y) for x, y in zip(mixed[a], others, strict=True)]
                if not np.isnan(rho).all():
                    row |= {"spearman_shuffled_low": float(np.nanmin(rho)), "spearman_shuffled_high": np.nanmax(rho)}
            rows.append(row)
    return rows


def _compare(a: Floats, b: Floats) -> dict[str, Any]:
    known = ~(np.isnan(a) | np.isnan(b))
    n = int(known.sum())
    if n < MIN_FEATURES:
        return {"n_features": n, "why": TOO_FEW_FEATURES}
    k = min(LONGEST_HEAD, n // 10)
    heads = [set(np.argsort(-x[known], kind="stable")[:k].tolist()) for x in (a, b)]
    low, high = hypergeom.interval(0.95, n, k, k)
    rho = _rho(a, b)
    return {
        "n_features": n,
        "spearman": None if np.isnan(rho) else rho,
        "k": k,
        "overlap": len(heads[0] & heads[1]),
        "overlap_chance": k * k / n,
        "overlap_chance_low": int(low),
        "overlap_chance_high": int(high),
        "why": "",
    }


def _rho(a: Floats, b: Floats) -> float:
    """Spearman's rho over what both have; NaN where one of them is constant."""
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)
