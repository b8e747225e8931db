"""Whether two languages' vectors of gender differences agree, estimated on disjoint halves of the images.

Both languages describe the same images, so that an accident of the images (more cars beside women than beside men)
moves both vectors alike and would pass for agreement. The vectors that are compared here come from different images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_SPLITS, SPLITS_PER_DRAW, N_SHUFFLES = 50, 4, 100
SPLIT_STREAM, RESAMPLE_STREAM, LABEL_STREAM = 11, 12, 13
Similarity = Callable[[NDArray, NDArray], NDArray]
Vectors = dict[str, NDArray]  # by language


@dataclass(frozen=True)
class Between:
    """A value with its 95 % interval, what it is where labels are shuffled, and what it is within one language."""

    value: float
    low: float
    high: float
    floor: float
    floor_low: float
    floor_high: float
    ceiling: float
    ceiling_low: float
    ceiling_high: float


def cosine(a: NDArray, b: NDArray) -> NDArray:
    """Cosine of each row of a with that row of b; NaN where one is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


def concordance(a: NDArray, b: NDArray) -> NDArray:
    """2 <a, b> / (|a|^2 + |b|^2), row by row: 1 only where a = b, 0 where unrelated, -1 where a = -b.

    The coefficient of identity of Zegers and ten Berge (1985), Lin's concordance (1989) about zero.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * (a * b).sum(-1) / ((a * a).sum(-1) + (b * b).sum(-1))


def compare_halves(
    x: dict[str, NDArray], female: NDArray, similarity: Similarity, n_bootstrap: int, seed: int | list[int]
) -> Between:
    """Agreement of the two languages' differences of means (female - male).

    ``x`` holds (n_images, p) a language, rows being the same images; ``female`` is (n_images,) bool. The value is
    s(en of half A, ar of half B) averaged over 50 random halvings and both ways round; the ceiling is the mean of
    s(en A, en B) and s(ar A, ar B); the floor has the labels shuffled (95 % range over 100 shuffles). Intervals are
    value +- 1.96 standard errors by the bootstrap over images, all copies of an image being on one side.
    """
    key = [seed] if isinstance(seed, int) else seed
    splits = _draw(len(female), N_SPLITS, 1, [*key, SPLIT_STREAM])
    cross, within = _similarities(x, _contrasts(female, *splits), similarity)
    resamples = _draw(
        len(female), max(50, n_bootstrap // SPLITS_PER_DRAW), SPLITS_PER_DRAW, [*key, RESAMPLE_STREAM], female
    )
    draws = [_per_draw(s) for s in _similarities(x, _contrasts(female, *resamples), similarity)]
    rng = np.random.default_rng([*key, LABEL_STREAM])
    shuffled = np.repeat([rng.permutation(female) for _ in range(N_SHUFFLES)], SPLITS_PER_DRAW, axis=0)
    splits = _draw(len(female), N_SHUFFLES, SPLITS_PER_DRAW, [*key, LABEL_STREAM, 1])
    floor = _per_draw(_similarities(x, _contrasts(shuffled, *splits), similarity)[0])
    numbers: list[float] = []
    for value, spread in zip((cross.mean(), within.mean()), draws, strict=True):
        half = 1.96 * np.nanstd(spread, ddof=1)
        numbers += [float(value), float(max(value - half, -1)), float(min(value + half, 1))]
    low, high = np.nanquantile(floor, [0.025, 0.975])
    return Between(*numbers[:3], float(np.nanmean(floor)), float(low), float(high), *numbers[3:])


def _per_draw(values: NDArray) -> NDArray:
    return np.nanmean(values.reshape(-1, SPLITS_PER_DRAW), axis=1)


def _draw(
    n: int, n_draws: int, n_splits: int, seed: list[int], female: NDArray | None = None
) -> tuple[NDArray, NDArray]:
    """Halves (n_draws * n_splits, n) bool and how often each image counts; resampled within women and men."""
    rng = np.random.default_rng(seed)
    half = np.argsort(rng.random((n_draws * n_splits, n)), axis=1) % 2 == 0
    counts = np.ones((n_draws, n), np.float32)
    if female is not None:
        for group in (np.flatnonzero(female), np.flatnonzero(~female)):
            counts[:, group] = rng.multinomial(len(group), np.full(len(group), 1 / len(group)), size=n_draws)
    return half, np.repeat(counts, n_splits, axis=0)


def _contrasts(female: NDArray, half: NDArray, counts: NDArray) -> tuple[NDArray, NDArray]:
    """Weights (n_draws, n) of either half that make x the difference of means; NaN where a group is empty."""
    female = np.broadcast_to(female, half.shape)
    weights = []
    for side in (half, ~half):
        women, men = counts * (side & female), counts * (side & ~female)
        with np.errstate(divide="ignore", invalid="ignore"):
            weights.append(women / women.sum(1, keepdims=True) - men / men.sum(1, keepdims=True))
    return weights[0], weights[1]


def _similarities(x: Vectors, weights: tuple[NDArray, NDArray], similarity: Similarity) -> tuple[NDArray, NDArray]:
    """Similarity between the languages and within them, one a draw."""
    en, ar = ([w @ x[lang] for w in weights] for lang in ("en", "ar"))
    cross = (similarity(en[0], ar[1]) + similarity(ar[0], en[1])) / 2
    return cross, (similarity(en[0], en[1]) + similarity(ar[0], ar[1])) / 2
