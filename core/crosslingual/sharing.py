"""Gender features, shared or of one language: effects of a shared dictionary's features in English and in Arabic.

Features are chosen on the training images and measured on held-out ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.stats import mannwhitneyu

from core.crosslingual.clbas import N_SELECTED, GenderedCodes, effects, resampled_effects
from core.crosslingual.pairs import LANGUAGES, PairedCodes
from core.intervals import percentile_interval, q_values

SHARING = ("shared", "opposed", "english", "arabic", "unclear")
RESAMPLE_STREAM = 51
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


def gender_sharing(codes: GenderedCodes, n_bootstrap: int, seed: list[int]) -> Columns:
    """Held-out effects with intervals and Mann-Whitney p in both languages, of the features chosen on training images.

    Effects are differences of means, women - men, in standard deviations of the training images.
    """
    chosen = codes.selected(N_SELECTED)
    x, train_effect = ({lang: part[..., chosen] for lang, part in of.items()} for of in (codes.x, codes.train_effect))
    part = GenderedCodes(x, codes.female, train_effect, codes.features[chosen])
    drawn = resampled_effects(part, n_bootstrap, [*seed, RESAMPLE_STREAM])
    columns: Columns = {"feature": part.features}
    for lang, value in effects(part.x, part.female[None]).items():
        low, high = percentile_interval(drawn[lang])
        columns |= {f"train_effect_{lang}": part.train_effect[lang], f"effect_{lang}": value[0]}
        columns |= {f"low_{lang}": low, f"high_{lang}": high}
        columns |= {f"p_{lang}": _mann_whitney(part.x[lang], part.female)}
    low, high = percentile_interval(drawn["en"] - drawn["ar"])
    columns |= {"difference_low": low, "difference_high": high}
    columns |= {"n_female": np.full(len(chosen), int(part.female.sum()))}
    return columns | {"n_male": np.full(len(chosen), int((~part.female).sum()))}


def class_sharing(columns: Columns, fdr: float) -> Columns:
    """Adds q_en, q_ar (over all rows and both languages) and sharing.

    shared, opposed: an effect in both, of one sign or of two. english, arabic: an effect in one, none in the other,
    and the difference's interval leaves out 0. All else is unclear.
    """
    q = q_values(np.stack([columns["p_en"], columns["p_ar"]]))
    en, ar = q <= fdr
    differ = (columns["difference_low"] > 0) | (columns["difference_high"] < 0)
    same = np.sign(columns["effect_en"]) == np.sign(columns["effect_ar"])
    choices = [en & ar & same, en & ar, en & ~ar & differ, ar & ~en & differ]
    return columns | {"q_en": q[0], "q_ar": q[1], "sharing": np.select(choices, SHARING[:4], "unclear")}


def _mann_whitney(x: NDArray, female: NDArray) -> NDArray:
    """Two-sided p of each column; 1 where a column is constant."""
    varies = np.ptp(x, axis=0) > 0 if len(x) else np.zeros(x.shape[1], bool)
    p = np.ones(x.shape[1])
    if varies.any() and female.any() and (~female).any():
        p[varies] = mannwhitneyu(x[female][:, varies], x[~female][:, varies], axis=0, method="asymptotic").pvalue
    return p
