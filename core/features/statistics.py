"""Statistics of each feature from its triplets: how often, where, how strongly; exact, block by block.

All numbers are over every stored token but BOS, of both splits and both languages (an image's tokens count once in the
English and once in the Arabic sequence). "Active" means that the SAE's activation is above 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.features.codes import Codes
from core.features.tokens import CAPTION, GROUPS, TokenIndex


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
