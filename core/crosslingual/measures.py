"""One row of the tables of comparisons: a measure with its interval, floor, ceiling and n, or why there is none."""

from __future__ import annotations

import math
from typing import Any

MEASURE_FIELDS = (
    "value",
    "low",
    "high",
    "floor",
    "floor_low",
    "floor_high",
    "ceiling",
    "ceiling_low",
    "ceiling_high",
    "ratio",
    "ratio_low",
    "ratio_high",
)


def measure_row(
    measure: str, n: int, unit: str, numbers: dict[str, float] | None = None, why: str = "", **names: str
) -> dict[str, Any]:
    """A row of alignment.parquet or gender_directions.parquet; numbers that are not given or not finite are None."""
    numbers = numbers or {}
    unknown = set(numbers) - set(MEASURE_FIELDS)
    if unknown:
        raise ValueError(f"no field of a measure: {', '.join(sorted(unknown))}")
    values = {name: float(numbers.get(name, math.nan)) for name in MEASURE_FIELDS}
    finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
    return {"measure": measure, **names, **finite, "n": n, "unit": unit, "why": why}
