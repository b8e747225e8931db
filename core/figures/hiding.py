"""Hiding: how often the gendered word changes, by what is hidden and what is put in its place."""

from __future__ import annotations

from typing import Any

import pandas as pd

from core.config import LANGUAGE_NAME
from core.figures.marks import Axis, Chart, Legend, Mark, Panel, Points
from core.figures.palette import CONTROL
from core.frames import tuples
from core.intervals import clopper_pearson

LANGS = ("en", "ar")
SHAPES = ("window", "whole")
FILLINGS = {"mean": "mean of the place", "zero": "zero", "pixels": "in the picture itself"}
SYMBOLS = {"mean": "circle", "zero": "square", "pixels": "diamond"}
AREAS = ("person", "object", "background", "random")


def shares_frame(hiding: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """One row a language, shape, filling and area of one outcome, random places of the person's window among them."""
    mine = hiding[hiding["outcome"] == outcome]
    own = mine.drop_duplicates(["lang", "shape", "filling", "area"])
    keep = ["lang", "shape", "filling", "area", "n_images", "patches", "share", "share_low", "share_high"]
    random = mine[(mine["against"] == "random") & (mine["area"] == "person")]
    random = random.assign(area="random", share=random["other"], share_low=float("nan"), share_high=float("nan"))
    other = mine[mine["against"] == "background"].drop_duplicates(["lang", "shape", "filling"])
    low, high = clopper_pearson(other["other"] * other["n_images"], other["n_images"])
    other = other.assign(area="background", patches=float("nan"), share=other["other"], share_low=low, share_high=high)
    found = pd.concat([own[keep], other[keep]]).drop_duplicates(["lang", "shape", "filling", "area"])
    return pd.concat([found, random[keep]], ignore_index=True)


def shares(frame: pd.DataFrame, outcome: str = "gendered word changes") -> Chart:
    """A panel a language and shape: person, object, background and random places, a symbol for what is put in."""
    languages = [lang for lang in LANGS if (frame["lang"] == lang).any()]
    panels = []
    for row, shape in enumerate(SHAPES, start=1):
        for column, lang in enumerate(languages, start=1):
            part = frame[(frame["lang"] == lang) & (frame["shape"] == shape)]
            marks: list[Mark] = []
            for shift, (filling, name) in zip((-0.2, 0.0, 0.2), FILLINGS.items(), strict=True):
                for is_random in (False, True):
                    mine = part[(part["filling"] == filling) & ((part["area"] == "random") == is_random)]
                    if mine.empty:
                        continue
                    marks.append(
                        Points(
                            [AREAS.index(area) + shift for area in mine["area"]],
                            100 * mine["share"],
                            "" if is_random else name,
                            CONTROL if is_random else lang,
                            SYMBOLS[filling],
                            10,
                            y_ends=None if is_random else (100 * mine["share_low"], 100 * mine["share_high"]),
                            hover="%{customdata}",
                            data=[_said(one) for one in tuples(mine)],
                            group=filling,
                            legend=row == column == 1 and not is_random,
                        )
                    )
            x = Axis("", ticks=range(len(AREAS)), labels=AREAS, range=(-0.5, len(AREAS) - 0.5))
            y = Axis(f"{shape}: {outcome}, %" if column == 1 else "", range=(-4, 104))
            panels.append(Panel(marks, x, y, LANGUAGE_NAME[lang], row=row, column=column))
    return Chart(panels, 720, (60, 12, 40, 60), legend=Legend(), share_y=True, gaps=(0.04, 0.14), inches=6.6)


def _said(row: Any) -> str:
    low, high = 100 * row.share_low, 100 * row.share_high
    ends = f" [{low:.0f}, {high:.0f}]" if low == low else ""
    size = f", {row.patches:.3g} patches" if row.patches == row.patches else ""
    return f"{row.area}: {100 * row.share:.0f} %{ends}{size}, n = {row.n_images}"
