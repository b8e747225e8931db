"""Sentences about what hiding a part of a picture does to its captions, written from the tables."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from core.answers import Answer, says
from core.config import LANGUAGE_NAME
from core.frames import records
from core.intervals import told

FEW = "not enough data"
FILLINGS = {"zero": "with zero in its place", "pixels": "hidden in the picture itself"}
OTHERS = {"object": "on the object", "background": "on the background", "random": "at random places"}


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
        start = f"hiding a window of {mine['patches'].mean():.2g} patches on the person changes the gendered word"
        others = [
            f"{where} in {_percent(by[against]['other'])} ({_points(by[against])})"
            for against, where in OTHERS.items()
            if against in by
        ]
        said.append(
            f"In {LANGUAGE_NAME[str(lang)]}, {'it changes it' if said else start} in {_percent(first['share'])} of "
            f"captions, one as large {', '.join(others)}; n = {first['n_images']} images"
        )
    text = f"{'. '.join(said)}. In brackets: the person less the other, in points, with 95 % intervals."
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
        others = {one["filling"]: one for one in records(mine[mine["lang"] == row["lang"]])}
        ways = [f"; {way} {_percent(others[one]['share'])}" for one, way in FILLINGS.items() if one in others]
        apart = row["why"] or f"difference {_points(row)} points, 95 %"
        changes = "hiding the person changes the gendered word" if not said else "it changes it"
        said.append(
            f"In {LANGUAGE_NAME[row['lang']]}, {changes} in {_percent(row['share'])} of captions, hiding its shape at "
            f"random places in {_percent(row['other'])} ({apart}, n = {row['n_images']} "
            f"images{''.join(ways)})"
        )
    text = (
        f"{'. '.join(said)}. The person takes up {mine['patches'].mean():.2g} patches of a picture. A model that sees "
        "no one still names someone: where that is the gender it named before, nothing changes."
    )
    if (beside["why"] != "").all():
        return Answer(text, FEW)
    return Answer(text, "supported" if (beside["difference_low"] > 0).all() else "unclear")


def unseen_sentence(captions: pd.DataFrame) -> str:
    """Rows of hiding_captions in words: who is named once the person is hidden, and whose captions change."""
    said = []
    rows = captions[(captions["shape"] == "whole") & (captions["area"] == "person") & (captions["filling"] == "mean")]
    before = captions.loc[captions["area"] == "none", ["sample_id", "lang", "named"]]
    both = rows.merge(before, on=["sample_id", "lang"], suffixes=("", "_before")).dropna(subset=["changed"])
    for lang, part in _english_first(both).groupby("lang", sort=False):
        women, changes = part["named_before"] == "female", part["changed"].astype(bool)
        left = (part["named"] == "female").sum()
        said.append(
            f"{women.sum()} of {len(part)} {LANGUAGE_NAME[str(lang)]} captions name a woman, and {left} once the "
            f"person is hidden; the word changes in {(women & changes).sum()} of {women.sum()} that named a woman and "
            f"in {(~women & changes).sum()} of {(~women).sum()} others."
        )
    return " ".join(said)


def area_answer(changed: Mapping[str, bool | None], random: Mapping[str, tuple[int, int, float, float]]) -> Answer:
    """Of one image and area: whether the gendered word changes, by language, and how many random places (n, changed,
    low, high) change it."""
    said = " ".join(_of_area(lang, one, random.get(lang, (0, 0, 0.0, 1.0))) for lang, one in changed.items())
    return Answer(f"{said} One image shows that something can happen, not how often it does (n = 1).", "one example")


def _of_area(lang: str, changed: bool | None, random: tuple[int, int, float, float]) -> str:
    name = LANGUAGE_NAME[lang]
    if changed is None:
        return f"The {name} caption names no one gender, so that it cannot change."
    line = f"Hiding this area {'changes' if changed else 'does not change'} the {name} gendered word"
    n, hits, low, high = random
    if not n:
        return f"{line}."
    ends = f"{100 * hits / n:.0f} %, 95 % {100 * low:.0f} to {100 * high:.0f} %"
    return f"{line}; hiding its shape elsewhere changes it at {hits} of {n} random places ({ends})."


def _english_first(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values("lang", ascending=False, kind="stable")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _points(row: Mapping[str, object]) -> str:
    if row["why"]:
        return str(row["why"])
    ends = [100 * float(str(row[name])) for name in ("difference", "difference_low", "difference_high")]
    return told(*ends, form="+.0f")
