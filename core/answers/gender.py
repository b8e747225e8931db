"""Sentences about features and gender, written from the tables, with n, interval and what chance alone would give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.answers import Answer, says
from core.config import LANGUAGE_NAME
from core.figures.gender import MORE, SCORES, VIEW_NAMES, n_images, named, of_language
from core.frames import records
from core.gender.effects import N_SHUFFLES
from core.intervals import told

WORD = {"female": "women", "male": "men"}


def n_selected(cell: pd.DataFrame, fdr: float) -> int:
    """Features that the training images alone would call findings."""
    return int((cell["q_train"] <= fdr).sum()) if len(cell) else 0


@says("gender.features")
def gender_answer(cell: pd.DataFrame, fdr: float, layer: int, lang: str, view: str) -> Answer:
    """Which features of a layer tell images of women from those of men; `cell` is of gender_features."""
    where = f"In layer {layer}, {VIEW_NAMES.get(view, view)}{of_language(lang)}"
    n_female, n_male = n_images(cell)
    n_tested = int(cell["p_train"].notna().sum()) if len(cell) else 0
    if not n_tested or cell["auc_test"].isna().all():
        few = f" (n = {n_female} women and {n_male} men held out)" if len(cell) else ""
        return Answer(f"{where}, there are too few images of women or of men to say anything{few}.", "not enough data")
    found, selected = cell[cell["finding"].astype(bool)], n_selected(cell, fdr)
    held_out = f"n = {n_female} women and {n_male} men held out"
    if not selected:
        return Answer(
            f"{where}, none of {n_tested:,} features tells images of women from those of men at a false "
            f"discovery rate of {fdr:.0%} ({held_out}).",
            "unclear",
        )
    women, men = (int((found["direction"] == g).sum()) for g in ("female", "male"))
    by_chance = shuffled_counts(cell[cell["q_train"] <= fdr])
    text = (
        f"{where}, {len(found):,} of {n_tested:,} features tell images of women from those of men ({held_out}): "
        f"{women:,} fire more for women, {men:,} for men. They were selected on other images at a false discovery "
        f"rate of {fdr:.0%}; of the {selected:,} selected, {by_chance.mean():.1f} hold on average with the genders of "
        f"the held-out images shuffled, and {by_chance.max():,} at most in {len(by_chance)} shuffles."
    )
    return Answer(text + _clearest(cell, fdr, lang), "supported" if len(found) > by_chance.max() else "unclear")


def shuffled_counts(selected: pd.DataFrame) -> NDArray[np.int64]:
    """How many of these features hold in each of N_SHUFFLES shuffles of the held-out images' genders."""
    bits = selected["shuffled_holds"].to_numpy(dtype=np.int64)
    return ((bits[:, None] >> np.arange(N_SHUFFLES)) & 1).sum(0)


def clearest(cell: pd.DataFrame, fdr: float) -> pd.DataFrame:
    """The feature (one row) that is clearest on the training images, so that its held-out score did not choose it."""
    selected = cell[cell["q_train"] <= fdr]
    return selected.loc[[(selected["auc_train"] - 0.5).abs().idxmax()]]


def _clearest(cell: pd.DataFrame, fdr: float, lang: str) -> str:
    best = clearest(cell, fdr)
    row, name = records(best)[0], named(best, lang).iloc[0]
    called = f" (“\u2068{name}\u2069”)" if name else ""
    auc = SCORES["auc"].within(row, "auc")
    return (
        f" The clearest on those other images is feature {row['feature']}{called}, {MORE[row['direction']]}: held-out "
        f"AUC {auc}, where 0.5 is chance."
    )


