"""How many of the k features that tell gender best are the same in English and in Arabic, for every k.

The same images are described in both languages, so that their accidents would put the same features in front in both.
English effects are therefore ranked on one half of the images and Arabic ones on the other, both ways round, over many
splits (as products of different images in core.agreement). A feature counts as shared where it is among the k largest
effects of both and has one sign. Beside it: the floor, labels shuffled alike in both languages; the ceiling, one
language ranked on either half, mean of the two languages; and how far the value lies from the floor to the ceiling,

    ratio = (value - floor) / (ceiling - floor),

1 where the languages agree as one does with itself, with Fieller's (1954) interval from a bootstrap over images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.stats import t as student

from core.crosslingual.pairs import LANGUAGES, PairedCodes

Floats = NDArray[np.float32]
Labels = NDArray[np.bool_]
KS = (1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200)
N_SPLITS, N_SHUFFLES, N_DRAWS, DRAW_SPLITS = 24, 40, 80, 3
AT_ONCE = 1 << 25  # numbers of one block of draws and features
NUMBERS = ("value", "low", "high", "floor", "floor_high", "ceiling", "ceiling_low", "ceiling_high")
NUMBERS += ("ratio", "ratio_low", "ratio_high")


class Effects(NamedTuple):
    """Codes of gendered images by language (n_images, n_features), each column over its standard deviation, and who is
    shown (n_images,)."""

    x: dict[str, Floats]
    female: Labels


def gendered(blocks: Iterable[tuple[int, PairedCodes]], gender: NDArray, min_images: int) -> Effects:
    """Of all images of women and men, as nothing is chosen here; features that fire on ``min_images`` in a language.

    A feature that is rarer in one language is silent there.
    """
    known = np.flatnonzero(np.isin(gender, ("female", "male")))
    parts: dict[str, list[Floats]] = {lang: [] for lang in LANGUAGES}
    for _, codes in blocks:
        scaled = [_scaled(getattr(codes, lang), known, min_images) for lang in LANGUAGES]
        live = np.any([part.any(0) for part in scaled], axis=0)
        for lang, part in zip(LANGUAGES, scaled, strict=True):
            parts[lang].append(part[:, live])
    return Effects({lang: np.concatenate(found, axis=1) for lang, found in parts.items()}, gender[known] == "female")


def _scaled(codes: csc_array, rows: NDArray, min_images: int) -> Floats:
    x = codes.tocsr()[rows].toarray().astype(np.float32)
    spread = x.std(0)
    enough = ((x != 0).sum(0) >= min_images) & (spread > 1e-6)
    return np.where(enough, x / np.where(enough, spread, 1), 0)


def overlap_rows(effects: Effects, seed: Sequence[int], ks: Sequence[int] = KS) -> Iterator[dict[str, Any]]:
    """One row a k: shares of k with interval, floor, ceiling and ratio; NaN where floor and ceiling are one to the
    images at hand. ``ks`` above half of the features are left out."""
    n_features = next(iter(effects.x.values())).shape[1]
    ks = [k for k in ks if 2 * k <= n_features]
    if not ks:
        return
    rng, n = np.random.default_rng([*seed]), len(effects.female)
    once = np.ones((1, n))
    own = _shares(effects, np.repeat(once, N_SPLITS, 0), np.repeat(effects.female[None], N_SPLITS, 0), ks, rng)
    value, ceiling = (part.mean(0) for part in own)
    dealt = np.stack([rng.permutation(effects.female) for _ in range(N_SHUFFLES)]).repeat(DRAW_SPLITS, 0)
    nothing = _shares(effects, np.repeat(once, len(dealt), 0), dealt, ks, rng)[0].reshape(N_SHUFFLES, DRAW_SPLITS, -1)
    shuffled = nothing.mean(1)
    counts = np.stack([_resampled(effects.female, rng) for _ in range(N_DRAWS)]).repeat(DRAW_SPLITS, 0)
    drawn = _shares(effects, counts, np.repeat(effects.female[None], len(counts), 0), ks, rng)
    draws = [part.reshape(N_DRAWS, DRAW_SPLITS, -1).mean(1) for part in drawn]
    q = float(student.ppf(0.975, n - 2))
    for i, k in enumerate(ks):
        floor, spread = float(shuffled[:, i].mean()), np.cov(draws[0][:, i], draws[1][:, i])
        half = q * np.sqrt(np.diag(spread))
        above = float(value[i]) - floor, float(ceiling[i]) - floor
        numbers = [value[i], *_ends(value[i], half[0]), floor, np.quantile(shuffled[:, i], 0.975)]
        numbers += [ceiling[i], *_ends(ceiling[i], half[1]), *fieller(above, spread, q)]
        yield {"k": k, "n_features": n_features, **dict(zip(NUMBERS, map(float, numbers), strict=True))}


def _ends(value: float, half: float) -> tuple[float, float]:
    return max(0.0, value - half), min(1.0, value + half)


def fieller(above: tuple[float, float], spread: NDArray, q: float) -> tuple[float, float, float]:
    """above[0] / above[1] with its interval, from their covariance; NaN where the second may be 0."""
    top, bottom = above
    (a, b), c = np.diag(spread), spread[0, 1]
    if bottom <= 0 or q**2 * b >= bottom**2:
        return float("nan"), float("nan"), float("nan")
    g = q**2 * b / bottom**2
    ratio = top / bottom
    middle = (ratio - g * (c / b if b > 0 else 0)) / (1 - g)
    inside = a - 2 * ratio * c + ratio**2 * b - g * (a - (c**2 / b if b > 0 else 0))
    half = q / bottom * np.sqrt(max(float(inside), 0.0)) / (1 - g)
    return float(ratio), float(middle - half), float(middle + half)


def _resampled(female: Labels, rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each image is drawn, women and men each among themselves."""
    counts = np.zeros(len(female))
    for side in (np.flatnonzero(female), np.flatnonzero(~female)):
        counts[side] = rng.multinomial(len(side), np.full(len(side), 1 / len(side)))
    return counts


