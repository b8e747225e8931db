"""Dictionaries that explain most of what a layer says, or too little of it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.figures.sae_fit import BOTH, KINDS
from core.intervals import mean_interval
from core.scoreboard.worlds import Size, along, world


def _fit(rng: np.random.Generator, size: Size, worst: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """sae_fit of dictionaries that explain .9 of a layer, and ``worst`` at the question of the first."""
    rows = []
    for layer in range(size.layers):
        for kind in KINDS:
            true = worst if layer == 0 and kind == "prompt" else 0.9
            of_images = true + 0.15 * rng.standard_normal(size.n)
            value, low, high = mean_interval(of_images)
            names = {"": value, "_low": low, "_high": high, "_random": 0.3, "_median": value}
            rows.append({"layer": layer, "kind": kind, "lang": BOTH, "n_images": size.n})
            rows[-1] |= {f"explained_variance{end}": v for end, v in names.items()}
    return pd.DataFrame(), pd.DataFrame(rows)


@world("false", "one kind of token is explained to .45", "sae_fit.fits", sizes=along(at=Size(140, 0, 4)), worlds=60)
def poor(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return _fit(rng, size, 0.45)


@world("true", "all are explained to .8 or more", "sae_fit.fits", sizes=along(at=Size(140, 0, 4)), worlds=20)
def good(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return _fit(rng, size, 0.8)
