"""Captions before and after a change of a model that does something to gendered words, or nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.scoreboard.worlds import Size, along, world
from core.words.audit import audit

FILLING = ["near", "the", "old", "stone", "stands", "tall", "tree", "and", "blue", "car", "on", "green", "grass"]


def _captions(
    rng: np.random.Generator, size: Size, rate: float, keep: float = 1, cut: float = 1
) -> tuple[pd.DataFrame]:
    """The terms of an audit of ``n`` images, half of which show a person.

    Of the words of these a share ``rate`` is gendered, and a hundredth elsewhere; afterwards a share ``keep`` of them
    is left, and captions are ``cut`` as long. Lengths differ by image, before and after are drawn apart.
    """
    length = rng.gamma(4, 4, size.n)
    share = np.where(rng.random(size.n) < 0.5, rate, 0.01)
    sides = [
        [_caption(rng, n, s) for n, s in zip(rng.poisson(longer) + 3, gendered, strict=True)]
        for longer, gendered in ((length, share), (cut * length, keep * share))
    ]
    frame = pd.DataFrame({"image_id": np.arange(size.n), "before": sides[0], "after": sides[1]})
    return (audit(frame, "en").terms,)


def _caption(rng: np.random.Generator, n: int, rate: float) -> str:
    words = np.where(rng.random(n) < rate, rng.choice(["man", "woman"], n), rng.choice(FILLING, n))
    return f"{' '.join(words)}."


@world("false", "captions are written anew, no word is rarer", "audit.changed", sizes=along(), worlds=120, thin=True)
def anew(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _captions(rng, size, 0.15)


@world("false", "gendered words are scarce and not rarer", "audit.changed", sizes=along(), worlds=120, thin=True)
def scarce(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _captions(rng, size, 0.02)


@world("false", "captions are half as long, no word is rarer", "audit.changed", sizes=along(), worlds=120, thin=True)
def shorter(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _captions(rng, size, 0.15, cut=0.5)


@world("true", "three of four gendered words are gone", "audit.changed", sizes=along(), worlds=50, thin=True)
def rarer(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _captions(rng, size, 0.15, keep=0.25)
