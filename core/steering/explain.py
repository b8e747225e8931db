"""What the model itself says a feature is: its caption of an empty image with the feature turned up, and how it fits.

After Ferrando et al. (2026, arXiv 2603.22593). A text fits where images that fire the feature have it said of them by
people: the words of their reference captions match it better than those of images that do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from core.features.labels import words_of
from core.gender.effects import auc_interval, auc_of_weights, sparse_ranks
from core.intervals import q_values
from core.run.schema.steering import EXPLANATIONS

TOO_FEW = "fires on too few images, or on nearly all"
NO_WORDS = "it adds no word that people use of these images"
ALONE = "no other feature's text to compare with"

# what of an explanation is there before it is compared with other texts
TEXTS = pa.schema(EXPLANATIONS.arrow.field(n) for n in ("layer", "feature", "lang", "strength", "text", "finished"))


@dataclass(frozen=True)
class Said:
    """What people said of the images in one language, and which images are there."""

    samples: NDArray[np.int64]  # (n_images,) rising
    words: dict[str, int]  # column of each word
    weights: csr_array  # (n_images, n_words): share of the image's references with the word, times its idf
    is_train: NDArray[np.bool_]  # (n_images,)


def said(references: Iterable[tuple[int, str]], is_train: Mapping[int, bool]) -> Said:
    """The references of one language, (sample_id, text) each; idf = ln(n / n with the word) over training images.

    A word that stands with no training image, or with all of them, weighs nothing.
    """
    by_sample: dict[int, list[set[str]]] = {}
    for sample_id, text in references:
        by_sample.setdefault(int(sample_id), []).append(set(words_of(text)))
    samples = sorted(by_sample)
    train = np.array([is_train[s] for s in samples], bool)
    words = {word: i for i, word in enumerate(sorted({w for texts in by_sample.values() for t in texts for w in t}))}
    cells: dict[tuple[int, int], float] = {}
    for row, sample in enumerate(samples):
        texts = by_sample[sample]
        for text in texts:
            for word in text:
                cells[row, words[word]] = cells.get((row, words[word]), 0.0) + 1 / len(texts)
    rows, columns = np.array(sorted(cells), np.int64).reshape(-1, 2).T
    share = np.array([cells[cell] for cell in sorted(cells)])
    n_with = np.bincount(columns[train[rows]], minlength=len(words))
    idf = np.where(n_with > 0, np.log(max(1, int(train.sum())) / np.maximum(n_with, 1)), 0.0)
    weights = csr_array((share * idf[columns], (rows, columns)), shape=(len(samples), len(words)))
    return Said(np.array(samples, np.int64), words, weights, train)


def matches(there: Said, texts: Sequence[str], empty: str = "") -> NDArray[np.float64]:
    """How well each text fits what was said of each image, (n_images, n_texts): summed weights of the words in it.

    Words of ``empty``, which the model says of the empty image anyway, are no part of what a feature adds.
    """
    rows, columns, anyway = [], [], set(words_of(empty))
    for i, text in enumerate(texts):
        known = {there.words[word] for word in words_of(text) if word in there.words and word not in anyway}
        rows += sorted(known)
        columns += [i] * len(known)
    chosen = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(there.words), len(texts)))
    return (there.weights @ chosen).toarray()


def score(texts: pd.DataFrame, there: Said, fires: NDArray[np.bool_], min_images: int, empty: str = "") -> pd.DataFrame:
    """The rows of ``texts`` (feature, strength, text; one layer and language) with their scores.

    ``fires`` (n_images, n_features) in the order of the images and of ``sorted(features)``. auc: how often an image
    that fires the feature fits the text better than one that does not, ties counting half, with its interval over
    the held-out images. Control: the texts of the other features at the same strength against the same firing; p is
    the share of them that do as well (permutation of texts over features, one-sided, the own text counted). The
    ``chosen`` strength is the best on the training images. NaN with the reason in ``why`` below ``min_images``.
    """
    features = sorted(set(texts["feature"]))
    place = {feature: i for i, feature in enumerate(features)}
    parts = []
    for _, rows in texts.groupby("strength", sort=True):
        own = rows.sort_values("feature", kind="stable").reset_index(drop=True)
        fit = matches(there, own["text"].tolist(), empty)
        at = [place[f] for f in own["feature"]]
        train, test = (_aucs(fit[part], fires[part][:, at], min_images) for part in (there.is_train, ~there.is_train))
        parts.append(own.assign(**_scored(fit[~there.is_train], fires[~there.is_train][:, at], train, test)))
    found = pd.concat(parts, ignore_index=True).sort_values(["feature", "strength"], kind="stable", ignore_index=True)
    best = found.assign(by=found["auc_train"].fillna(-1.0)).groupby("feature")["by"].transform("idxmax")
    return found.assign(chosen=best == found.index)


def _aucs(fit: NDArray, fires: NDArray[np.bool_], min_images: int) -> NDArray[np.float64]:
    """AUC (n_features, n_texts) of every text against every feature's firing; NaN where too few fire, or do not."""
    n_fires = fires.sum(0)
    known = (n_fires >= min_images) & (len(fires) - n_fires >= min_images)
    found = np.full((fires.shape[1], fit.shape[1]), np.nan)
    if known.any():
        found[known] = auc_of_weights(sparse_ranks(csc_array(fit.astype(np.float32))), fires.T[known].astype(float))
    return found


