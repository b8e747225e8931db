"""Families of tests whose p are counted from few draws: step-down max-T (Westfall and Young 1993).

A p counted from n draws is never below 1 / (n + 1), so that any correction that multiplies it by the size of the family
loses what stands alone. Here each draw gives one number for the whole family, its largest statistic, and the adjusted p
is counted over those: its floor is 1 / (n + 1) whatever the size of the family, and the correlations of its members are
kept. Statistics are studentised, so that members of different spread count alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROUNDING = 1e-9  # relative; what differs by less was the same number


def step_down(seen: Floats, null: Floats) -> Floats:
    """Adjusted p (m,) of statistics ``seen`` (m,), large ones against the hypothesis, from draws ``null`` (n_draws, m).

    A row of ``null`` holds the statistics of all members in one draw, made together. The chance that any member in
    which nothing is has p <= a is at most a (family-wise, strong control where the joint law of the members in which
    nothing is does not depend on the others: Westfall and Young 1993, algorithm 2.8). NaN in ``seen`` stays NaN.
    """
    seen, null = np.asarray(seen, float), np.asarray(null, float)
    p = np.full(seen.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(seen))
    if not len(tested):
        return p
    order = tested[np.argsort(-seen[tested], kind="stable")]
    largest = np.maximum.accumulate(null[:, order[::-1]], axis=1)[:, ::-1]  # over this member and all weaker ones
    reached = largest >= seen[order] - ROUNDING * np.maximum(1.0, np.abs(seen[order]))
    p[order] = np.maximum.accumulate((1 + reached.sum(0)) / (1 + len(null)))
    return p


def two_samples(values: Floats, first: NDArray[np.bool_], dealt: NDArray[np.bool_], stratum: NDArray) -> Floats:
    """Studentised differences of means between two groups of units, seen and with the groups dealt out anew.

    ``values`` (n_units, m); ``first`` (n_units,) says who is of the first group; ``dealt`` (n_draws, n_units) the same
    of each draw, within the strata ``stratum`` (n_units,). Returned are (1 + n_draws, m): |t|, row 0 as seen. Means of
    the strata are taken out first: what they differ by is the same in every draw. Each row is divided by its own
    Welch's standard error (Janssen 1997), which keeps the level where the groups' spreads differ.
    """
    values = np.asarray(values, float)
    _, place = np.unique(stratum, return_inverse=True)
    sums = np.zeros((int(place.max(initial=-1)) + 1, values.shape[1]))
    np.add.at(sums, place, values)
    left = values - (sums / np.bincount(place)[:, None])[place]
    groups = np.concatenate([first[None], dealt]).astype(float)
    size = first.sum(), len(first) - first.sum()
    total, squares = left.sum(0), (left**2).sum(0)
    mean, square = groups @ left, groups @ left**2
    of = [(mean, square), (total - mean, squares - square)]
    means = [m / n for (m, _), n in zip(of, size, strict=True)]
    variance = sum(np.maximum(s / n - (m / n) ** 2, 0.0) / max(n - 1, 1) for (m, s), n in zip(of, size, strict=True))
    scale = np.sqrt(np.maximum(variance, ROUNDING**2 * squares / len(left)))
    return np.divide(np.abs(means[0] - means[1]), scale, out=np.zeros_like(scale), where=scale > 0)


def among_sets(values: Floats, grain: Floats) -> Floats:
    """How far each of n sets lies from the others, (n_sets, m): of ``values`` (n_sets, m), m figures of the same sets.

    |value - mean of the others|, over the standard deviation of a difference of that kind as the others tell it, and
    no less than ``grain`` (m,), the smallest difference that the figure can show. Every set is treated alike, so that
    where one of them is only one more of the rest all n are exchangeable, rows as wholes; deleted residuals, so that a
    set that stands alone does not hide itself in the spread.
    """
    values = np.asarray(values, float)
    n = len(values)
    if n < 3:
        return np.full(values.shape, np.nan)
    total, squares = values.sum(0), ((values - values.mean(0)) ** 2).sum(0)
    away = values - (total - values) / (n - 1)
    rest = np.maximum(squares - away**2 * (n - 1) / n, 0.0) / (n - 2)
    return np.abs(away) / np.maximum(np.sqrt(rest * n / (n - 1)), np.asarray(grain, float))