@says("gender.feature")
def feature_gender_answer(rows: pd.DataFrame, view: str) -> Answer:
    """What one feature has to do with the gender of the image in a view, by language; `rows` of gender_features."""
    here = rows[rows["view"] == view]
    known = here.dropna(subset=["auc_test"])
    if known.empty:
        why = next((w for w in here["why"] if w), "not measured here") if len(here) else "not measured here"
        return Answer(f"Nothing can be said about gender {VIEW_NAMES.get(view, view)}: {why}.", "not enough data")
    parts = []
    for row in records(known.sort_values("lang", ascending=False)):
        told = MORE[row["direction"]] if row["finding"] else "no clear difference"
        lang = f"{LANGUAGE_NAME[row['lang']]}: " if row["lang"] in LANGUAGE_NAME else ""
        auc, n = SCORES["auc"].within(row, "auc"), f"{row['n_female_test']} + {row['n_male_test']}"
        parts.append(f"{lang}{told}, held-out AUC {auc}, n = {n}")
    sure = "supported" if known["finding"].any() else "unclear"
    text = "; ".join(parts)
    return Answer(f"{text[0].upper()}{text[1:]}.", sure)


@says("gender.lift")
def lift_answer(lift: Mapping[str, Any] | None) -> Answer:
    """How women and men are shared among the held-out images that fire a feature most (a row of gender_pairs)."""
    if lift is None or lift["lift_female"] is None:
        why = (lift or {}).get("why") or "it never fires on such images"
        return Answer(
            f"Whether women or men lead among its strongest held-out images cannot be said: {why}.", "not enough data"
        )
    side = "female" if lift["lift_female"] >= lift["lift_male"] else "male"
    n_side = lift["n_top_female"] if side == "female" else lift["n_top"] - lift["n_top_female"]
    n_all = lift["n_female"] + lift["n_male"]
    n_base, value, low, high = (lift[name.format(side)] for name in ("n_{}", "lift_{}", "lift_{}_low", "lift_{}_high"))
    text = (
        f"Of the {lift['n_top']} held-out images of a woman or a man that fire it most, {n_side} show "
        f"{WORD[side]}, against {n_base} of all {n_all}: lift {told(value, low, high, 1.0)}, "
        "where 1 is no difference."
    )
    return Answer(text, "supported" if low > 1 else "unclear")


@says("gender.rankings agree")
def agreement_answer(frame: pd.DataFrame) -> Answer:
    """Whether the rankings name the same features; `frame` of `agreement_frame`."""
    pairs = frame[~frame["itself"]] if len(frame) else frame
    if pairs.empty:
        return Answer("The rankings cannot be compared here: there is not enough data.", "not enough data")
    beyond = pairs[pairs["spearman"] > pairs["spearman_shuffled_high"]]
    low, high = pairs["spearman"].min(), pairs["spearman"].max()
    itself = frame.loc[frame["itself"], "spearman"]
    most = f", where one with itself has {itself.min():.2f} to {itself.max():.2f}" if len(itself) else ""
    text = (
        f"{len(beyond)} of {len(pairs)} pairs of rankings agree on different images by more than shuffled image labels "
        f"give; rank correlations run from {low:.2f} to {high:.2f}{most} (n = {pairs['n_features'].max():,} features)."
    )
    return Answer(text, "supported" if len(beyond) == len(pairs) else "unclear")


@says("gender.label")
def label_answer(rows: pd.DataFrame) -> Answer:
    """How well a feature's automatic label predicts its firing, by language; `rows` of labels, of one feature."""
    known = rows.dropna(subset=["auc_test"])
    if known.empty:
        why = next((w for w in rows["why"] if w), "it fires too seldom") if len(rows) else "it was not looked for"
        return Answer(f"No label: {why}.", "not enough data")
    parts = [
        f"{LANGUAGE_NAME[row['lang']]} “\u2068{row['candidate']}\u2069” "
        f"{told(row['auc_test'], row['auc_low_test'], row['auc_high_test'], 0.5)} (n = "
        f"{row['n_fires_test']} captions that fire "
        f"it and {row['n_silent_test']} that do not)"
        for row in records(known)
    ]
    named = (known["label"] != "").any()
    start = "Held-out AUC of its presence" if named else "No word predicts it well enough; the best: held-out AUC of"
    return Answer(
        f"{start}: {'; '.join(parts)}." if named else f"{start} {'; '.join(parts)}.",
        "supported" if named else "unclear",
    )
