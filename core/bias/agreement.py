"""How well one table of shares agrees with another, over groups: correlation, calibration error, slope."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from core.intervals import percentile_interval, resampled_counts

MIN_GROUPS = 8  # below which a correlation over groups says nothing
METRICS = ("correlation", "calibration_error", "slope")
NAN = float("nan")


class Measured(NamedTuple):
    """A value with its interval and what it would be by chance; NaN and ``why`` where there is not enough data."""

    value: float
    low: float
    high: float
    n: int
    control: float
    control_low: float
    control_high: float
    why: str = ""


def not_enough(n: int, why: str) -> Measured:
    """No value, and the reason."""
    return Measured(NAN, NAN, NAN, n, NAN, NAN, NAN, why)


def agreement(known: ArrayLike, found: ArrayLike, n_draws: int, seed: int | list[int]) -> dict[str, Measured]:
    """Pearson's r, mean absolute difference, and slope of ``found`` on ``known`` (n_groups,) each.

    Intervals: bootstrap over groups, whose own error (images, draws) is part of how they scatter. Control: ``known``
    dealt out anew over the groups. NaN groups are left out.
    """
    known, found = np.asarray(known, float), np.asarray(found, float)
    usable = np.isfinite(known) & np.isfinite(found)
    known, found = known[usable], found[usable]
    n = len(known)
    if n < MIN_GROUPS:
        return dict.fromkeys(METRICS, not_enough(n, f"{n} groups; a comparison over groups needs {MIN_GROUPS}"))
    even = np.ones((1, n))
    value = _all(even, known, found)
    drawn = _all(resampled_counts(n, n_draws, seed), known, found)
    rng = np.random.default_rng([*([seed] if isinstance(seed, int) else seed), 1])
    dealt = rng.permuted(np.tile(known, (n_draws, 1)), axis=1)
    chance = _all(np.ones((n_draws, n)), dealt, found)
    result = {}
    for name in METRICS:
        if not np.isfinite(value[name][0]):
            result[name] = not_enough(n, "the values are the same in all groups")
            continue
        low, high = percentile_interval(drawn[name])
        control_low, control_high = percentile_interval(chance[name])
        result[name] = Measured(
            float(value[name][0]),
            float(low),
            float(high),
            n,
            float(np.nanmean(chance[name])),
            float(control_low),
            float(control_high),
        )
    return result


def _all(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """The three metrics for each row of ``weights`` (n_draws, n_groups); x and y (n_groups,) or one row a draw."""
    total = weights.sum(1)
    dx = x - ((weights * x).sum(1) / total)[:, None]
    dy = y - ((weights * y).sum(1) / total)[:, None]
    xx, yy, xy = (weights * dx * dx).sum(1), (weights * dy * dy).sum(1), (weights * dx * dy).sum(1)
    xx, yy = np.where(xx < 1e-12, np.nan, xx), np.where(yy < 1e-12, np.nan, yy)
    error = (weights * np.abs(x - y)).sum(1) / total
    return {"correlation": xy / np.sqrt(xx * yy), "calibration_error": error, "slope": xy / xx}
