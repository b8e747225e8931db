"""Two groups of images: which features are higher on the ones than on the others, beside groups dealt out anew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from core.words.arabic import take_apart
from core.words.lexicon import plain, split_words

N_DEALS = 199
BLOCK = 8192  # features that are dealt out at once
MIN_IMAGES = 5  # of a group


class Contrast(NamedTuple):
    """``features``: feature, difference (of means, in units of spread + s0), mean_for, mean_against, share_for,
    share_against (of images on which it fires), p (adjusted over all features), the largest difference first, above 0.
    ``chance``: the largest difference of any feature in each deal, rising."""

    features: pd.DataFrame
    chance: NDArray[np.float64]


def group_contrast(
    codes: csr_array, first: NDArray[np.bool_], spread: NDArray[np.float64], n_deals: int = N_DEALS, seed: int = 0
) -> Contrast:
    """Features that are higher on the images where ``first`` than on the others.

    ``codes`` (n_images, d_sae): mean activation of each feature on each image; ``spread`` (d_sae): its standard
    deviation over the run's images. p: share of the deals, the observed one among them, in which any feature reaches
    that difference (max-T, Westfall and Young 1993); deals keep the sizes of the groups. ValueError for a group
    without images.
    """
    n, n_first = len(first), int(first.sum())
    if not 0 < n_first < n:
        raise ValueError(f"{n_first} of {n} images are in the first group")
    positive = spread[spread > 0]
    scale = spread + (float(np.median(positive)) if len(positive) else 1.0)
    rng = np.random.default_rng(seed)
    deals = np.stack([rng.permutation(first) for _ in range(n_deals)], 1)
    weights = np.where(deals, 1 / n_first, -1 / (n - n_first)).astype(np.float32)
    feature = np.unique(codes.indices)  # a feature that fires on none of them differs by 0 in every deal
    by_feature, chance = codes[:, feature].T.tocsr(), np.zeros(n_deals)
    for start in range(0, len(feature), BLOCK):
        block = by_feature[start : start + BLOCK] @ weights
        chance = np.maximum(chance, (block / scale[feature[start : start + BLOCK], None]).max(0))
    chance.sort()
    sides = np.stack([first / n_first, ~first / (n - n_first)], 1)
    means, shares = by_feature @ sides, (by_feature > 0).astype(np.float64) @ sides
    table = pd.DataFrame(
        {
            "feature": feature,
            "difference": (means[:, 0] - means[:, 1]) / scale[feature],
            "mean_for": means[:, 0],
            "mean_against": means[:, 1],
            "share_for": shares[:, 0],
            "share_against": shares[:, 1],
        }
    )
    table["p"] = (1 + n_deals - np.searchsorted(chance, table["difference"])) / (1 + n_deals)
    table = table[table["difference"] > 0]
    order = ["difference", "feature"]
    return Contrast(table.sort_values(order, ascending=[False, True], ignore_index=True), chance)


def says_word(texts: Iterable[str], word: str) -> bool:
    """Whether one of the texts has the word as a whole one; in Arabic also with article, prefixes or a pronoun."""
    form = tuple(w.plain for w in split_words(word))
    if len(form) != 1:
        return bool(form) and any(_has(tuple(w.plain for w in split_words(text)), form) for text in texts)
    return any(part.stem == form[0] for text in texts for w in split_words(text) for part in take_apart(plain(w.text)))


def _has(words: tuple[str, ...], form: tuple[str, ...]) -> bool:
    return any(words[i : i + len(form)] == form for i in range(len(words) - len(form) + 1))
