"""Features ranked by gender in four ways, and how far the rankings agree beyond what needs no gender."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom, spearmanr

from core.gender.tables import RANKINGS, SPLITS

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
    """Rows of gender_rankings of one cell: every pair of rankings, and each with itself, from train to test.

    One is made on the training images and the other on the held-out ones, both ways round: on the same images an
    accident moves both, and rankings that have nothing to do with gender agree. Spearman's rho of the sizes, the mean
    of both ways; ``ratio`` is rho over the geometric mean of what each ranking has with itself, which is the most that
    such numbers of images let it reach (Spearman 1904). ``shuffled`` (n_shuffles, 2, 3, n_features) are AUC - 0.5, d
    and difference of both splits with labels exchanged at random: features that vary more differ more, even then. The
    overlap of two heads of k features has the hypergeometric law by chance.
    """
    seen = [sizes(columns, split) for split in SPLITS]
    mixed = [{name: np.abs(shuffled[:, s, i]) for i, name in enumerate(RANKINGS[:3])} for s in (0, 1)]
    rows = [_compare(seen, a, b) for i, a in enumerate(RANKINGS) for b in RANKINGS[i:]]
    for row in rows:
        a, b = row["ranking_a"], row["ranking_b"]
        if not row["why"] and a in mixed[0]:
            other = [part.get(b, np.broadcast_to(seen[s][b], part[a].shape)) for s, part in enumerate(mixed)]
            pairs = zip(mixed[0][a], other[1], other[0], mixed[1][a], strict=True)
            rho = [(_rho(a_train, b_test) + _rho(b_train, a_test)) / 2 for a_train, b_test, b_train, a_test in pairs]
            if not np.isnan(rho).all():
                row |= {"spearman_shuffled_low": float(np.nanmin(rho)), "spearman_shuffled_high": np.nanmax(rho)}
    itself = {row["ranking_a"]: _itself(row) for row in rows if row["ranking_a"] == row["ranking_b"]}
    for row in rows:
        most = np.sqrt(itself[row["ranking_a"]] * itself[row["ranking_b"]])
        if row["ranking_a"] != row["ranking_b"] and row.get("spearman") is not None and most > 0:
            row["ratio"] = float(row["spearman"] / most)
    return rows


def _itself(row: dict[str, Any]) -> float:
    """A ranking's rho with itself, 0 where that is not clear of labels shuffled, by half of their range at least."""
    rho, low, high = (row.get(name) for name in ("spearman", "spearman_shuffled_low", "spearman_shuffled_high"))
    clear = 0.0 if low is None or high is None else max(0.0, high + (high - low) / 2)
    return 0.0 if rho is None or rho <= clear else float(rho)


def _compare(seen: list[dict[str, Floats]], a: str, b: str) -> dict[str, Any]:
    ways = [(seen[0][a], seen[1][b]), (seen[0][b], seen[1][a])]
    known = ~np.any([np.isnan(x) for pair in ways for x in pair], axis=0)
    n, names = int(known.sum()), {"ranking_a": a, "ranking_b": b}
    if n < MIN_FEATURES:
        return {**names, "n_features": n, "why": TOO_FEW_FEATURES}
    k = min(LONGEST_HEAD, n // 10)
    heads = [[set(np.argsort(-x[known], kind="stable")[:k].tolist()) for x in pair] for pair in ways]
    low, high = hypergeom.interval(0.95, n, k, k)
    rho = float(np.mean([_rho(*(x[known] for x in pair)) for pair in ways]))
    return {
        **names,
        "n_features": n,
        "spearman": None if np.isnan(rho) else rho,
        "ratio": None,
        "k": k,
        "overlap": float(np.mean([len(one & other) for one, other in heads])),
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
