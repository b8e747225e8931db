"""Texts that the model says of features, which fit the images that fire them or do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from core.scoreboard.worlds import LANGS, Size, along, world
from core.steering.explain import Said, score

WORDS = [a + b for a in "bdgkmnprst" for b in "aeioux"]
OTHERS = 20


def _texts(rng: np.random.Generator, size: Size, fit: float) -> tuple[pd.DataFrame]:
    """Explanations of 21 features in two languages, of which the first is shown; its word is said of the images that
    fire it with ``fit`` times the odds of others. ``n`` held-out images that fire each."""
    n = 4 * size.n
    fires = rng.random((n, OTHERS + 1)) < 0.5
    train = np.arange(n) % 2 == 0
    rows = []
    for lang in LANGS:
        p = np.full((n, len(WORDS)), 0.2)
        p[:, 0] = np.where(fires[:, 0], np.minimum(0.2 * fit, 1.0), 0.2)
        said = Said(np.arange(n), {word: i for i, word in enumerate(WORDS)}, csr_array(rng.binomial(3, p) / 3.0), train)
        texts = pd.DataFrame(
            [
                {"feature": f, "strength": s, "text": " ".join(_words(rng, f, fit))}
                for f in range(OTHERS + 1)
                for s in (1.0, 2.0)
            ]
        )
        found = score(texts, said, fires, 10)
        rows.append(found[(found["feature"] == 0) & found["chosen"]].assign(lang=lang))
    return (pd.concat(rows, ignore_index=True),)


def _words(rng: np.random.Generator, feature: int, fit: float) -> list[str]:
    if feature == 0 and fit > 1:
        return WORDS[:1]
    return [WORDS[i] for i in rng.choice(len(WORDS) - 1, 4, replace=False) + 1]


@world("false", "texts fit nothing", "explain.fits", sizes=along((20, 140)), worlds=60)
def unfit(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _texts(rng, size, 1.0)


@world("true", "its word is said three times as often", "explain.fits", sizes=along((20, 140)), worlds=30)
def fit(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _texts(rng, size, 3.0)