def _scored(fit: NDArray, fires: NDArray[np.bool_], train: NDArray, test: NDArray) -> dict[str, Any]:
    n, columns = (
        len(test),
        {
            name: []
            for name in (
                "auc_test",
                "auc_low_test",
                "auc_high_test",
                "control",
                "control_high",
                "n_controls",
                "p",
                "why",
            )
        },
    )
    sparse = csc_array(fit.astype(np.float32))
    for i in range(n):
        others = np.delete(test[i], i)
        empty = not fit[:, i].any()
        why = TOO_FEW if np.isnan(test[i, i]) else NO_WORDS if empty else ALONE if not len(others) else ""
        values = [np.nan] * 7
        if not why:
            auc = test[i, [i]]
            low, high = auc_interval(csc_array(sparse[:, [i]]), fires[:, i], auc)
            p = (1 + int((others >= auc[0]).sum())) / (1 + len(others))
            values = [auc[0], low[0], high[0], others.mean(), np.quantile(others, 0.95), len(others), p]
        for name, value in zip(columns, [*values, why], strict=True):
            columns[name].append(value)
    columns["n_controls"] = [0 if np.isnan(c) else int(c) for c in columns["n_controls"]]
    counts = {"n_fires_test": fires.sum(0), "n_silent_test": (~fires).sum(0)}
    return {"auc_train": np.where(np.array(columns["why"]) == "", np.diag(train), np.nan), **columns, **counts}


def explanations_table(rows: pd.DataFrame) -> pa.Table:
    """All rows of all layers and languages, with q adjusted over the chosen ones together."""
    chosen = rows["chosen"].to_numpy(bool)
    q = q_values(np.where(chosen, rows["p"].to_numpy(float), np.nan))
    ordered = rows.assign(q=q).sort_values(["layer", "feature", "lang", "strength"], kind="stable")
    return EXPLANATIONS.of_frame(ordered)


def features_to_explain(features: pd.DataFrame, gender: pd.DataFrame, n: int) -> list[int]:
    """Living features of a layer, those that tell most about gender on the training images first; all for n 0.

    ``features`` are the layer's rows of features, ``gender`` those of gender_features before the first gendered word.
    """
    alive = features.loc[features["alive"] & (features["p999"] > 0), "feature"].astype(int)
    tells = (gender["auc_train"].astype(float) - 0.5).abs().groupby(gender["feature"]).max()
    ranked = sorted(alive, key=lambda f: (-float(tells.get(f, 0.0) if pd.notna(tells.get(f, 0.0)) else 0.0), f))
    return sorted(ranked[:n] if n else ranked)
