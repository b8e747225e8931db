"""Captions against the gender that an image shows: how often they name the other one, and how often none."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.bias.agreement import Measured, not_enough
from core.bias.shares import difference
from core.intervals import wilson

OTHER = {"female": "male", "male": "female"}
RATES = ("error", "omission", "both")


def says(named: pd.Series, gender: pd.Series) -> pd.DataFrame:
    """Of each caption (one bool a column): error, it names the other gender alone; omission, it names neither; both."""
    return pd.DataFrame(
        {
            "error": named == gender.map(OTHER),
            "omission": named.isin(["neutral", "none"]),
            "both": named == "both",
        }
    )


def error_rates(named: pd.Series, gender: pd.Series, min_images: int) -> dict[tuple[str, str], Measured]:
    """(rate, "female" | "male" | "female-male") -> its value, one caption an image, with Wilson's interval over images.

    ``gender`` is what the image shows; other values than female and male are left out. The difference has Newcombe's
    interval. Control: what the same captions would give if the labels were dealt out anew over these images (its
    expectation). Fewer than ``min_images`` of a gender give no number. Error as in Hendricks et al. (2018), where a
    neutral word is no error.
    """
    shown = gender.isin(list(OTHER))
    named, gender = named[shown], gender[shown]
    found: dict[tuple[str, str], Measured] = {}
    for rate in RATES:
        for g in OTHER:
            mine = gender == g
            n = int(mine.sum())
            if n < min_images:
                found[rate, g] = not_enough(n, f"{n} images of that gender; {min_images} are needed")
                continue
            hits = int(says(named[mine], gender[mine])[rate].sum())
            chance = float(says(named, pd.Series(g, index=named.index))[rate].mean())
            low, high = wilson(hits, n)
            found[rate, g] = Measured(hits / n, float(low), float(high), n, chance, chance, chance)
        women, men = found[rate, "female"], found[rate, "male"]
        if women.why or men.why:
            found[rate, "female-male"] = not_enough(women.n + men.n, women.why or men.why)
            continue
        value, low, high = (
            float(x) for x in difference(women.value, women.low, women.high, men.value, men.low, men.high)
        )
        chance = women.control - men.control
        found[rate, "female-male"] = Measured(value, low, high, women.n + men.n, *np.repeat(chance, 3).tolist())
    return found
