"""Intervals and multiplicity: Wilson's interval of shares, bootstrap over units, Benjamini and Hochberg.

A unit is what was drawn independently, here an image; everything that comes from one unit is resampled together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control, norm


def wilson(hits: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper end of the interval of the share hits / n, of any shape; NaN where n is 0 (Wilson 1927)."""
    hits, n = np.asarray(hits, float), np.asarray(n, float)
    z = norm.ppf(0.5 + level / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = hits / n
        middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    low, high = np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
    return np.minimum(low, share), np.maximum(high, share)  # at 0 and 1 a rounding error may leave the share outside


def resampled_counts(n_units: int, n_draws: int, seed: int | list[int]) -> NDArray[np.int32]:
    """How often each unit stands in each bootstrap draw, (n_draws, n_units): weights for means, sums and products."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=n_draws).astype(np.int32)


def percentile_interval(draws: ArrayLike, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval over the first axis of bootstrap draws (n_draws, ...), NaN draws left out (Efron 1979)."""
    tail = (1 - level) / 2
    draws = np.asarray(draws, float)
    quantile = np.nanquantile if np.isnan(draws).any() else np.quantile  # the former is many times slower
    low, high = quantile(draws, [tail, 1 - tail], axis=0)
    return low, high


def mean_interval(values: ArrayLike, n_draws: int, seed: int | list[int]) -> tuple[float, float, float]:
    """Mean over units with its bootstrap interval; ``values`` (n_units,), NaN units left out."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    low, high = percentile_interval(resampled_counts(len(values), n_draws, seed) @ values / len(values))
    return float(values.mean()), float(low), float(high)


def q_values(p: ArrayLike) -> NDArray[np.float64]:
    """Benjamini and Hochberg's (1995) adjusted p over all finite entries together; NaN stays NaN."""
    p = np.asarray(p, float)
    q = np.full(p.shape, np.nan)
    tested = np.isfinite(p)
    if tested.any():
        q[tested] = false_discovery_control(p[tested])
    return q


def shuffled_within(
    labels: NDArray[np.bool_], stratum: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Labels (n,) dealt out anew among the places of each stratum (n,)."""
    order = np.lexsort((rng.random(len(labels)), stratum))
    mixed = np.empty_like(labels)
    mixed[np.argsort(stratum, kind="stable")] = labels[order]
    return mixed
