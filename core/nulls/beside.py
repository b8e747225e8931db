"""Gender's agreement between the languages beside that of other contrasts of the same images; needs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

MIN_OTHERS = 5  # contrasts below which gender is not compared with them
RATIOS = ("ratio", "ratio_low", "ratio_high")


@dataclass(frozen=True)
class BesideOthers:
    """Gender's agreement over its ceiling less that of one more other thing, with an interval; their mean and ends."""

    difference: float
    low: float
    high: float
    mean: float
    least: float
    most: float
    n: int


def beside_others(
    gender: Mapping[str, Any], others: Sequence[Mapping[str, Any]], level: float = 0.95
) -> BesideOthers | None:
    """Gender's ratio less that of *one more* other contrast; None with fewer than MIN_OTHERS ratios or none of gender.

    With mean m and standard deviation s over the J others, D = g - m, its ends (MOVER: Zou and Donner 2008)

        D - sqrt((g - g_low)^2 + t^2 s^2 (1 + 1/J)), D + sqrt((g_high - g)^2 + t^2 s^2 (1 + 1/J)),    t of J - 1

    s holds how different things are and how surely each was measured. Images are the same, which is not made use of.
    """
    known = np.array([row["ratio"] for row in others if row["ratio"] is not None], float)
    known = known[np.isfinite(known)]
    g, g_low, g_high = (np.nan if gender[name] is None else float(gender[name]) for name in RATIOS)
    if len(known) < MIN_OTHERS or not np.isfinite([g, g_low, g_high]).all():
        return None
    n, mean = len(known), float(known.mean())
    more = float(student.ppf(0.5 + level / 2, n - 1)) * known.std(ddof=1) * np.sqrt(1 + 1 / n)
    low, high = g - mean - np.hypot(g - g_low, more), g - mean + np.hypot(g_high - g, more)
    return BesideOthers(g - mean, float(low), float(high), mean, float(known.min()), float(known.max()), n)
