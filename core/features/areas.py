"""Where on the picture a feature's activation lies: its share on person, object and background, beside the share of the
area that these take up, and beside what the same maps have on other images' areas.

Of image i let v_i (n_patches) be the activation summed over its sequences, a_i the share of each patch that is of the
kind, M_i the sum of v_i. Then

- share = sum v_i . a_i / sum M_i;
- area = sum M_i mean(a_i) / sum M_i, the mean over the patches that the run stores: what the share would be if each
  image's activation were spread evenly over its own picture, however much of it there is;
- ratio = share / area, linearised over images (``core.intervals.influence_interval``);
- null share = sum v_i . (mean of a_j over all j other than i) / sum M_i: the mean over all ways to give an image's map
  another image's areas, without drawing any. A feature that fires in the middle has it high, for there people stand;
- difference = share - null share = n / (n - 1) sum (v_i - mean v) . (a_i - mean a) / sum M_i, a covariance over images,
  from whose terms its interval is made: all images count there, also those on which the feature is silent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.features.codes import Codes
from core.features.tokens import IMAGE, TokenIndex
from core.intervals import influence_interval
from core.run.schema.features import FEATURE_AREAS
from core.samples.areas import BACKGROUND, KINDS, by_kind

MIN_IMAGES = 20  # on whose patches a feature fires, below which nothing is said of where
ROUNDING = 1e-9  # of a patch, below which nothing of the kind is on it
CELLS = 1 << 20  # images x features that are held dense at once
Values = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class KindAreas:
    """The images on which it is known where a kind is, and has stored patches.

    ``share`` (n_images, n_patches): of each patch that is of the kind. ``area`` (n_images,): its mean over the stored
    patches of the image, each counted once a sequence that stores it. ``place`` (n_samples,): row of an image, -1
    where nothing is known of it.
    """

    kind: str
    share: NDArray[np.float64]
    area: NDArray[np.float64]
    place: NDArray[np.int64]


def kind_areas(rows: Iterable[Mapping[str, Any]], tokens: TokenIndex) -> list[KindAreas]:
    """From the rows of the table ``areas``; [] where there are none, or the model has no square map of patches."""
    side = math.isqrt(max(tokens.n_patches, 0))
    boxes: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        boxes.setdefault(int(row["sample_id"]), []).append(row)
    if not boxes or side == 0 or side * side != tokens.n_patches:
        return []
    at = np.flatnonzero((tokens.group == IMAGE) & (tokens.slot >= 0))
    stored = np.zeros((tokens.n_samples, tokens.n_patches))
    np.add.at(stored, (tokens.sample_id[at], tokens.slot[at]), 1)
    known = {i: by_kind(mine, (side, side)) for i, mine in boxes.items() if i < tokens.n_samples and stored[i].any()}
    found = []
    for kind in (*KINDS, BACKGROUND):
        ids = sorted(i for i, shares in known.items() if kind in shares)
        if not ids:
            continue
        share, place = np.stack([known[i][kind] for i in ids]), np.full(tokens.n_samples, -1)
        share[share < ROUNDING] = 0.0
        place[ids] = np.arange(len(ids))
        found.append(KindAreas(kind, share, (share * stored[ids]).sum(1) / stored[ids].sum(1), place))
    return found


def area_shares(codes: Codes, tokens: TokenIndex, areas: KindAreas) -> Values:
    """Of a block of features, (n_features,) each: the columns n .. difference_high of FEATURE_AREAS.

    NaN where a feature fires on patches of fewer than MIN_IMAGES images.
    """
    image, slot = areas.place[tokens.sample_id[codes.row]], tokens.slot[codes.row]
    at = np.flatnonzero((tokens.group[codes.row] == IMAGE) & (slot >= 0) & (image >= 0))
    feature, image, slot = codes.feature[at], image[at], slot[at]
    value = codes.value[at].astype(np.float64)
    width = max(1, CELLS // len(areas.share))
    parts = []
    for first in range(0, codes.n_features, width):
        last = min(first + width, codes.n_features)
        low, high = np.searchsorted(feature, [first, last])
        these = slice(int(low), int(high))
        parts.append(_shares(feature[these] - first, image[these], slot[these], value[these], last - first, areas))
    return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else {})}


def _shares(
    feature: NDArray[Any], image: NDArray[Any], slot: NDArray[Any], value: NDArray[Any], n: int, areas: KindAreas
) -> Values:
    """The same of n features that fit into memory, images x features."""
    n_images, n_patches = areas.share.shape
    mean = areas.share.mean(0)

    def summed(weights: NDArray[Any]) -> NDArray[Any]:
        return np.bincount(image * n + feature, weights, n_images * n).reshape(n_images, n)

    mass, on = summed(value), summed(value * areas.share[image, slot])
    n_fires, total = (mass > 0).sum(0), mass.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        even = mass * areas.area[:, None]
        share, area = on.sum(0) / total, even.sum(0) / total
        ratio = share / area
        low, high = influence_interval(ratio, (on - ratio * even) / (area * total), n_images, (on > 0).sum(0))
        usual = np.bincount(slot * n + feature, value, n_patches * n).reshape(n_patches, n) / n_images
        together = on - summed(value * mean[slot]) - areas.share @ usual + mean @ usual
        together *= n_images / (n_images - 1) if n_images > 1 else np.nan
        difference = together.sum(0) / total
        ends = influence_interval(difference, (together - difference * mass) / total, n_images, n_fires)
    found = {
        "share": share,
        "area": area,
        "ratio": ratio,
        "low": np.maximum(low, 0.0),
        "high": high,
        "null_share": share - difference,
        "difference": difference,
        "difference_low": ends[0],
        "difference_high": ends[1],
    }
    enough = n_fires >= MIN_IMAGES
    return {
        "n": np.full(n, n_images),
        "n_fires": n_fires,
        **{name: np.where(enough & np.isfinite(x), x, np.nan) for name, x in found.items()},
    }


def areas_table(codes: Codes, tokens: TokenIndex, known: Sequence[KindAreas], layer: int, sae_id: str) -> pa.Table:
    """Rows of FEATURE_AREAS of a block of features, by feature and kind; none where no area is known."""
    if not known or not codes.n_features:
        return FEATURE_AREAS.arrow.empty_table()
    by = [area_shares(codes, tokens, areas) for areas in known]
    columns: dict[str, Any] = {name: np.stack([one[name] for one in by], 1).ravel() for name in by[0]}
    features = np.repeat(np.arange(codes.first, codes.first + codes.n_features), len(known))
    few = columns["n_fires"] < MIN_IMAGES
    why = [f"it fires on patches of {n} images, fewer than {MIN_IMAGES}" if no else "" for n, no in
           zip(columns["n_fires"].tolist(), few.tolist(), strict=True)]  # fmt: skip
    columns |= {
        "layer": np.full(len(features), layer),
        "feature": features,
        "sae_id": [sae_id] * len(features),
        "kind": [areas.kind for areas in known] * codes.n_features,
        "why": why,
    }
    arrays = [pa.array(columns[c.name], c.arrow.type, from_pandas=True) for c in FEATURE_AREAS.columns]
    return pa.Table.from_arrays(arrays, schema=FEATURE_AREAS.arrow)
