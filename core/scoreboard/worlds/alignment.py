"""Two languages whose gender is one direction, two, or none; whose features share it or keep to one language."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import csc_array, csr_array

from core.agreement import agreement
from core.crosslingual.clbas import GenderedCodes
from core.crosslingual.grammatical import class_follows, labellings, layer_p, word_genders
from core.crosslingual.overlap import Effects, overlap_rows
from core.crosslingual.pairs import PairedCodes
from core.crosslingual.sharing import class_sharing, gender_sharing
from core.scoreboard.worlds import LANGS, Size, along, world

SHARED = 0.5  # of the images' accidents, between the languages
SIZES = along((20, 50, 140, 400), (640, 2560), at=Size(50, 192))


def _directions(rng: np.random.Generator, size: Size, same: float, strength: float = 2.0) -> tuple:
    """Residuals whose gender directions have the cosine ``same``."""
    female = np.arange(2 * size.n) % 2 == 0
    u, v = np.linalg.qr(rng.standard_normal((size.d, 2)))[0].T
    way = {"en": u, "ar": same * u + np.sqrt(1 - same**2) * v}
    common = rng.standard_normal((2 * size.n, size.d))
    x = {
        lang: np.sqrt(SHARED) * common
        + np.sqrt(1 - SHARED) * rng.standard_normal(common.shape)
        + np.outer(np.where(female, strength, -strength), way[lang])
        for lang in LANGS
    }
    found = agreement(x["en"], x["ar"], female, "cosine", 0)
    row = {"measure": "direction_cosine", "layer": 3, "n": 2 * size.n, **found.__dict__}
    classes = pd.DataFrame({"layer": [], "language_class": [], "n": []})
    return pd.DataFrame([row]), classes, 3, "before"


@world("false", "gender has one direction in both", "alignment.two directions", sizes=SIZES, worlds=24)
def one(rng: np.random.Generator, size: Size) -> tuple:
    return _directions(rng, size, 1.0)


@world(
    "true", "gender has one direction in both", "alignment.one direction", "alignment.shared", sizes=SIZES, worlds=16
)
def one_said(rng: np.random.Generator, size: Size) -> tuple:
    return _directions(rng, size, 1.0)


@world(
    "false", "two directions at a right angle", "alignment.one direction", "alignment.shared", sizes=SIZES, worlds=24
)
def two(rng: np.random.Generator, size: Size) -> tuple:
    return _directions(rng, size, 0.0)


@world("true", "two directions at a right angle", "alignment.two directions", sizes=SIZES, worlds=16)
def two_said(rng: np.random.Generator, size: Size) -> tuple:
    return _directions(rng, size, 0.0)


@world("false", "neither language holds gender", "alignment.one direction", "alignment.shared", sizes=SIZES, worlds=24)
def neither(rng: np.random.Generator, size: Size) -> tuple:
    return _directions(rng, size, 1.0, 0.0)


def _sharing(rng: np.random.Generator, size: Size, *true: tuple[float, float]) -> tuple[pd.DataFrame]:
    """64 features, as many of each kind: effects in English and in Arabic, in standard deviations before silence."""
    female = np.arange(2 * size.n) % 2 == 0
    common = rng.standard_normal((2 * size.n, 64))
    side = np.where(female, 0.5, -0.5)[:, None]
    of = np.array(true)[np.arange(64) % len(true)].T
    x, train = {}, {}
    for lang, effect in zip(LANGS, of, strict=True):
        noise = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * rng.standard_normal(common.shape)
        x[lang] = np.maximum(noise + side * effect, 0).astype(np.float32)
        train[lang] = effect + 0.1 * rng.standard_normal(64)
    columns = gender_sharing(GenderedCodes(x, female, train, np.arange(64)))
    return (pd.DataFrame(class_sharing(columns, 0.05)),)


FEATURES = along((20, 50, 140, 400), at=Size(140, 64))
OWN, BOTH = "alignment.features of one language", "alignment.shared features"


@world("false", "no feature knows gender", BOTH, OWN, sizes=FEATURES, worlds=60)
def no_gender(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _sharing(rng, size, (0.0, 0.0))


@world("false", "all know it alike in both", OWN, sizes=FEATURES, worlds=60)
def alike(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _sharing(rng, size, (0.6, 0.6))


@world("false", "all know it, half as strongly in one", OWN, sizes=FEATURES, worlds=60)
def half(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _sharing(rng, size, (1.2, 0.6), (0.6, 1.2))


@world("false", "all know it in one language alone", BOTH, sizes=FEATURES, worlds=60)
def apart(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _sharing(rng, size, (1.2, 0.0), (0.0, 1.2))


@world("true", "all know it alike in both", BOTH, sizes=FEATURES, worlds=20)
def alike_said(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _sharing(rng, size, (0.6, 0.6))


@world("true", "half of the features know it in one language alone", OWN, sizes=FEATURES, worlds=20)
def english(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _sharing(rng, size, (1.6, 1.6), (1.6, 0.0))


def _grammar(rng: np.random.Generator, size: Size, follow: float) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """``d`` features and 20 words for things, each with an activation of its own; a tenth adds the word's gender."""
    words = 20
    female = np.arange(words) % 2 == 0
    of_image = rng.integers(0, words, 2 * size.n)
    stands = csr_array((np.ones(2 * size.n), (np.arange(2 * size.n), of_image)), shape=(2 * size.n, words))
    level = rng.gamma(1, 1, (words, size.d))  # a thing is a thing in both languages
    grammar = np.outer(female, np.arange(size.d) < size.d // 10) * follow
    codes = [
        np.maximum(level[of_image] + extra[of_image] + rng.standard_normal((2 * size.n, size.d)), 0)
        for extra in (np.zeros_like(grammar), grammar)
    ]
    tried = labellings(female, [0])[:2000]
    enough = np.ones(size.d, bool)
    columns, largest = word_genders(PairedCodes(*(csc_array(x) for x in codes)), stands, female, tried, enough)
    columns |= {
        "p_word_layer": layer_p(columns["size_word"], largest),
        "n_ar": np.full(size.d, 2 * size.n),
        "p_person": np.ones(size.d),
        "n_labellings": np.full(size.d, len(tried)),
    }
    frame = pd.DataFrame(class_follows(columns, 0.05, 20)).assign(n_words_female=10, n_words_male=10)
    return frame["follows"].value_counts().rename_axis("follows").rename("n").reset_index(), frame, 3


@world("false", "no feature follows grammar", "alignment.grammar", sizes=along((50, 140), at=Size(50, 192)), worlds=60)
def no_grammar(rng: np.random.Generator, size: Size) -> tuple:
    return _grammar(rng, size, 0.0)


@world("true", "a tenth follows grammar", "alignment.grammar", sizes=along((50, 140), at=Size(50, 192)), worlds=20)
def grammar(rng: np.random.Generator, size: Size) -> tuple:
    return _grammar(rng, size, 4.0)


def _strongest(rng: np.random.Generator, size: Size, same: float, strength: float = 1.0) -> tuple[pd.DataFrame, int]:
    """``d`` features, 25 of which know gender in each language, a share ``same`` of them in both; heavy tails."""
    female = np.arange(2 * size.n) % 2 == 0
    common, side = rng.standard_normal((2 * size.n, size.d)), np.where(female, 0.5, -0.5)[:, None]
    true = np.zeros((2, size.d))
    effects = strength * (rng.gamma(2, 0.35, 25) + 0.2) * rng.choice([-1, 1], 25)
    both = rng.permutation(25) < round(same * 25)
    true[0, :25] = effects
    true[1, :25], true[1, 25:50] = effects * both, effects * ~both
    x = {}
    for lang, effect in zip(LANGS, true, strict=True):
        noise = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * rng.standard_normal(common.shape)
        x[lang] = (np.maximum(noise, 0) + side * effect).astype(np.float32)
        x[lang] /= x[lang].std(0)
    rows = pd.DataFrame(overlap_rows(Effects(x, female), [int(rng.integers(1 << 30))], (25,)))
    return rows.assign(n_female=size.n, n_male=size.n), 25


STRONGEST = along((20, 50, 140, 400), at=Size(50, 300))


@world("false", "half of the strongest are the same", "alignment.same strongest", sizes=STRONGEST, worlds=60)
def half_same(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, int]:
    return _strongest(rng, size, 0.5)


@world(
    "false",
    "no feature tells gender best",
    "alignment.same strongest",
    "alignment.other strongest",
    sizes=STRONGEST,
    worlds=60,
)
def none_strongest(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, int]:
    return _strongest(rng, size, 1.0, 0.0)


@world("false", "the strongest are the same", "alignment.other strongest", sizes=STRONGEST, worlds=60)
def all_same(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, int]:
    return _strongest(rng, size, 1.0)


@world("true", "the strongest are the same", "alignment.same strongest", sizes=STRONGEST, worlds=20)
def all_same_said(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, int]:
    return _strongest(rng, size, 1.0)


@world("true", "half of the strongest are the same", "alignment.other strongest", sizes=STRONGEST, worlds=20)
def half_same_said(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, int]:
    return _strongest(rng, size, 0.5)
