"""Bias of captions drawn: shares found against shares planted, shares by group, and figures beside their control."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.figures.palette import CONTROL, LANGUAGE_NAME, Look, beside, dress, look

DIFFERENCE = "ar-en"
PANELS = {"en": "English", "ar": "Arabic", DIFFERENCE: "Arabic minus English"}
SYMBOLS = {"en": "circle", "ar": "diamond", DIFFERENCE: "square"}
SOURCES = {"sampled": "sampled", "greedy": "greedy", "reference": "people wrote"}
RANGE = {"en": (-0.04, 1.04), "ar": (-0.04, 1.04), DIFFERENCE: (-1.08, 1.08)}


def recovery_frame(roles: pd.DataFrame, attribute: str, source: str) -> pd.DataFrame:
    """Groups with a planted share, of one kind of captions: lang, value, planted, p_male, low, high, n_images, ..."""
    mine = roles[(roles["attribute"] == attribute) & (roles["source"] == source)]
    return mine.dropna(subset=["planted", "p_male"]).reset_index(drop=True)


def groups_frame(roles: pd.DataFrame, attribute: str) -> pd.DataFrame:
    """All kinds of captions by group and language, groups from the most female to the most male in English."""
    mine = roles[(roles["attribute"] == attribute) & (roles["lang"] != DIFFERENCE)].dropna(subset=["p_male"])
    shown = "sampled" if (mine["source"] == "sampled").any() else "greedy"
    own = mine[mine["source"] == shown]
    order = own.groupby("value")["p_male"].mean().sort_values(kind="stable").index
    place = {value: i for i, value in enumerate(order)}
    mine = mine[mine["value"].isin(place)]
    return mine.assign(place=mine["value"].map(place)).sort_values(["place", "lang", "source"]).reset_index(drop=True)


def colour(lang: str, inks: Look) -> str:
    """A language's colour; of their difference the single series'."""
    return inks.languages.get(lang, inks.single)


def recovery_scatter(frame: pd.DataFrame, everywhere: dict[str, float], dark: bool = False) -> go.Figure:
    """Found (y) against planted (x), a panel a language and one for the difference, with intervals.

    On the dotted line what was planted is found; ``everywhere`` gives each panel's share over all groups, the grey
    line, on which all would lie if captions ignored the group.
    """
    inks, langs = look(dark), [lang for lang in PANELS if (frame["lang"] == lang).any()]
    fig = make_subplots(1, max(1, len(langs)), subplot_titles=[PANELS[lang] for lang in langs], horizontal_spacing=0.06)
    for column, lang in enumerate(langs, start=1):
        part, (low, high) = frame[frame["lang"] == lang], RANGE[lang]
        fig.add_scatter(
            x=[low, high],
            y=[low, high],
            mode="lines",
            hoverinfo="skip",
            row=1,
            col=column,
            line={"color": inks.muted, "dash": "dot", "width": 1},
        )
        if np.isfinite(everywhere.get(lang, np.nan)):
            fig.add_scatter(
                x=[low, high],
                y=[everywhere[lang]] * 2,
                mode="lines",
                line={"color": CONTROL, "width": 5},
                opacity=0.45,
                hoverinfo="skip",
                row=1,
                col=column,
            )
        fig.add_scatter(
            x=part["planted"] + _spread(part, (high - low) / 260),
            y=part["p_male"],
            mode="markers",
            marker={
                "color": colour(lang, inks),
                "symbol": SYMBOLS[lang],
                "size": 9,
                "line": {"width": 1, "color": inks.ground},
            },
            error_y={
                "type": "data",
                "symmetric": False,
                "array": part["high"] - part["p_male"],
                "arrayminus": part["p_male"] - part["low"],
                "thickness": 1,
                "width": 0,
                "color": colour(lang, inks),
            },
            customdata=part[["value", "planted", "low", "high", "n_images", "n_captions"]],
            hovertemplate="%{customdata[0]}<br>planted %{customdata[1]:.2f}, found %{y:.2f} "
            "[%{customdata[2]:.2f}, %{customdata[3]:.2f}]<br>%{customdata[5]} captions of "
            "%{customdata[4]} images<extra></extra>",
            row=1,
            col=column,
        )
    dress(fig, dark, 400, margin=(56, 12, 52, 34))
    for column, lang in enumerate(langs, start=1):
        low, high = RANGE[lang]
        kind = "difference" if lang == DIFFERENCE else "p(male)"
        fig.update_xaxes(title_text=f"planted {kind}", range=[low, high], row=1, col=column, tickformat=".2~g")
        fig.update_yaxes(title_text="found" if column == 1 else "", range=[low, high], row=1, col=column)
    fig.update_annotations(font={"size": 15, "color": inks.ink})
    return fig


def _spread(part: pd.DataFrame, step: float) -> np.ndarray:
    """Little steps to the side for groups of the same planted share, so that their intervals can be seen apart."""
    rank = part.groupby("planted").cumcount()
    n = part.groupby("planted")["planted"].transform("size")
    return ((rank - (n - 1) / 2) * step * 2.2).to_numpy(float)


def groups_ranges(frame: pd.DataFrame, dark: bool = False, row_height: int = 25) -> go.Figure:
    """One row a group: the model's sampled captions with interval, its greedy ones as a bar, people's as a ring."""
    inks = look(dark)
    names = frame.drop_duplicates("place").sort_values("place")["value"].tolist()
    fig = go.Figure()
    fig.add_vline(x=0.5, line={"color": CONTROL, "width": 5}, opacity=0.45)
    for lang, shift in beside(frame["lang"], -0.16).items():
        for source, style in (
            ("reference", {"symbol": f"{SYMBOLS[lang]}-open", "size": 11}),
            ("greedy", {"symbol": "line-ns-open", "size": 13}),
            ("sampled", {"symbol": SYMBOLS[lang], "size": 9}),
        ):
            part = frame[(frame["lang"] == lang) & (frame["source"] == source)]
            if part.empty:
                continue
            error = {
                "type": "data",
                "symmetric": False,
                "array": part["high"] - part["p_male"],
                "width": 0,
                "arrayminus": part["p_male"] - part["low"],
                "thickness": 1.4,
            }
            fig.add_scatter(
                x=part["p_male"],
                y=part["place"] + shift,
                mode="markers",
                name=f"{LANGUAGE_NAME[lang]}, {SOURCES[source]}",
                marker={**style, "color": colour(lang, inks), "line": {"width": 2, "color": colour(lang, inks)}},
                error_x=error if source == "sampled" else None,
                opacity=0.55 if source == "reference" else 1,
                customdata=part[["value", "low", "high", "n_images", "n_captions"]],
                hovertemplate=f"%{{customdata[0]}}, {LANGUAGE_NAME[lang]}, {SOURCES[source]}: %{{x:.2f}} "
                "[%{customdata[1]:.2f}, %{customdata[2]:.2f}], %{customdata[4]} captions of "
                "%{customdata[3]} images<extra></extra>",
            )
    dress(fig, dark, 96 + row_height * max(len(names), 1), margin=(8, 10, 48, 10))
    fig.update_layout(
        showlegend=True,
        legend={"orientation": "h", "y": 1, "yanchor": "bottom", "font": {"size": 13}, "x": 0, "itemclick": False},
    )
    fig.update_xaxes(
        title_text="share of captions that name a man, among those that name one gender", range=[-0.03, 1.03]
    )
    fig.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=names,
        range=[-0.7, len(names) - 0.3],
        showgrid=True,
        tickfont={"size": 14, "color": inks.ink},
    )
    return fig


def beside_control(frame: pd.DataFrame, axis: str, dark: bool = False, row_height: int = 34) -> go.Figure:
    """Rows (label, lang, value, low, high, control, control_low, control_high): a mark with interval on a grey band.

    The band is what chance gives; a row without a value is left empty.
    """
    inks, rows = look(dark), np.arange(len(frame))
    fig = go.Figure()
    fig.add_bar(
        y=rows,
        x=frame["control_high"] - frame["control_low"] + 4e-3,
        base=frame["control_low"],
        width=0.62,
        orientation="h",
        marker={"color": CONTROL},
        opacity=0.4,
        hoverinfo="skip",
    )
    for lang in ("en", "ar"):
        mine = (frame["lang"] == lang).to_numpy()
        part = frame[mine]
        fig.add_scatter(
            x=part["value"],
            y=rows[mine],
            mode="markers",
            marker={"color": colour(lang, inks), "symbol": SYMBOLS[lang], "size": 10},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": part["high"] - part["value"],
                "arrayminus": part["value"] - part["low"],
                "thickness": 1.6,
                "width": 0,
            },
            customdata=part[["label", "low", "high", "n", "control"]],
            hovertemplate="%{customdata[0]}: %{x:.3f} [%{customdata[1]:.3f}, %{customdata[2]:.3f}], "
            "n = %{customdata[3]}; chance %{customdata[4]:.3f}<extra></extra>",
        )
    dress(fig, dark, 64 + row_height * max(len(frame), 1), margin=(8, 12, 48, 8))
    fig.add_vline(x=0, line={"color": inks.muted, "width": 1})
    fig.update_xaxes(title_text=axis, nticks=5, tickangle=0)
    fig.update_yaxes(
        tickvals=rows,
        ticktext=frame["label"],
        autorange="reversed",
        showgrid=False,
        tickfont={"size": 14, "color": inks.ink},
    )
    return fig
