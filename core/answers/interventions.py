"""Sentences about interventions, written from the tables, with n, intervals, controls and how sure they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from core.answers import Answer, says
from core.config import LANGUAGE_NAME
from core.figures.interventions import MODE_NAMES, transfer_frame
from core.frames import records, tuples
from core.intervals import hochberg, paired_shares

ALPHA = 0.05  # of the adjusted p
SPECIFIC, FEW = "specific effect", "not enough data"
UNTRAINED, BOTH = "trained less random dictionaries", "both layers less "


def headline(table: pd.DataFrame) -> pd.DataFrame:
    """The question fixed on the development images, first mode, in both languages."""
    head = table[table["note"] == "headline"]
    return head[head["design"] == head["design"].min()] if len(head) else head


@says("interventions.specific")
def main_answer(effects: pd.DataFrame, verdicts: pd.DataFrame) -> Answer:
    """What the headline design did, by language, beside its matched controls."""
    said, heads = [], headline(verdicts)
    clean = effects[effects["outcome"] == "clean"]
    rows = headline(clean)
    if heads.empty or rows.empty:
        return Answer("There is too little data to change features on.", FEW)
    for row in tuples(rows):
        verdict = heads.loc[heads["lang"] == row.lang, "verdict"].iloc[0]
        said.append(
            f"{LANGUAGE_NAME[row.lang]} {_percent(row.target)} {_interval(row.effect_low, row.effect_high)} "
            f"against {_percent(row.control)} under matched controls ({verdict})"
        )
    one = rows.iloc[0]
    what = f"{one['k']} gender features of layer {one['layer']}, {MODE_NAMES[one['mode']]}"
    text = (
        f"{what}: captions that change the gender and keep the rest: {'; '.join(said)}. "
        f"n = {_range(rows['n_images'])} images, {one['n_controls']} control sets."
    )
    known = set(heads["verdict"])
    sure = "supported" if known == {SPECIFIC} else FEW if known == {FEW} else "unclear"
    return Answer(text, sure)


@says("interventions.trained")
def untrained_answer(effects: pd.DataFrame, verdicts: pd.DataFrame, comparisons: pd.DataFrame) -> Answer:
    """What the same question gives where the features are those of random dictionaries, and the SAE's less theirs."""
    mine = comparisons[(comparisons["comparison"] == UNTRAINED) & (comparisons["outcome"] == "clean")]
    clean = effects[(effects["outcome"] == "clean") & (effects["note"] == "random dictionary")]
    if mine.empty or clean.empty:
        return Answer("No random dictionary was asked the same question.", FEW)
    verdict = verdicts[verdicts["note"] == "random dictionary"].set_index("lang")["verdict"]
    said = [
        f"{LANGUAGE_NAME[r.lang]} {_percent(r.target)} {_interval(r.effect_low, r.effect_high)} against "
        f"{_percent(r.control)} ({verdict[r.lang]})"
        for r in tuples(clean)
    ]
    apart = [
        f"{LANGUAGE_NAME[r.lang]} {100 * r.difference:+.0f} points {_interval(r.difference_low, r.difference_high)}"
        for r in tuples(mine)
    ]
    first = mine.iloc[0]
    tail = " The verdict alone is no evidence for the SAE; how far it goes beyond is." * bool(
        (verdict == SPECIFIC).any()
    )
    text = (
        f"The same question with features of a random dictionary, chosen by the same ranking: {'; '.join(said)}.{tail} "
        f"On the same images the SAE's features less those of {first['n_others']} random dictionaries: "
        f"{', '.join(apart)} (n = {_range(mine['n_images'])} images)."
    )
    if mine["why"].any():
        return Answer(text, FEW)
    return Answer(text, "supported" if (mine["difference_low"] > 0).all() else "unclear")


