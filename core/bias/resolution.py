"""VisoGender's resolution bias, of captions: whose gender is said rightly more often, men's or women's?

Resolution accuracy RA(g) is the share of images of gender g whose caption says g; the bias is RA(male) - RA(female)
(Hall et al. 2023, arXiv 2306.12424, section 4.1; ``gender_gap`` in their code). They let a model choose among his, her
and their, so that "their" is not right; a free caption says a word for a person or none, and is read in two ways: of
all images (saying none is not right), and of those whose caption says one gender (as where it must choose).
"""

from __future__ import annotations

import pandas as pd

from core.bias.measures import Measured, not_enough
from core.intervals import difference, wilson

METRICS = ("resolution", "resolution_named")
GAP = "male-female"
GENDERS = ("male", "female")


def resolution(named: pd.Series, gender: pd.Series, min_images: int) -> dict[tuple[str, str], Measured]:
    """(metric, "male" | "female" | "male-female") -> value, with Wilson's interval, the gap with Newcombe's.

    ``named``: what the caption says by words that both genders must say alike; ``gender``: what the image shows.
    Control: the same captions with the labels dealt out anew (its expectation; of the gap 0 by more than accident only
    where captions of one gender are commoner). Fewer than ``min_images`` of a gender give no number.
    """
    found: dict[tuple[str, str], Measured] = {}
    shown = gender.isin(GENDERS)
    for metric in METRICS:
        counted = shown & (named.isin(GENDERS) if metric == METRICS[1] else True)
        said, true = named[counted], gender[counted]
        for one in GENDERS:
            mine = said[true == one]
            if (n := len(mine)) < min_images:
                found[metric, one] = not_enough(
                    n, f"{n} such captions of images of that gender; {min_images} are needed"
                )
                continue
            hits, chance = int((mine == one).sum()), float((said == one).mean())
            low, high = wilson(hits, n)
            found[metric, one] = Measured(hits / n, float(low), float(high), n, chance, chance, chance)
        men, women = (found[metric, one] for one in GENDERS)
        if why := men.why or women.why:
            found[metric, GAP] = not_enough(men.n + women.n, why)
            continue
        value, low, high = map(float, difference(men.value, men.low, men.high, women.value, women.low, women.high))
        chance = men.control - women.control
        found[metric, GAP] = Measured(value, low, high, men.n + women.n, chance, chance, chance)
    return found
