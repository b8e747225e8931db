"""What is said of each feature: how often, where and how strongly it fires, its words, its neighbours and its place.

Statistics come of a feature's triplets, exact, block by block. All numbers are over every stored token but BOS, of both
splits and both languages (an image's tokens count once in the English and once in the Arabic sequence). "Active" means
that the SAE's activation is above 0. Words are those that a feature pushes up or down when it fires, and those on which
it fires; neighbours and the map follow the cosine of decoder directions.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from core.features.codes import Codes
from core.features.tokens import CAPTION, GROUPS, TokenIndex

CHUNK_ELEMENTS = 1 << 24  # features x vocabulary at once (64 MiB in float32)
BLOCK_ELEMENTS = 1 << 24  # cosines at once (64 MiB in float32)
MAP_NEIGHBOURS = 15  # the point itself included, as umap-learn counts
MAP_EPOCHS = 200
FEWEST_FOR_UMAP = 10


@dataclass(frozen=True)
class FeatureStatistics:
    """One entry a feature; NaN in mean, std, max and p999 where the feature never fires.

    ``n_active`` stored tokens; ``density`` share of all tokens, an image token counting for those that it was drawn
    from (n_active / tokens where all are stored); ``density_by_group`` (n_features, 4) share of the tokens of each of
    GROUPS, NaN where the run has none; ``lang_en``, ``lang_ar`` mean activation over all tokens of that
    language's captions, zeros included; ``mean``, ``std`` (population), ``max``, ``p999`` (99.9th percentile, linear
    between order statistics) over active values; ``histogram`` (n_features, n_bins) counts of active values in equal
    bins from 0 to ``max``.
    """

    n_active: np.ndarray
    density: np.ndarray
    density_by_group: np.ndarray
    lang_en: np.ndarray
    lang_ar: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    max: np.ndarray
    p999: np.ndarray
    histogram: np.ndarray

    @property
    def alive(self) -> np.ndarray:
        """Whether the feature fires at all."""
        return self.n_active > 0


def feature_statistics(codes: Codes, tokens: TokenIndex, n_bins: int) -> FeatureStatistics:
    """Statistics of a block of features."""
    n, feature, value = codes.n_features, codes.feature, codes.value.astype(np.float64)
    n_active = np.bincount(feature, minlength=n)
    group = tokens.group[codes.row].astype(np.int64)
    by_group = np.bincount(feature * len(GROUPS) + group, minlength=n * len(GROUPS)).reshape(n, -1)
    sums = np.bincount(feature * len(GROUPS) + group, value, n * len(GROUPS)).reshape(n, -1)
    sizes, weights = tokens.group_sizes, tokens.group_weights
    with np.errstate(invalid="ignore", divide="ignore"):  # 0/0 is NaN: no such tokens, or never active
        mean = np.bincount(feature, value, n) / n_active
        std = np.sqrt(np.bincount(feature, (value - mean[feature]) ** 2, n) / n_active)
        densities, means = by_group / sizes, sums / sizes
    top, p999 = _order_statistics(feature, codes.value, n_active, 0.999)
    return FeatureStatistics(
        n_active,
        (by_group @ weights) / max(1, sizes @ weights),
        densities,
        means[:, CAPTION],
        means[:, CAPTION + 1],
        mean,
        std,
        top,
        p999,
        histograms(feature, value, top, n_bins),
    )


def histograms(feature: np.ndarray, value: np.ndarray, top: np.ndarray, n_bins: int) -> np.ndarray:
    """Counts in ``n_bins`` equal bins from 0 to each feature's ``top``, the last one closed, as numpy.histogram."""
    bin_ = np.minimum((value * n_bins / top[feature]).astype(np.int64), n_bins - 1)
    return np.bincount(feature * n_bins + bin_, minlength=len(top) * n_bins).reshape(len(top), n_bins).astype(np.int32)


def _order_statistics(
    feature: np.ndarray, value: np.ndarray, n_active: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """The largest value and the quantile ``share`` of each feature (Hyndman and Fan 1996, type 7); NaN where none."""
    # the bits of positive floats sort as the floats do: one integer sort by feature, then value
    key = (feature.astype(np.uint64) << 32) | np.ascontiguousarray(value, np.float32).view(np.uint32).astype(np.uint64)
    key.sort()
    ordered = (key & 0xFFFFFFFF).astype(np.uint32).view(np.float32).astype(np.float64)
    top, quantile = np.full(len(n_active), np.nan), np.full(len(n_active), np.nan)
    alive = n_active > 0
    last = np.cumsum(n_active)[alive] - 1
    top[alive] = ordered[last]
    place = share * (n_active[alive] - 1)
    low = last - (n_active[alive] - 1) + np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, last)
    quantile[alive] = ordered[low] + (ordered[high] - ordered[low]) * (place - np.floor(place))
    return top, quantile


