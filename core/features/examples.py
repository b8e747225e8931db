"""Examples of each feature: the images that fire it most, and a fair draw from every band of how strongly it fires.

An image stands for itself once: it has an English and an Arabic sequence, and the one with the higher activation is
shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.features.codes import Codes
from core.features.tokens import IMAGE, LANGUAGES, TokenIndex


@dataclass(frozen=True)
class ImageMaxima:
    """The strongest token of each (feature, image) pair that fires, sorted by feature and sample_id.

    ``row`` is the activation row of that token; of equal ones the first.
    """

    feature: np.ndarray
    sample_id: np.ndarray
    value: np.ndarray
    row: np.ndarray


@dataclass(frozen=True)
class Examples:
    """Chosen examples, sorted by feature, bin and rank; ``pair`` is the place in the ImageMaxima.

    ``bin`` is 0 for the weakest quantile band, n_quantiles - 1 for the strongest, n_quantiles for the top images.
    ``band_low`` and ``band_high`` are the smallest and largest image maximum in the band it was drawn from; for the bin
    top, of the images shown.
    """

    feature: np.ndarray
    bin: np.ndarray
    rank: np.ndarray
    pair: np.ndarray
    band_low: np.ndarray
    band_high: np.ndarray


def bin_names(n_quantiles: int) -> list[str]:
    """Names by code: "q1" (weakest) .. "qN" (strongest), "top"."""
    return [*(f"q{q + 1}" for q in range(n_quantiles)), "top"]


def image_maxima(codes: Codes, tokens: TokenIndex) -> ImageMaxima:
    """The maximum of each feature over all tokens of each image, both sequences."""
    pair = codes.feature * tokens.n_samples + tokens.sample_id[codes.row]
    order = np.argsort(pair, kind="stable")
    pair, value = pair[order], codes.value[order]
    start = np.flatnonzero(np.diff(pair, prepend=-1))
    if not len(start):
        empty = np.zeros(0, np.int64)
        return ImageMaxima(empty, empty, np.zeros(0, np.float32), empty)
    top = np.maximum.reduceat(value, start)
    number = np.repeat(np.arange(len(start)), np.diff(start, append=len(pair)))
    best = np.flatnonzero(value == top[number])
    best = best[np.diff(number[best], prepend=-1) > 0]  # the first of equal ones
    feature, sample_id = np.divmod(pair[start], tokens.n_samples)
    return ImageMaxima(feature, sample_id, top, codes.row[order[best]])


def choose_examples(
    maxima: ImageMaxima, first: int, n_top: int, n_quantiles: int, n_per_quantile: int, seed: int, layer: int
) -> Examples:
    """The ``n_top`` strongest images of each feature, and up to ``n_per_quantile`` drawn from each quantile band.

    The images that fire a feature, in the order of their maxima, are cut into ``n_quantiles`` bands of equal size (to
    within one image; a feature with fewer images than bands leaves some empty). A draw keeps the images with the lowest
    priority, a number hashed from (seed, layer, feature, sample_id): the same however features are cut into blocks.
    Equal maxima go by sample_id. ``first`` is the number of the block's first feature.
    """
    order = np.lexsort((maxima.sample_id, -maxima.value.astype(np.float64), maxima.feature))
    feature, n = maxima.feature[order], np.bincount(maxima.feature) if len(order) else np.zeros(0, np.int64)
    rank = _rank_within(feature)  # 0 = strongest
    from_below = n[feature] - 1 - rank
    band = ((2 * from_below + 1) * n_quantiles) // (2 * np.maximum(1, n[feature]))
    top = np.flatnonzero(rank < n_top)

    priority = _priority(seed, layer, first + feature, maxima.sample_id[order])
    drawn = np.lexsort((priority, band, feature))
    drawn = drawn[_rank_within(feature[drawn] * (n_quantiles + 1) + band[drawn]) < n_per_quantile]
    drawn = np.sort(drawn)  # strongest first again, so bands fall

    place = np.concatenate([top, drawn])
    bins = np.concatenate([np.full(len(top), n_quantiles), band[drawn]])
    group = feature[place] * (n_quantiles + 1) + bins
    sort = np.argsort(group, kind="stable")
    place, bins, group = place[sort], bins[sort], group[sort]

    member = np.concatenate([feature[top] * (n_quantiles + 1) + n_quantiles, feature * (n_quantiles + 1) + band])
    values = np.concatenate([maxima.value[order][top], maxima.value[order]])
    low, high = _extremes(member, values, group)
    return Examples(feature[place], bins, _rank_within(group), order[place], low, high)


def _rank_within(group: np.ndarray) -> np.ndarray:
    """0, 1, 2 ... within each run of equal entries."""
    start = np.flatnonzero(np.diff(group, prepend=-1))
    return np.arange(len(group)) - np.repeat(start, np.diff(start, append=len(group)))


def _extremes(member: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest of ``values`` in the group of each entry of ``wanted``; every wanted group has members."""
    if not len(wanted):
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    order = np.argsort(member, kind="stable")
    groups, start = np.unique(member[order], return_index=True)
    place = np.searchsorted(groups, wanted)
    return np.minimum.reduceat(values[order], start)[place], np.maximum.reduceat(values[order], start)[place]


def _priority(seed: int, layer: int, feature: np.ndarray, sample_id: np.ndarray) -> np.ndarray:
    """A 64-bit hash of the four numbers (splitmix64: Steele, Lea and Flood 2014), as good as random order."""
    state = np.zeros(len(feature), np.uint64)
    for part in (np.full(len(feature), seed), np.full(len(feature), layer), feature, sample_id):
        state = _mix(state + np.uint64(0x9E3779B97F4A7C15) + part.astype(np.uint64))
    return state


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True)
class Traces:
    """Activations along whole sequences, one entry an example.

    ``patches`` (n_examples, n_patches), row-major, NaN where the image token is not stored; ``captions`` are laid one
    after another, example i at ``offsets[i]:offsets[i + 1]``, one value a caption token.
    """

    sequence: np.ndarray
    patches: np.ndarray
    captions: np.ndarray
    offsets: np.ndarray


def traces(codes: Codes, tokens: TokenIndex, maxima: ImageMaxima, examples: Examples) -> Traces:
    """The activation at each image and caption token of the sequence that each example's maximum came from."""
    sequence = tokens.sequence[maxima.row[examples.pair]]
    n_sequences = len(tokens.caption_length)
    wanted, inverse = np.unique(examples.feature * n_sequences + sequence, return_inverse=True)
    length = tokens.caption_length[wanted % n_sequences]
    start = np.concatenate([[0], np.cumsum(length)])
    image = (wanted % n_sequences) // len(LANGUAGES)
    patches = np.where(tokens.kept_patches[image], np.float32(0), np.float32(np.nan))
    words = np.zeros(start[-1], np.float32)
    if len(wanted):
        slot = tokens.slot[codes.row]
        key = codes.feature * n_sequences + tokens.sequence[codes.row]
        place = np.minimum(np.searchsorted(wanted, key), len(wanted) - 1)
        hit = np.flatnonzero((wanted[place] == key) & (slot >= 0))
        on_image = tokens.group[codes.row[hit]] == IMAGE
        patch, word = hit[on_image], hit[~on_image]
        patches[place[patch], slot[patch]] = codes.value[patch]
        words[start[place[word]] + slot[word]] = codes.value[word]
    offsets = np.concatenate([[0], np.cumsum(length[inverse])])
    source = np.repeat(start[inverse] - offsets[:-1], length[inverse]) + np.arange(offsets[-1])
    return Traces(sequence, patches[inverse], words[source], offsets)