def least_layer_line(effects: pd.DataFrame, verdicts: pd.DataFrame) -> str:
    """What the features of the layer that separates women from men least do, as a finding of its own; "" where none."""
    judged = verdicts[verdicts["note"] == "least separating layer"]
    rows = effects[(effects["outcome"] == "clean") & (effects["note"] == "least separating layer")]
    if judged.empty or rows.empty:
        return ""
    said = []
    for row in tuples(rows):
        verdict = judged.loc[judged["lang"] == row.lang, "verdict"].iloc[0]
        beside = f"{_percent(row.target)} {_interval(row.effect_low, row.effect_high)} against {_percent(row.control)}"
        said.append(f"{LANGUAGE_NAME[row.lang]} {beside} ({verdict})")
    one = rows.iloc[0]
    return (
        f"Layer {one['layer']} separates women from men least on training images. Its features, changed likewise: "
        f"{'; '.join(said)}; n = {_range(rows['n_images'])} images, {one['n_controls']} control sets. It is a layer "
        "like the others and no control: an effect there is a finding."
    )


def ratios_line(frame: pd.DataFrame) -> str:
    """Why ratios to controls fall; ``frame`` as of core.figures.interventions.ratios_frame, outcome "changed"."""
    said = []
    for lang, rows in frame.groupby("lang", sort=False):
        by = {(r.hook, r.drawn): r for r in tuples(rows)}
        cells = [by.get((hook, drawn)) for hook in ("error kept", "error lost") for drawn in ("matched", "uniform")]
        if any(cell is None for cell in cells):
            continue
        told = [f"{_percent(r.target)} against {_percent(r.control)} ({_times(r)})" for r in cells if r is not None]
        said.append(
            f"{LANGUAGE_NAME[str(lang)]}, with the SAE’s error kept: {told[0]} for matched controls, {told[1]} for "
            f"uniform ones; with it lost, as published: {told[2]} and {told[3]}"
        )
    if not said:
        return ""
    n, sets = _range(frame["n_images"]), _range(frame["n_controls"])
    return (
        f"Captions whose gender changes under target and controls, and the ratio. {'. '.join(said)}. A reconstruction "
        "that loses the error changes captions by itself, in target and controls alike, and draws the ratio toward 1; "
        "matched controls fire as often and write as strongly, so that what is left is not how much is changed. "
        f"n = {n} images, {sets} control sets."
    )


def _times(row: Any) -> str:
    if not np.isfinite(row.ratio):
        return "no ratio, the controls’ effect may be 0"
    return f"{row.ratio:.1f} times [{row.ratio_low:.1f}, {row.ratio_high:.1f}]"


@says("interventions.two layers")
def pair_answer(comparisons: pd.DataFrame) -> Answer:
    """What two layers changed together do beside each alone, either and the sum; rows of intervention_comparisons."""
    mine = comparisons[(comparisons["outcome"] == "clean") & comparisons["comparison"].str.startswith(BOTH)]
    if mine.empty:
        return Answer("No two layers were changed together.", FEW)
    said = []
    for lang, rows in mine.groupby("lang", sort=False):
        by = {str(r.comparison).removeprefix(BOTH): r for r in tuples(rows)}
        apart = [
            f"{100 * by[name].difference:+.0f} points "
            f"{_interval(by[name].difference_low, by[name].difference_high)} {words}".replace("  ", " ")
            for name, words in (
                ("either", "over what one of them alone changes"),
                ("the sum", "beside the sum of both"),
            )
        ]
        alone = [f"the {name} alone {_percent(by[f'the {name}'].other)}" for name in ("lower", "upper")]
        said.append(f"{LANGUAGE_NAME[str(lang)]} {_percent(by['either'].first)}, {', '.join([*alone, *apart])}")
    text = f"Two layers changed together, clean changes: {'; '.join(said)} (n = {_range(mine['n_images'])} images)."
    either = mine[mine["comparison"] == f"{BOTH}either"]
    if either["why"].any():
        return Answer(text, FEW)
    return Answer(text, "supported" if (either["difference_low"] > 0).all() else "unclear")