class Unembedding(Protocol):
    """The part of core.vlm's VLM that is used here."""

    tokenizer: Any
    special_ids: frozenset[int]
    image_token_id: int

    def logits(self, resid: Tensor, capped: bool = True) -> Tensor: ...

    def token_strings(self, ids: Sequence[int]) -> list[str]: ...


@dataclass(frozen=True)
class FeatureWords:
    """Token ids and values (n_features, n) of each feature, strongest first."""

    up_ids: np.ndarray
    up: np.ndarray
    down_ids: np.ndarray
    down: np.ndarray


@torch.no_grad()
def feature_logits(
    vlm: Unembedding, directions: Tensor, n: int, rms: float, progress: Callable[[int, int], None] | None = None
) -> FeatureWords:
    """The n tokens whose logits a unit of activation raises and lowers most, read off directly at the feature's layer.

    ``directions`` (n_features, d_model) are decoder rows d. The final norm is held fixed at the scale ``rms`` of the
    layer's residuals on caption tokens, so that it is linear: logits = W_U (gain * d) / rms, what d adds to the logit
    lens (nostalgebraist 2020; frozen norm as in Elhage et al. 2021). It is had from the model's own final norm, which
    leaves the direction of d / rms(d) as it is up to the gain. Layers above are not passed through. The mean over the
    vocabulary is taken off, which changes no probability; special tokens and ids without a token are left out. A soft
    cap is left out. Assumes an RMS norm without bias, as all families of docs/models.md have.
    """
    readable = readable_ids(vlm)
    n = min(n, len(readable))
    chunk = max(1, CHUNK_ELEMENTS // len(vlm.tokenizer))
    parts = []
    for start in range(0, len(directions), chunk):
        d = directions[start : start + chunk].float()
        scale = d.square().mean(1, keepdim=True).sqrt().clamp(min=torch.finfo(torch.float32).tiny)
        logits = vlm.logits(d / scale, capped=False).float()
        logits = (logits - logits.mean(1, keepdim=True)) * (scale / rms).to(logits.device)
        logits = logits[:, torch.from_numpy(readable).to(logits.device)]
        up, down = logits.topk(n, dim=1), logits.topk(n, dim=1, largest=False)
        parts.append([t.cpu().numpy() for t in (up.indices, up.values, down.indices, down.values)])
        if progress:
            progress(min(start + chunk, len(directions)), len(directions))
    if not parts:
        return FeatureWords(*(np.zeros((0, n), t) for t in (np.int64, np.float32, np.int64, np.float32)))
    up_ids, up, down_ids, down = (np.concatenate(c) for c in zip(*parts, strict=True))
    return FeatureWords(readable[up_ids], up, readable[down_ids], down)


def readable_ids(vlm: Unembedding) -> np.ndarray:
    """Ids that stand for text: no special or image token, unused slot, padding of the vocabulary, part of a letter."""
    special = set(vlm.special_ids) | {vlm.image_token_id}
    pieces = {i: vlm.token_strings([i])[0] for i in range(len(vlm.tokenizer)) if i not in special}
    return np.array([i for i, piece in pieces.items() if _is_text(piece)], np.int64)


def _is_text(piece: str) -> bool:
    if not piece or piece.startswith("<unused"):
        return False
    # a byte token alone is a replacement mark or a control character; joiners (Cf) belong to Arabic words
    return not any(c == "\ufffd" or (unicodedata.category(c) == "Cc" and not c.isspace()) for c in piece)


def top_tokens(codes: Codes, tokens: TokenIndex, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The n tokens of prompts and captions on which each feature is strongest on average: (feature, token_id, mean).

    The mean is over all occurrences of the token, those on which the feature is silent included, so that one lucky
    occurrence does not outrank a word on which it always fires. Sorted by feature and falling mean; equal means by
    token id. Only tokens on which the feature fires at least once.
    """
    text = tokens.is_text
    occurrences = np.bincount(tokens.token_id[text], minlength=tokens.n_token_ids)
    hit = text[codes.row]
    key = codes.feature[hit] * tokens.n_token_ids + tokens.token_id[codes.row[hit]]
    pair, inverse = np.unique(key, return_inverse=True)
    feature, token = np.divmod(pair, max(1, tokens.n_token_ids))
    mean = np.bincount(inverse, codes.value[hit].astype(np.float64), len(pair)) / occurrences[token]
    order = np.lexsort((token, -mean, feature))
    feature, token, mean = feature[order], token[order], mean[order]
    start = np.flatnonzero(np.diff(feature, prepend=-1))
    rank = np.arange(len(feature)) - np.repeat(start, np.diff(start, append=len(feature)))
    return feature[rank < n], token[rank < n], mean[rank < n].astype(np.float32)


class Neighbours(NamedTuple):
    """Nearest other features (n, k) as positions among the given rows, and their cosines, nearest first."""

    index: np.ndarray
    cosine: np.ndarray


@torch.no_grad()
def neighbours(directions: Tensor, k: int, progress: Callable[[int, int], None] | None = None) -> Neighbours:
    """The k other rows of ``directions`` (n, d_model) with the largest cosine to each; fewer where n - 1 < k.

    Works in blocks of rows, so that n x n cosines are never held.
    """
    n = len(directions)
    k = max(0, min(k, n - 1))
    unit = torch.nn.functional.normalize(directions.float(), dim=1)
    block = max(1, BLOCK_ELEMENTS // max(1, n))
    index, cosine = [np.zeros((0, k), np.int64)], [np.zeros((0, k), np.float32)]
    for start in range(0, n, block):
        near = unit[start : start + block] @ unit.T
        rows = torch.arange(len(near), device=near.device)
        near[rows, rows + start] = -torch.inf
        top = near.topk(k, dim=1)
        index.append(top.indices.cpu().numpy())
        cosine.append(top.values.clamp(-1, 1).cpu().numpy())
        if progress:
            progress(min(start + block, n), n)
    return Neighbours(np.concatenate(index), np.concatenate(cosine))


def feature_map(directions: Tensor, near: Neighbours, seed: int) -> np.ndarray:
    """Places (n, 2) of decoder directions in the plane, near ones together; NaN where there are fewer than two.

    UMAP (McInnes, Healy and Melville 2018; umap-learn) on cosine distance, from the exact neighbours found already, so
    that its approximate search is not needed; ``near`` should hold at least MAP_NEIGHBOURS - 1 of each row (or all).
    Fixed seed and one thread: the same input gives the same map. With fewer than FEWEST_FOR_UMAP rows it is the two
    first principal components of the unit vectors.
    """
    n = len(directions)
    if n < 2:
        return np.full((n, 2), np.nan, np.float32)
    unit = torch.nn.functional.normalize(directions.float(), dim=1).cpu().numpy()
    if n < FEWEST_FOR_UMAP:
        return _principal(unit)
    import umap  # takes seconds, and its first use compiles for seconds more

    k = min(MAP_NEIGHBOURS - 1, near.index.shape[1], n - 2)
    index = np.concatenate([np.arange(n)[:, None], near.index[:, :k]], axis=1).astype(np.int32)
    distance = np.concatenate([np.zeros((n, 1)), 1 - near.cosine[:, :k]], axis=1).astype(np.float32)
    # the neighbours of n < 4096 rows are taken from us only if it is told to approximate
    reducer = umap.UMAP(
        n_neighbors=k + 1,
        min_dist=0.1,
        metric="cosine",
        n_epochs=MAP_EPOCHS,
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(index, distance, None),
        force_approximation_algorithm=True,
    )
    n_threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="precomputed_knn", category=UserWarning)  # no rows come later
            return np.asarray(reducer.fit_transform(unit), np.float32)
    finally:
        torch.set_num_threads(n_threads)  # numba sets them to all cores, and sums in another order end in other bits


def _principal(unit: np.ndarray) -> np.ndarray:
    centred = unit - unit.mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    left = left[:, :2] * size[:2]
    left *= np.where(left[np.abs(left).argmax(0), np.arange(left.shape[1])] < 0, -1, 1)  # a fixed sign
    return np.pad(left, ((0, 0), (0, 2 - left.shape[1]))).astype(np.float32)