def _shares(
    effects: Effects, counts: NDArray[np.float64], female: Labels, ks: Sequence[int], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By draw and k, what the two languages share of k, and what one language shares with itself.

    ``counts`` and ``female`` (n_draws, n_images). Each draw splits the images once, as many of a gender in either half;
    an image that is drawn twice stays in one half.
    """
    p = next(iter(effects.x.values())).shape[1]
    size = max(1, AT_ONCE // (8 * p))
    between, within = [], []
    for start in range(0, len(counts), size):
        now = slice(start, start + size)
        half = np.stack([half_of(labels, rng) for labels in female[now]])
        ranked = {
            (lang, side): _ranked(effects.x[lang], counts[now] * (half == side), female[now])
            for lang in LANGUAGES
            for side in (True, False)
        }
        pairs = [(("en", True), ("ar", False)), (("en", False), ("ar", True))]
        between.append(np.mean([_common(ranked[a], ranked[b], ks) for a, b in pairs], axis=0))
        own = [((lang, True), (lang, False)) for lang in LANGUAGES]
        within.append(np.mean([_common(ranked[a], ranked[b], ks) for a, b in own], axis=0))
    return np.concatenate(between), np.concatenate(within)


def half_of(female: Labels, rng: np.random.Generator) -> Labels:
    """One half of the images, drawn among women and men apart."""
    half = np.zeros(len(female), bool)
    for side in (np.flatnonzero(female), np.flatnonzero(~female)):
        half[rng.permutation(side)[: len(side) // 2]] = True
    return half


def _ranked(x: Floats, weights: NDArray[np.float64], female: Labels) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Place of each feature by the size of its effect (n_draws, n_features), 0 the largest, and its sign."""
    women, men = weights * female, weights * ~female
    contrast = women / women.sum(1, keepdims=True) - men / men.sum(1, keepdims=True)
    effect = contrast.astype(np.float32) @ x
    order = np.argsort(-np.abs(effect), axis=1, kind="stable")
    place = np.empty(order.shape, np.int32)
    np.put_along_axis(place, order, np.arange(order.shape[1], dtype=np.int32)[None].repeat(len(order), 0), axis=1)
    return place, np.sign(effect).astype(np.int8)


def _common(a: tuple[NDArray, NDArray], b: tuple[NDArray, NDArray], ks: Sequence[int]) -> NDArray[np.float64]:
    """Share of k (n_draws, n_ks) among the first k of both, of one sign."""
    later = np.where((a[1] == b[1]) & (a[1] != 0), np.maximum(a[0], b[0]), np.iinfo(np.int32).max)
    return np.stack([(later < k).sum(1) / k for k in ks], axis=1)