@says("interventions.ways apart", "interventions.ways")
def ways_answer(effects: pd.DataFrame, pairs: pd.DataFrame) -> Answer:
    """Features beside difference of means, prompt and matched random features.

    ``pairs``: the arms of ``ways_compared`` on the same images, by language: n, both, only_first, only_second.
    """
    clean = effects[effects["outcome"] == "clean"]
    first = headline(clean)
    if first.empty:
        return Answer("Nothing to compare.", FEW)
    mode = first.iloc[0]["mode"]
    found = []
    ways = [
        ("features", first),
        ("the difference of means", _direction(clean, "difference of means", mode)),
        ("a prompt for neutral words", clean[clean["method"] == "neutral prompt"]),
    ]
    for name, rows in ways:
        values = [
            f"{LANGUAGE_NAME[r.lang]} {_percent(r.target)} {_interval(r.effect_low, r.effect_high)}"
            for r in tuples(rows)
        ]
        if values:
            found.append(f"{name}: {', '.join(values)}")
    random = ", ".join(f"{LANGUAGE_NAME[r.lang]} {_percent(r.control)}" for r in tuples(first))
    tail, apart = _paired(pairs)
    claims = () if apart is None else ("interventions.ways apart" if apart else "interventions.ways",)
    return Answer(
        f"Clean changes by {'; '.join(found)}; matched random features: {random}.{tail}",
        FEW if first["why"].any() else "supported",
        claims,
    )


def ways_compared(effects: pd.DataFrame) -> tuple[int, int] | None:
    """The arms that ``ways_answer`` compares image by image: the headline's features and the difference of means."""
    clean = effects[effects["outcome"] == "clean"]
    first = headline(clean)
    means = _direction(clean, "difference of means", first.iloc[0]["mode"]) if len(first) else first
    return (int(first.iloc[0]["arm"]), int(means.iloc[0]["arm"])) if len(means) else None


def _paired(pairs: pd.DataFrame) -> tuple[str, bool | None]:
    """Features less difference of means on the same images, and whether they differ in a language; None of none."""
    if pairs.empty:
        return "", None
    said, p = [], []
    for row in tuples(pairs):
        value, low, high, one = paired_shares(row.only_first, row.only_second, row.both, row.n)
        said.append(f"{LANGUAGE_NAME[row.lang]} {100 * value:+.0f} points {_interval(low, high)}")
        p.append(one)
    apart = bool((hochberg(p) <= 0.05).any())
    tail = "" if apart else ": no difference can be shown"
    return f" On the same images, features less the difference of means: {', '.join(said)}{tail}.", apart


@says("interventions.transfer")
def transfer_answer(effects: pd.DataFrame) -> Answer:
    """How much of the effect the other language's features have."""
    frame = transfer_frame(effects, "clean")
    crossed, own = frame[frame["sets"] == "cross"], records(frame[frame["sets"] == "own"])
    if crossed.empty or crossed["specific_low"].isna().any():
        return Answer("There is not enough data to say whether the features of one language change the other.", FEW)
    said, sure = [], "supported"
    for row in tuples(crossed):
        other = next(r for r in own if r["lang"] == row.lang)
        share = row.specific / other["specific"] if other["specific_low"] > 0 else float("nan")
        part = f", {_percent(share)} of what its own features do" if np.isfinite(share) else ""
        said.append(
            f"{LANGUAGE_NAME[row.ranked_on]} features change {_percent(row.specific)} "
            f"{_interval(row.specific_low, row.specific_high)} of {LANGUAGE_NAME[row.lang]} captions beyond "
            f"their controls{part}"
        )
        # the interval takes the target for known: whether it is one more control is what p says
        sure = sure if row.specific_low > 0 and row.p_adjusted <= ALPHA else "unclear"
    return Answer(f"{'; '.join(said)}.", sure)


def _direction(clean: pd.DataFrame, method: str, mode: str) -> pd.DataFrame:
    return clean[(clean["method"] == method) & (clean["mode"] == mode)]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if np.isfinite(share) else "not known"


def _interval(low: float, high: float) -> str:
    return f"[{100 * low:.0f}, {100 * high:.0f}]" if np.isfinite([low, high]).all() else ""


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
