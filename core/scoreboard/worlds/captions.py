"""The genders that captions name, with and without any relation to the image or to the other language's caption."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.answers.captions import FEW
from core.scoreboard.worlds import N, Size, along, world

NAMES = np.array(["male", "female"])
ENOUGH = tuple(n for n in N if n >= FEW)


def _seen(rng: np.random.Generator, size: Size, right: float, women: float) -> tuple[pd.DataFrame]:
    """Images of which a share ``women`` shows women; English names what is shown in 95 %, Arabic in ``right``."""
    shown = rng.random(2 * size.n) < women
    said = [np.where(rng.random(2 * size.n) < share, shown, ~shown) for share in (0.95, right)]
    return (pd.DataFrame({"gender": NAMES[shown.astype(int)]} | dict(zip(("en", "ar"), _names(said), strict=True))),)


def _names(said: list[np.ndarray]) -> list[np.ndarray]:
    return [NAMES[one.astype(int)] for one in said]


@world("false", "one language is right as often as the commoner gender", "captions.name gender", sizes=along())
def commoner(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _seen(rng, size, 0.6, 0.6)


@world("true", "captions name what is shown in 90 %", "captions.name gender", sizes=along(), worlds=50)
def right(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _seen(rng, size, 0.9, 0.6)


def _pairs(rng: np.random.Generator, size: Size, men: tuple[float, float], alike: float) -> tuple[pd.DataFrame]:
    """Neutral images; captions say a man in a share ``men`` by language, Arabic as English did in ``alike``."""
    women = [rng.random(size.n) > share for share in men]
    women[1] = np.where(rng.random(size.n) < alike, women[0], women[1])
    return (pd.DataFrame({"gender": "neutral"} | dict(zip(("en", "ar"), _names(women), strict=True))),)


@world("false", "what one says tells nothing of the other", "captions.agree", sizes=along(ENOUGH))
def unrelated(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _pairs(rng, size, (0.5, 0.5), 0.0)


@world("false", "both lean to men and know nothing of each other", "captions.agree", sizes=along(ENOUGH))
def leaning(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _pairs(rng, size, (0.8, 0.7), 0.0)


@world("true", "half of the captions follow the other", "captions.agree", sizes=along(ENOUGH), worlds=50)
def following(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _pairs(rng, size, (0.6, 0.6), 0.5)
