"""A dictionary that is one more random one, or knows gender; features that come back, or do not; random weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import csc_array

from core.agreement import Kind, agreement
from core.config import GenderConfig
from core.nulls.codes import CaptionCodes
from core.nulls.findings import RANDOM, TRAINED, Asked, ask, compared
from core.nulls.layers import layer_rows
from core.nulls.recurrence import recurrence, recurrence_rows
from core.scoreboard.worlds import Size, along, world

CONFIG = GenderConfig(min_images=20)
WIDTH, K, N_RANDOM = 48, 8, 5  # of the residual; features active an image; random dictionaries
STRENGTH = 2.0  # of gender in the residual, in standard deviations of one of its directions
SIZES = along((20, 50, 140), ds=(640,), at=Size(50, 192))
VIEW = "before"


def _images(rng: np.random.Generator, n: int, strength: float) -> tuple[np.ndarray, Asked, np.ndarray]:
    """Residuals of 2 n training and n held-out images of each gender; the last is the direction of gender."""
    female, train = np.tile([True, False], 3 * n), np.repeat([True, True, False], 2 * n)
    to = rng.standard_normal(WIDTH)
    to /= np.linalg.norm(to)
    x = rng.standard_normal((6 * n, WIDTH)) + strength * np.where(female, 0.5, -0.5)[:, None] * to
    return x, Asked(np.where(female, "female", "male"), train, CONFIG), to


def _codes(x: np.ndarray, rows: np.ndarray) -> CaptionCodes:
    """The K largest of each image's inner products with the rows, as codes of its English caption."""
    pre = x @ rows.T
    least = np.partition(pre, -K, axis=1)[:, -K][:, None]
    kept = np.zeros((2 * len(x), len(rows)), np.float32)
    kept[::2] = np.where(pre >= least, np.maximum(pre, 0), 0)
    positions = np.tile([1, 0], len(x))
    return CaptionCodes(3, {VIEW: positions}, {VIEW: csc_array(kept)})


def _rows(rng: np.random.Generator, d: int) -> np.ndarray:
    rows = rng.standard_normal((d, WIDTH))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _told(rng: np.random.Generator, size: Size, strength: float, knows: bool) -> tuple:
    x, asked, to = _images(rng, size.n, strength)
    own = _rows(rng, size.d)
    if knows:
        own[0], own[1] = to, -to
    heard = ask(_codes(x, own), asked, (1,), (VIEW,))
    random = [ask(_codes(x, _rows(rng, size.d)), asked, (1,), (VIEW,)) for _ in range(N_RANDOM)]
    found, probes = compared(heard, {TRAINED: [heard], RANDOM: random}, dict.fromkeys(heard), (1,))
    return pd.DataFrame(found), pd.DataFrame(probes), 3, "en", VIEW


@world("false", "no image shows a gender", "nulls.beyond random", sizes=SIZES, worlds=40, thin=True)
def nothing(rng: np.random.Generator, size: Size) -> tuple:
    return _told(rng, size, 0.0, False)


@world("false", "the SAE is one more random dictionary", "nulls.beyond random", sizes=SIZES, worlds=60, thin=True)
def one_more(rng: np.random.Generator, size: Size) -> tuple:
    return _told(rng, size, STRENGTH, False)


@world("true", "two features are the direction of gender", "nulls.beyond random", sizes=SIZES, worlds=20, thin=True)
def planted(rng: np.random.Generator, size: Size) -> tuple:
    return _told(rng, size, 2 * STRENGTH, True)


TOKENS = along((140, 1000), at=Size(140, 64))


def _again(rng: np.random.Generator, size: Size, same: float) -> tuple[pd.DataFrame]:
    """Codes of n x 10 tokens in two dictionaries; a share of the second are features of the first, with some noise."""
    n, d = 10 * size.n, size.d
    own = np.where(rng.random((n, d)) < 0.05, rng.exponential(1, (n, d)), 0)
    other = np.where(rng.random((n, d)) < 0.05, rng.exponential(1, (n, d)), 0)
    rows, others = _rows(rng, d), _rows(rng, d)
    kept = int(same * d)
    other[:, :kept] = own[:, :kept] * rng.uniform(0.7, 1.3, (n, kept))
    others[:kept] = rows[:kept] + 0.05 * rng.standard_normal((kept, WIDTH))
    first, second = (csc_array(part.astype(np.float32)) for part in (own, other))
    told = pd.DataFrame(recurrence_rows(recurrence(first, second, rows, others, int(rng.integers(1 << 30)))))
    return (told[told["feature"] == 0].assign(seed=0),)


