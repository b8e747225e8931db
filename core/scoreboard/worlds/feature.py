"""What single features fire on, and whether they keep to one language."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.crosslingual.language import LanguageSpecificFeatureIdentifier
from core.figures.feature import KINDS
from core.scoreboard.worlds import Size, along, world

TOKENS = {"density_image": 16, "density_prompt": 5, "density_caption_en": 12, "density_caption_ar": 12}  # an image


def _feature(rng: np.random.Generator, size: Size, first: float) -> tuple[dict]:
    """A feature with some 60 firings; ``first`` times as dense at the image as elsewhere."""
    n = {kind: size.n * TOKENS[kind] for kind in KINDS}
    weight = np.array([n[kind] * (first if kind == "density_image" else 1.0) for kind in KINDS])
    fired = rng.poisson(60 * weight / weight.sum())
    row = {kind: k / n[kind] for kind, k in zip(KINDS, fired.tolist(), strict=True)}
    return ({**row, "n_active": int(fired.sum()), "alive": True, "density": fired.sum() / sum(n.values())},)


@world("false", "it fires alike on all kinds of tokens", "feature.kind", sizes=along((20, 140)), worlds=400)
def anywhere(rng: np.random.Generator, size: Size) -> tuple[dict]:
    return _feature(rng, size, 1.0)


@world("true", "it fires ten times as often at the image", "feature.kind", sizes=along((20, 140)), worlds=100)
def at_the_image(rng: np.random.Generator, size: Size) -> tuple[dict]:
    return _feature(rng, size, 10.0)


def _features(rng: np.random.Generator, size: Size, own: float) -> tuple[pd.DataFrame]:
    """``d`` features that fire on some 1 to all images, a share ``own`` of them in English alone, others as often and
    as strongly in both languages; with the class that the stage crosslingual gives them."""
    rate = np.exp(rng.uniform(-np.log(size.n), 0, size.d))
    mine = rng.random(size.d) < own
    codes = [
        rng.binomial(1, rate * often, (size.n, size.d)) * rng.exponential(1, (size.n, size.d)) for often in (1, ~mine)
    ]
    identifier = LanguageSpecificFeatureIdentifier(100)
    found = identifier.classify(identifier.measure(codes[0], codes[1]))
    fired = {lang: (x > 0).sum(0) for lang, x in zip(("en", "ar"), codes, strict=True)}
    frame = pd.DataFrame({f"density_caption_{lang}": n / (12 * size.n) for lang, n in fired.items()})
    n_active = fired["en"] + fired["ar"]
    return (frame.assign(alive=n_active > 0, n_active=n_active, language_class=found["language_class"]),)


@world("false", "all fire alike in both languages", "feature.one language", sizes=along((140,), at=Size(140, 192)))
def both(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _features(rng, size, 0.0)


@world("true", "a tenth keeps to English", "feature.one language", sizes=along((140,), at=Size(140, 192)), worlds=50)
def english(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _features(rng, size, 0.1)
