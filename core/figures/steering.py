"""What steering does while a caption is written: chances of gendered words by token, probe and lens by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from core.config import LANGUAGE_NAME
from core.figures.marks import Axis, Chart, Legend, Mark, Panel, Points, Rule
from core.figures.palette import GENDER

WHO = {"female": "words for women", "male": "words for men", "unmarked": "generic masculines"}
SYMBOLS = {"female": "circle", "male": "diamond", "unmarked": "square"}
INKS = {**GENDER, "unmarked": GENDER["neutral"]}
LEAST = 0.005  # from which probability on generic masculines are drawn
MOST_TOKENS = 24  # drawn of a caption; one that repeats itself goes on for long
MEASURES = {"probe": "probe score", "lens": "lens: log-odds"}  # by layer
SHADES = {
    "before": ("as it was", "dot", "-open"),
    "after": ("as steered", "solid", ""),
    "control": ("random control", "dash", ""),
    "means": ("difference of means", "dashdot", ""),
}


class Strip(Protocol):
    """What was written of one caption: pieces, and at each the chance of words of each kind, and what is left out."""

    @property
    def pieces(self) -> Sequence[str]: ...

    @property
    def female(self) -> Sequence[float]: ...

    @property
    def male(self) -> Sequence[float]: ...

    @property
    def unmarked(self) -> Sequence[float]: ...

    @property
    def left_out(self) -> Sequence[float]: ...


def strip_frame(strips: Mapping[tuple[str, str], Strip]) -> pd.DataFrame:
    """One row a token: row, lang, step (from 0), piece, the probability of words of each kind there, and left_out."""
    kinds = [*WHO, "left_out"]
    return pd.DataFrame(
        [
            (row, lang, n, piece.strip(), *chances)
            for (row, lang), strip in strips.items()
            for n, (piece, *chances) in enumerate(
                zip(strip.pieces, *(getattr(strip, kind) for kind in kinds), strict=True)
            )
        ],
        columns=["row", "lang", "step", "piece", *kinds],
    )


def strip_chart(frame: pd.DataFrame, *langs: str) -> Chart:
    """Chances of gendered words at each token, as steered (filled, solid) and as it was (open, dotted), by language.

    Under the axis stand the tokens of the steered caption; Arabic runs from right to left.
    """
    many = len(langs) > 1
    panels = [_strip(frame, lang, n, many) for n, lang in enumerate(langs, start=1)]
    margin = (8, 46, 70, 8) if langs == ("ar",) else (46, 8, 70, 8)
    height, inches = (300, 7.2) if many else (250, 5.2)
    return Chart(panels, height, margin, Legend(1.02), once=many, inches=inches)


def _strip(frame: pd.DataFrame, lang: str, column: int, titled: bool) -> Panel:
    mine, marks = frame[(frame["lang"] == lang) & (frame["step"] < MOST_TOKENS)], []
    steered = bool((mine["row"] == "after").any())
    last_row = "after" if steered else "before"
    for row in ("before", "after") if steered else ("before",):
        name, dash, opened = SHADES[row] if steered else ("", "solid", "")
        part = mine[mine["row"] == row]
        for gender, words in WHO.items():
            if gender == "unmarked" and not (mine[gender] >= LEAST).any():
                continue
            marks.append(
                Points(
                    part["step"],
                    part[gender],
                    f"{words}, {name}" if titled and name else words,
                    INKS[gender],
                    SYMBOLS[gender] + opened,
                    6 if opened else 8,
                    dash=dash,
                    width=1.4 if opened else 2,
                    legend=titled or row == last_row,
                    data=part["piece"],
                    hover=f"%{{y:.1%}} {words}, where “%{{customdata}}” was written<extra>{name}</extra>",
                )
            )
    ticks = mine[mine["row"] == last_row]
    last = max(int(ticks["step"].max()) if len(ticks) else 0, 1) + 0.4
    arabic = lang == "ar"
    x = Axis(
        ticks=ticks["step"],
        labels=[piece or "·" for piece in ticks["piece"]],
        grid=False,
        angle=40 if arabic else -40,
        range=(last, -0.4) if arabic else (-0.4, last),
    )
    title = "probability of the next word" if titled and column == 1 else ""
    y = Axis(title, range=(-0.04, 1.04), format=".0%", n_ticks=5, side="right" if arabic else "left")
    return Panel(marks, x, y, LANGUAGE_NAME[lang] if titled else "", column=column)


def meter_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a measure, layer, row and language, with its value."""
    return pd.DataFrame(rows, columns=["measure", "layer", "row", "lang", "value"])


def meter_chart(frame: pd.DataFrame, *measures: str) -> Chart:
    """Probe and lens by layer, a panel each, before and after the edit, by language; references in grey."""
    panels = [_meter(frame[frame["measure"] == one], MEASURES[one], n) for n, one in enumerate(measures, start=1)]
    return Chart(panels, 330, (62, 10, 44, 66), Legend(1.04, 13), inches=7.2 if len(measures) > 1 else 5.2)


def _meter(mine: pd.DataFrame, title: str, column: int) -> Panel:
    marks: list[Mark] = [Rule(y=0, dash="dot")]
    first = next((lang for lang in LANGUAGE_NAME if (mine["lang"] == lang).any()), "")
    for row, (name, dash, opened) in SHADES.items():
        for lang, language in LANGUAGE_NAME.items():
            part = mine[(mine["row"] == row) & (mine["lang"] == lang)].sort_values("layer")
            if part.empty:
                continue
            own = row in ("before", "after")
            marks.append(
                Points(
                    part["layer"],
                    part["value"],
                    f"{language}, {name}" if own else name,
                    lang if own else "muted",
                    ("circle" if lang == "en" else "diamond") + opened,
                    8 if row == "after" else 7,
                    dash=dash,
                    width=2.2 if row == "after" else 1.4,
                    group="" if own else row,
                    legend=(own or lang == first) and column == 1,
                    hover="layer %{x}: %{y:+.2f}<extra>%{fullData.name}</extra>",
                )
            )
    x = Axis("layer", ticks=sorted(set(mine["layer"])), grid=False)
    return Panel(marks, x, Axis(title, format="+.1~f"), column=column)
