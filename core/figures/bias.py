"""Bias of captions: shares found against shares planted, shares by group, and values beside their control."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.config import LANGUAGE_NAME
from core.figures.marks import Axis, Bars, Chart, Legend, Panel, Points, Rule, line
from core.figures.palette import CONTROL, beside

DIFFERENCE = "ar-en"
PANELS = {"en": "English", "ar": "Arabic", DIFFERENCE: "Arabic minus English"}
SYMBOLS = {"en": "circle", "ar": "diamond", DIFFERENCE: "square"}
SOURCES = {"sampled": "sampled", "greedy": "greedy", "reference": "people wrote"}
COLOURS = {"en": "en", "ar": "ar", DIFFERENCE: "single"}
RANGE = {"en": (-0.04, 1.04), "ar": (-0.04, 1.04), DIFFERENCE: (-1.08, 1.08)}


def recovery_frame(roles: pd.DataFrame, attribute: str, source: str) -> pd.DataFrame:
    """Groups with a planted share, of one kind of captions: lang, value, planted, p_male, low, high, n_images, ..."""
    mine = roles[(roles["attribute"] == attribute) & (roles["source"] == source)]
    return mine.dropna(subset=["planted", "p_male"]).reset_index(drop=True)


def groups_frame(roles: pd.DataFrame, attribute: str) -> pd.DataFrame:
    """All kinds of captions by group and language, groups from the most female to the most male in English.

    A group whose captions say a gender by the generic masculine alone has no p_male and stands last.
    """
    mine = roles[(roles["attribute"] == attribute) & (roles["lang"] != DIFFERENCE)]
    mine = mine[mine["p_male"].notna() | (mine["n_unmarked"] > 0)]
    shown = "sampled" if (mine["source"] == "sampled").any() else "greedy"
    own = mine[mine["source"] == shown]
    order = own.groupby("value")["p_male"].mean().sort_values(kind="stable").index
    place = {value: i for i, value in enumerate(order)}
    mine = mine[mine["value"].isin(place)]
    return mine.assign(place=mine["value"].map(place)).sort_values(["place", "lang", "source"]).reset_index(drop=True)


def recovery_scatter(frame: pd.DataFrame, everywhere: dict[str, float]) -> Chart:
    """Found (y) against planted (x), a panel a language and one for the difference, with intervals.

    On the dotted line what was planted is found; ``everywhere`` gives each panel's share over all groups, the grey
    line, on which all would lie if captions ignored the group.
    """
    panels = []
    for column, lang in enumerate((one for one in PANELS if (frame["lang"] == one).any()), start=1):
        part, (low, high) = frame[frame["lang"] == lang], RANGE[lang]
        marks = [line([low, high], [low, high], dash="dot")]
        if np.isfinite(everywhere.get(lang, np.nan)):
            marks.append(line([low, high], [everywhere[lang]] * 2, CONTROL, width=5, opacity=0.45))
        marks.append(
            Points(
                part["planted"] + _spread(part, (high - low) / 260),
                part["p_male"],
                colour=COLOURS[lang],
                symbol=SYMBOLS[lang],
                edge=(1, "ground"),
                y_ends=(part["low"], part["high"]),
                bar=1,
                data=part[["value", "planted", "low", "high", "n_images", "n_captions"]],
                hover="%{customdata[0]}<br>planted %{customdata[1]:.2f}, found %{y:.2f} [%{customdata[2]:.2f}, "
                "%{customdata[3]:.2f}]<br>%{customdata[5]} captions of %{customdata[4]} images",
            )
        )
        x = Axis(f"planted {'difference' if lang == DIFFERENCE else 'p(male)'}", range=RANGE[lang], format=".2~g")
        y = Axis("found" if column == 1 else "", range=RANGE[lang])
        panels.append(Panel(marks, x, y, PANELS[lang], column=column))
    return Chart(panels, 400, (56, 12, 52, 34), gaps=(0.06, None), inches=7.2)


def _spread(part: pd.DataFrame, step: float) -> np.ndarray:
    """Little steps to the side for groups of the same planted share, so that their intervals can be seen apart."""
    rank = part.groupby("planted").cumcount()
    n = part.groupby("planted")["planted"].transform("size")
    return ((rank - (n - 1) / 2) * step * 2.2).to_numpy(float)


def groups_ranges(frame: pd.DataFrame) -> Chart:
    """One row a group: the model's sampled captions with interval, its greedy ones as a bar, people's as a ring."""
    names = frame.drop_duplicates("place").sort_values("place")["value"].tolist()
    marks: list[Points | Rule] = [Rule(x=0.5, colour=CONTROL, width=5, opacity=0.45)]
    for lang, shift in beside(frame["lang"], -0.16).items():
        for source, symbol, size in (
            ("reference", f"{SYMBOLS[lang]}-open", 11),
            ("greedy", "line-ns-open", 13),
            ("sampled", SYMBOLS[lang], 9),
        ):
            part = frame[(frame["lang"] == lang) & (frame["source"] == source)].dropna(subset=["p_male"])
            if part.empty:
                continue
            marks.append(
                Points(
                    part["p_male"],
                    part["place"] + shift,
                    f"{LANGUAGE_NAME[lang]}, {SOURCES[source]}",
                    lang,
                    symbol,
                    size,
                    edge=(2, lang),
                    opacity=0.55 if source == "reference" else None,
                    x_ends=(part["low"], part["high"]) if source == "sampled" else None,
                    data=part[["value", "low", "high", "n_images", "n_captions"]],
                    hover=f"%{{customdata[0]}}, {LANGUAGE_NAME[lang]}, {SOURCES[source]}: %{{x:.2f}} "
                    "[%{customdata[1]:.2f}, %{customdata[2]:.2f}], %{customdata[4]} captions of "
                    "%{customdata[3]} images",
                )
            )
    x = Axis("share of captions that name a man, among those that say one gender", range=(-0.03, 1.03))
    y = Axis(ticks=range(len(names)), labels=names, range=(-0.7, len(names) - 0.3), names=True)
    return Chart([Panel(marks, x, y)], 96 + 25 * max(len(names), 1), (8, 10, 48, 10), Legend(1, 13, fixed=True))


def beside_control(frame: pd.DataFrame, axis: str) -> Chart:
    """Rows (label, lang, value, low, high, control, control_low, control_high): a mark with interval on a grey band.

    The band is what chance gives; a row without a value is left empty.
    """
    at = np.arange(len(frame))
    width = frame["control_high"] - frame["control_low"] + 4e-3
    marks: list[Bars | Points | Rule] = [
        Bars(at, width, frame["control_low"], width=0.62, colour=CONTROL, opacity=0.4),
        Rule(x=0),
    ]
    for lang in ("en", "ar"):
        mine = (frame["lang"] == lang).to_numpy()
        part = frame[mine]
        marks.append(
            Points(
                part["value"],
                at[mine],
                colour=lang,
                symbol=SYMBOLS[lang],
                size=10,
                x_ends=(part["low"], part["high"]),
                bar=1.6,
                data=part[["label", "low", "high", "n", "control"]],
                hover="%{customdata[0]}: %{x:.3f} [%{customdata[1]:.3f}, %{customdata[2]:.3f}], "
                "n = %{customdata[3]}; chance %{customdata[4]:.3f}",
            )
        )
    y = Axis(ticks=at, labels=frame["label"], turned=True, grid=False, names=True)
    panel = Panel(marks, Axis(axis, n_ticks=5, angle=0), y)
    return Chart([panel], 64 + 34 * max(len(frame), 1), (8, 12, 48, 8))
