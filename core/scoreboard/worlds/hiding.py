"""Pictures of which windows are hidden: the person's matters to the gendered word, or no more than others."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm

from core.interventions.hidden import compared
from core.scoreboard.worlds import LANGS, Size, along, world

RANDOM = 3  # places of an image
SHARED = 0.5  # of what makes an image's word easy to change, between windows


def _hidden(rng: np.random.Generator, size: Size, shape: str, **share: float) -> tuple[pd.DataFrame]:
    """``share`` of images whose gendered word changes with an area of person, object, background, random places."""
    rows = []
    image = rng.standard_normal(size.n)
    p = np.array([share["person"], share["object"], share["background"], *[share["random"]] * RANDOM])
    for lang in LANGS:
        own = np.sqrt(SHARED) * image + np.sqrt(1 - SHARED) * rng.standard_normal((3 + RANDOM, size.n))
        changed = (own < norm.ppf(p)[:, None]).astype(float)
        others = {"object": changed[1], "background": changed[2], "random": changed[3:].mean(0)}
        for against, values in others.items():
            found = compared(pd.Series(changed[0]), pd.Series(values))
            key = {"lang": lang, "filling": "mean", "shape": shape, "area": "person", "outcome": "changed"}
            rows.append({**key, "against": against, "patches": 6.0, **found})
    return (pd.DataFrame(rows),)


@world("false", "all places matter alike", "hiding.person", sizes=along(), worlds=200, thin=True)
def alike(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _hidden(rng, size, "window", person=0.2, object=0.2, background=0.2, random=0.2)


@world("false", "the background matters as much as the person", "hiding.person", sizes=along(), worlds=200, thin=True)
def background_too(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _hidden(rng, size, "window", person=0.4, object=0.05, background=0.4, random=0.25)


@world("true", "the person changes 40 %, other places 5 %", "hiding.person", sizes=along(), worlds=40, thin=True)
def person(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _hidden(rng, size, "window", person=0.4, object=0.05, background=0.05, random=0.15)


@world("false", "any area of its size matters as much", "hiding.whole", sizes=along(), worlds=200, thin=True)
def by_size(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _hidden(rng, size, "whole", person=0.3, object=0.02, background=0.02, random=0.3)


@world("true", "the person changes 45 %, areas elsewhere 20 %", "hiding.whole", sizes=along(), worlds=40, thin=True)
def by_place(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _hidden(rng, size, "whole", person=0.45, object=0.02, background=0.02, random=0.2)
