"""For what share of captions the pairs of spellings speak."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.scoreboard.worlds import Size, along, world


def _contrasts(rng: np.random.Generator, size: Size, share: float) -> tuple[pd.DataFrame, str, int]:
    why = np.where(rng.random(size.n) < share, "", "no counterpart")
    return pd.DataFrame({"why": why, "slot": 0, "begins": 0}), "English", 2 * size.n


@world("false", "a quarter can be compared", "coverage.share", sizes=along(), worlds=100)
def a_quarter(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, str, int]:
    return _contrasts(rng, size, 0.25)


@world("true", "nine of ten can be compared", "coverage.share", sizes=along(), worlds=40)
def nine_of_ten(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, str, int]:
    return _contrasts(rng, size, 0.9)
