"""Gender features, shared or of one language: effects of a shared dictionary's features in English and in Arabic.

Features are chosen on the training images and measured on held-out ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.stats import mannwhitneyu

from core.crosslingual.clbas import N_SELECTED, GenderedCodes
from core.crosslingual.pairs import LANGUAGES, PairedCodes
from core.gender.effects import mean_difference
from core.intervals import q_values, skewed_interval, skewed_p, two_groups

FAINT = 1 / 2  # of its effect in one language: with less than that in the other a feature is of the one language
Columns = dict[str, NDArray]


def gendered_codes(
    blocks: Iterable[tuple[int, PairedCodes]], gender: NDArray, train: NDArray, min_images: int
) -> GenderedCodes:
    """Held-out codes of the features that fire on ``min_images`` training captions or more, in either language.

    ``blocks`` are (first feature, codes of all images); ``gender`` (n_images,) says who is shown, others than women and
    men are left out. A language in which a feature is that rare on the training images counts as silent: effect 0.
    """
    known = np.isin(gender, ("female", "male"))
    female = gender == "female"
    sides = [np.flatnonzero(known & side) for side in (train, ~train)]
    columns: dict[str, list[NDArray]] = {f"{kind}.{lang}": [] for kind in ("x", "train") for lang in LANGUAGES}
    features = []
    for first, codes in blocks:
        scaled = {lang: _scaled(getattr(codes, lang), sides, female, min_images) for lang in LANGUAGES}
        live = np.flatnonzero(np.any([part[2] for part in scaled.values()], axis=0))
        features.append(first + live)
        for lang, (held_out, effect, _) in scaled.items():
            columns[f"x.{lang}"].append(held_out[:, live])
            columns[f"train.{lang}"].append(effect[live])
    x, train_effect = (
        {lang: np.concatenate(columns[f"{kind}.{lang}"], axis=-1) for lang in LANGUAGES} for kind in ("x", "train")
    )
    return GenderedCodes(x, female[sides[1]], train_effect, np.concatenate(features))


def _scaled(
    codes: csc_array, sides: list[NDArray], female: NDArray, min_images: int
) -> tuple[NDArray, NDArray, NDArray]:
    """Held-out codes by the training standard deviation (dense), training effects, and whether there is enough."""
    rows = codes.tocsr()
    train = csc_array(rows[sides[0]])
    n, counts = len(sides[0]), np.diff(train.indptr)
    mean = np.asarray(train.sum(axis=0), np.float64).ravel() / n
    variance = np.asarray(train.multiply(train).sum(axis=0), np.float64).ravel() / n - mean**2
    enough = (counts >= min_images) & (variance > 1e-12)
    scale = np.where(enough, 1 / np.sqrt(np.where(enough, variance, 1)), 0).astype(np.float32)
    side = female[sides[0]]
    weights = side / max(side.sum(), 1) - ~side / max((~side).sum(), 1)
    held_out = rows[sides[1]].toarray().astype(np.float32) * scale
    return held_out, np.asarray(weights @ train, np.float32).ravel() * scale, enough


def gender_sharing(codes: GenderedCodes) -> Columns:
    """Held-out effects with intervals and p in both languages, of the features chosen on training images.

    Effects are differences of means, women - men, in standard deviations of the training images. p_both: of no
    effect in one of the languages at least, the larger of Mann-Whitney's. p_own: of gender in neither or in both, that
    is of no effect in the one, or of FAINT of it or more in the other (``_in_one``).
    """
    chosen = codes.selected(N_SELECTED)
    x = {lang: codes.x[lang][:, chosen].astype(float) for lang in LANGUAGES}
    female, columns = codes.female, {"feature": codes.features[chosen]}
    for lang in LANGUAGES:
        value, low, high = mean_difference(csc_array(x[lang]), female)
        silent = ~x[lang].any(0)  # on none of the images: there is no effect, and nothing to be unsure of
        columns |= {f"train_effect_{lang}": codes.train_effect[lang][chosen], f"effect_{lang}": value}
        columns |= {f"low_{lang}": np.where(silent, 0.0, low), f"high_{lang}": np.where(silent, 0.0, high)}
        columns |= {f"p_{lang}": _mann_whitney(x[lang], female)}
    value, error, skew, freedom = two_groups(x["en"] - x["ar"], female)
    low, high = skewed_interval(value, error, skew, freedom)
    columns |= {"difference_low": np.where(error > 0, low, value), "difference_high": np.where(error > 0, high, value)}
    columns |= {"p_both": np.maximum(columns["p_en"], columns["p_ar"])}
    alone = {
        lang: _in_one(x[lang], x[other], columns[f"p_{lang}"], female) for lang, other in (LANGUAGES, LANGUAGES[::-1])
    }
    columns |= {"p_own": np.minimum(1.0, 2 * np.minimum(*alone.values()))}
    columns |= {"own": np.where(alone["en"] <= alone["ar"], "english", "arabic")}
    columns |= {"n_female": np.full(len(chosen), int(female.sum()))}
    return columns | {"n_male": np.full(len(chosen), int((~female).sum()))}


def _in_one(one: NDArray, other: NDArray, p: NDArray, female: NDArray) -> NDArray:
    """p of a feature's not being of the language of ``one`` (n_images, n_features), by column.

    The largest of: that of no effect there (``p``), of no difference between the languages, and of an effect in the
    other of FAINT times that or more, on its side or on the other. Both languages see the same images, so that each is
    a test of one number an image. An intersection of hypotheses at the level each (Berger 1982): none is for free.
    """
    side = np.sign(one[female].mean(0) - one[~female].mean(0))
    beyond = (one - other, FAINT * one - other, FAINT * one + other)
    return np.maximum.reduce([p, *(skewed_p(*two_groups(side * rows, female)) for rows in beyond)])


def class_sharing(columns: Columns, fdr: float) -> Columns:
    """Adds q_both and q_own (each over all rows) and sharing.

    shared, opposed: an effect in both languages, of one sign or of two. english, arabic: an effect in one, and in the
    other less than FAINT of it. All between is unclear: that an effect is not significant in a language says nothing.
    """
    q_both, q_own = (q_values(columns[name]) for name in ("p_both", "p_own"))
    same = np.sign(columns["effect_en"]) == np.sign(columns["effect_ar"])
    own = [(q_own <= fdr) & (columns["own"] == name) for name in ("english", "arabic")]
    sharing = np.select(
        [*own, (q_both <= fdr) & same, q_both <= fdr], ["english", "arabic", "shared", "opposed"], "unclear"
    )
    return columns | {"q_both": q_both, "q_own": q_own, "sharing": sharing}


def _mann_whitney(x: NDArray, female: NDArray) -> NDArray:
    """Two-sided p of each column; 1 where a column is constant."""
    varies = np.ptp(x, axis=0) > 0 if len(x) else np.zeros(x.shape[1], bool)
    p = np.ones(x.shape[1])
    if varies.any() and female.any() and (~female).any():
        p[varies] = mannwhitneyu(x[female][:, varies], x[~female][:, varies], axis=0, method="asymptotic").pvalue
    return p
