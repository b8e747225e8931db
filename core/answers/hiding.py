"""Sentences about what hiding a part of a picture does to its captions, written from the tables."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from core.answers import Answer, says
from core.config import LANGUAGE_NAME
from core.frames import records
from core.intervals import told

FEW = "not enough data"
FILLINGS = {"mean": "by the mean of each place", "zero": "by zero", "pixels": "in the picture itself"}
OTHERS = {"object": "the object", "background": "the background", "random": "random places"}


@says("hiding.person")
def hiding_answer(hiding: pd.DataFrame) -> Answer:
    """Whether hiding a window of the person changes the gendered word more often than windows elsewhere."""
    mine = hiding[(hiding["outcome"] == "changed") & (hiding["area"] == "person")]
    mine = _english_first(mine[(mine["shape"] == "window") & (mine["filling"] == "mean")])
    if mine.empty:
        return Answer("No parts of images were hidden in this run.", FEW)
    said = []
    for lang, part in mine.groupby("lang", sort=False):
        by = {row["against"]: row for row in records(part)}
        first = next(iter(by.values()))
        others = [
            f"{OTHERS[against]} {_percent(by[against]['other'])} ({_points(by[against])})"
            for against in OTHERS
            if against in by
        ]
        said.append(
            f"{LANGUAGE_NAME[str(lang)]}: on the person {_percent(first['share'])}, on {', '.join(others)}; "
            f"n = {first['n_images']} images"
        )
    size = float(mine["patches"].mean())
    text = (
        f"How often the gendered word changes when a window of {size:.2g} patches is hidden (in brackets the person "
        f"less the other, points, 95 %). {'. '.join(said)}."
    )
    if mine["why"].ne("").all() or (mine["n_images"] < 20).all():
        return Answer(text, FEW)
    return Answer(text, "supported" if (mine["difference_low"] > 0).all() else "unclear")


@says("hiding.whole")
def whole_answer(hiding: pd.DataFrame) -> Answer:
    """Whether hiding the whole person changes the gendered word more often than areas of its size and shape elsewhere,
    and what comes of it by what is put in its place."""
    mine = hiding[(hiding["outcome"] == "changed") & (hiding["area"] == "person") & (hiding["shape"] == "whole")]
    beside = _english_first(mine[(mine["against"] == "random") & (mine["filling"] == "mean")])
    if beside.empty:
        return Answer("No parts of images were hidden in this run.", FEW)
    said = []
    for row in records(beside):
        others = mine[mine["lang"] == row["lang"]].drop_duplicates("filling")
        ways = [
            f"{FILLINGS[one['filling']]} {_percent(one['share'])}"
            for one in records(others)
            if one["filling"] != "mean"
        ]
        said.append(
            f"{LANGUAGE_NAME[row['lang']]} {_percent(row['share'])} against {_percent(row['other'])} "
            f"({_points(row)}; n = {row['n_images']} images; {', '.join(ways)})"
        )
    text = (
        f"With the person hidden ({mine['patches'].mean():.2g} patches, by the mean of each place) the gendered word "
        "changes in so many captions, against the same shape at random places (difference in points, 95 %): "
        f"{'. '.join(said)}. A model that sees no one still names someone, and by chance the same gender again."
    )
    if (beside["why"] != "").all():
        return Answer(text, FEW)
    return Answer(text, "supported" if (beside["difference_low"] > 0).all() else "unclear")


def area_answer(changed: Mapping[str, bool | None], random: Mapping[str, tuple[int, int, float, float]]) -> Answer:
    """Of one image and area: whether the gendered word changes, by language, and how many random places (n, changed,
    low, high) change it."""
    said = []
    for lang, one in changed.items():
        what = "names no one gender, so that it cannot change" if one is None else "changes" if one else "stays"
        line = f"the {LANGUAGE_NAME[lang]} gendered word {what}"
        if one is None:
            line = f"the {LANGUAGE_NAME[lang]} caption {what}"
        n, hits, low, high = random.get(lang, (0, 0, 0.0, 1.0))
        if n and one is not None:
            line += f"; so it does for {hits} of {n} random places ({100 * low:.0f} to {100 * high:.0f} %)" * one
            line += f"; it changes for {hits} of {n} random places ({100 * low:.0f} to {100 * high:.0f} %)" * (not one)
        said.append(line)
    text = ". ".join(f"{line[:1].upper()}{line[1:]}" for line in said)
    return Answer(f"{text}. One image shows that something can happen, not how often it does (n = 1).", FEW)


def _english_first(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values("lang", ascending=False, kind="stable")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _points(row: Mapping[str, object]) -> str:
    if row["why"]:
        return str(row["why"])
    ends = [100 * float(str(row[name])) for name in ("difference", "difference_low", "difference_high")]
    return told(*ends, form="+.0f")