@world("false", "the other dictionary has other features", "nulls.recurs", sizes=TOKENS, worlds=100)
def others(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _again(rng, size, 0.0)


@world("true", "half of the features come back", "nulls.recurs", sizes=TOKENS, worlds=30)
def half(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _again(rng, size, 0.5)


DEEP = along((20, 50, 140), layers=(1, 12), at=Size(50, WIDTH, 4))


def _layers(rng: np.random.Generator, size: Size, own: float, random: float) -> tuple:
    rows = []
    for layer in range(size.layers):
        x, asked, to = _images(rng, size.n, own)
        y = x - (own - random) * np.where(asked.gender == "female", 0.5, -0.5)[:, None] * to
        first, second = (np.repeat(part + 0.5 * rng.standard_normal(x.shape), 2, axis=0) for part in (x, y))
        told = layer_rows(first, second, np.tile([1, 0], len(x)), ("en",), asked)
        rows += [{"layer": layer, "view": VIEW, **row} for row in told]
    return pd.DataFrame(rows), "en", VIEW


@world("false", "random weights tell it as well", "nulls.beyond random weights", sizes=DEEP, worlds=40, thin=True)
def as_well(rng: np.random.Generator, size: Size) -> tuple:
    return _layers(rng, size, STRENGTH, STRENGTH)


@world("true", "random weights tell nothing", "nulls.beyond random weights", sizes=DEEP, worlds=20, thin=True)
def nothing_in_random(rng: np.random.Generator, size: Size) -> tuple:
    return _layers(rng, size, 2 * STRENGTH, 0.0)


N_OTHERS = 9


def _aligned(
    rng: np.random.Generator, size: Size, gender: tuple[float, float], others: tuple[float, float]
) -> tuple[pd.DataFrame, int, str]:
    """Contrasts whose directions in the two languages have a cosine drawn from a range; all of the same images."""
    common = rng.standard_normal((2 * size.n, size.d))
    noise = {lang: np.sqrt(0.5) * (common + rng.standard_normal(common.shape)) for lang in ("en", "ar")}
    rows = []
    for number in range(1 + N_OTHERS):
        present = np.zeros(2 * size.n, bool)
        present[rng.permutation(2 * size.n)[: size.n if number == 0 else max(20, size.n // 4)]] = True
        same = rng.uniform(*(others if number else gender))
        u, v = np.linalg.qr(rng.standard_normal((size.d, 2)))[0].T
        side = np.where(present, 2.0, -2.0)
        x = [noise["en"] + np.outer(side, u), noise["ar"] + np.outer(side, same * u + np.sqrt(1 - same**2) * v)]
        key = {"layer": 3, "view": VIEW, "contrast": str(number), "source": "word" if number else "gender"}
        kinds: dict[str, Kind] = {"direction_cosine": "cosine", "clbas": "identity"}
        for measure, kind in kinds.items():
            rows.append(key | {"measure": measure, **agreement(x[0], x[1], present, kind, 0).__dict__})
    return pd.DataFrame(rows), 3, VIEW


ALIGNED = along((50, 140), at=Size(50, 192))
MORE, LESS = "nulls.gender aligns more", "nulls.gender aligns less"


@world("false", "gender is one thing among others", MORE, LESS, sizes=ALIGNED, worlds=100)
def among_others(rng: np.random.Generator, size: Size) -> tuple:
    return _aligned(rng, size, (0.5, 1.0), (0.5, 1.0))


@world("false", "all have one direction in both languages", MORE, LESS, sizes=ALIGNED, worlds=60)
def all_alike(rng: np.random.Generator, size: Size) -> tuple:
    return _aligned(rng, size, (1.0, 1.0), (1.0, 1.0))


@world("true", "gender alone has one direction", MORE, sizes=ALIGNED, worlds=20)
def gender_alone(rng: np.random.Generator, size: Size) -> tuple:
    return _aligned(rng, size, (1.0, 1.0), (0.2, 0.5))


@world("true", "all but gender have one direction", LESS, sizes=ALIGNED, worlds=20)
def all_but_gender(rng: np.random.Generator, size: Size) -> tuple:
    return _aligned(rng, size, (0.2, 0.5), (0.9, 1.0))
