"""Two groups of images: which features are higher on the ones than on the others, beside groups dealt out anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from core.config import LANGUAGES
from core.features.firing import sae_of
from core.features.pooled import Pooled
from core.features.token_codes import NO_CODES, TokenCodes, other_sae
from core.intervals import difference, wilson
from core.run import Run
from core.words.arabic import take_apart
from core.words.lexicon import plain, split_words

N_DEALS = 199
BLOCK = 8_192  # features whose differences in all deals are held at once
ROUNDING = 1e-9
MIN_IMAGES = 5  # of a group


class Contrast(NamedTuple):
    """``features``: feature, difference (of means, in units of spread + s0), mean_for, mean_against, share_for,
    share_against (of images on which it fires), share_difference with its 95 % interval over images (share_low,
    share_high: Newcombe's of Wilson's ends, of the one feature), p (adjusted over all features), the largest difference
    first, above 0. ``chance``: the largest difference of any feature in each deal, rising."""

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
    s0 = float(np.median(positive)) if len(positive) else 1.0
    codes = codes.T.tocsr()
    some = np.flatnonzero(np.diff(codes.indptr))  # all others differ by 0 in every deal
    codes = codes[some]
    rng = np.random.default_rng(seed)
    deals = np.stack([first, *(rng.permutation(first) for _ in range(n_deals))], 1)
    weights = np.where(deals, 1 / n_first, -1 / (n - n_first))
    seen, chance = np.zeros(len(some)), np.zeros(n_deals)
    for start in range(0, len(some), BLOCK):
        block = slice(start, start + BLOCK)
        found = (codes[block] @ weights) / (spread[some[block]] + s0)[:, None]
        seen[block], chance = found[:, 0], np.maximum(chance, found[:, 1:].max(0))
    chance = np.sort(chance)
    fires = (codes > 0).astype(np.float64)
    sides = first.astype(float), (~first).astype(float)
    hits = [fires @ side for side in sides]
    shares = [(hit / side.sum(), *wilson(hit, side.sum())) for hit, side in zip(hits, sides, strict=True)]
    value, low, high = difference(*shares[0], *shares[1])
    table = pd.DataFrame(
        {
            "feature": some.astype(np.int64),
            "difference": seen,
            "mean_for": codes @ sides[0] / n_first,
            "mean_against": codes @ sides[1] / (n - n_first),
            "share_for": shares[0][0],
            "share_against": shares[1][0],
            "share_difference": value,
            "share_low": low,
            "share_high": high,
        }
    )
    table["p"] = (1 + n_deals - np.searchsorted(chance, table["difference"] - ROUNDING)) / (1 + n_deals)
    table = table[table["difference"] > 0]
    order = ["difference", "feature"]
    return Contrast(table.sort_values(order, ascending=[False, True], ignore_index=True), chance)


def view_means(run: Run, layer: int, sample_ids: Sequence[int], view: str) -> csr_array:
    """Mean activation of each feature over a view of each sample (n_samples, d_sae): image, caption_en or caption_ar.

    From the run's codes of these samples alone, else from what the stage pool made of all; pictures are read in the
    run's first language. A sample without such tokens has an empty row. UserError where the run has neither.
    """
    named, kind = sae_of(run, layer), view.split("_")[0]
    lang = run.languages[0] if view == "image" else view.removeprefix("caption_")
    kept = TokenCodes.of(run, layer, named)
    if kept is None:
        pooled = Pooled(run.dir, layer)
        if pooled.sae_id != named:
            raise other_sae(layer, named, pooled.sae_id)
        rows = len(LANGUAGES) * np.asarray(sample_ids, np.int64) + LANGUAGES.index(lang)
        return csr_array(pooled.codes(kind).tocsr()[rows])
    ids = [int(i) for i in sample_ids]
    table = run.table("tokens", ["row", "sample_id"], sample_id=ids, lang=lang, kind=kind)
    row, sample = table["row"].to_numpy(), table["sample_id"].to_numpy()
    order = np.lexsort((row, sample))
    row, sample = row[order], sample[order]
    starts = np.searchsorted(sample, ids), np.searchsorted(sample, ids, side="right")
    d_sae = run.table("saes", ["d_sae"], layer=layer)["d_sae"][0].as_py()
    parts = []
    for low, high in zip(*starts, strict=True):
        rows = row[low:high]
        codes = kept.read(int(rows[0]), int(rows[-1]) + 1) if len(rows) else NO_CODES
        gaps = len(rows) > 0 and rows[-1] - rows[0] >= len(rows)  # rows between them that are of another kind
        own = np.isin(codes.row + rows[0], rows) if gaps else slice(None)
        fires, place = np.unique(codes.feature[own], return_inverse=True)
        parts.append((fires, np.bincount(place, codes.value[own], len(fires)) / max(1, len(rows))))
    features, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    indptr = np.cumsum([0, *(len(fires) for fires, _ in parts)])
    return csr_array((values, features, indptr), shape=(len(ids), d_sae))


def says_word(texts: Iterable[str], word: str) -> bool:
    """Whether one of the texts has the word as a whole one; in Arabic also with article, prefixes or a pronoun."""
    form = tuple(w.plain for w in split_words(word))
    if len(form) != 1:
        return bool(form) and any(_has(tuple(w.plain for w in split_words(text)), form) for text in texts)
    return any(part.stem == form[0] for text in texts for w in split_words(text) for part in take_apart(plain(w.text)))


def _has(words: tuple[str, ...], form: tuple[str, ...]) -> bool:
    return any(words[i : i + len(form)] == form for i in range(len(words) - len(form) + 1))
