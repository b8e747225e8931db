"""What steering does while a caption is written: chances of gendered words by token, probe and lens by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pandas as pd
import plotly.graph_objects as go

from core.figures.palette import GENDER, LANGUAGE_NAME, dress, look

WHO = {"female": "words for women", "male": "words for men"}
SYMBOLS = {"female": "circle", "male": "diamond"}
MOST_TOKENS = 24  # drawn of a caption; one that repeats itself goes on for long
MEASURES = {"probe": "probe score", "lens": "lens: log-odds"}
SHADES = {
    "before": ("as it was", "dot", "-open"),
    "after": ("as steered", "solid", ""),
    "control": ("random control", "dash", ""),
    "means": ("difference of means", "dashdot", ""),
}


class Strip(Protocol):
    """What was written of one caption: pieces, and at each the chance of words for women and for men."""

    @property
    def pieces(self) -> Sequence[str]: ...

    @property
    def female(self) -> Sequence[float]: ...

    @property
    def male(self) -> Sequence[float]: ...


def strip_frame(strips: Mapping[tuple[str, str], Strip]) -> pd.DataFrame:
    """One row a token: row, lang, step (from 0), piece, and the probability of words for women and men there."""
    return pd.DataFrame(
        [
            (row, lang, n, piece.strip(), f, m)
            for (row, lang), strip in strips.items()
            for n, (piece, f, m) in enumerate(zip(strip.pieces, strip.female, strip.male, strict=True))
        ],
        columns=["row", "lang", "step", "piece", "female", "male"],
    )


def strip_chart(frame: pd.DataFrame, lang: str, dark: bool = False, height: int = 250) -> go.Figure:
    """Chances of gendered words at each token, as steered (filled, solid) and as it was (open, dotted).

    Under the axis stand the tokens of the steered caption; Arabic runs from right to left.
    """
    inks, fig = look(dark), go.Figure()
    mine = frame[(frame["lang"] == lang) & (frame["step"] < MOST_TOKENS)]
    steered = bool((mine["row"] == "after").any())
    for row in ("before", "after") if steered else ("before",):
        name, dash, opened = SHADES[row] if steered else ("", "solid", "")
        part = mine[mine["row"] == row]
        for gender, words in WHO.items():
            fig.add_scatter(
                x=part["step"],
                y=part[gender],
                mode="lines+markers",
                showlegend=row == ("after" if steered else row),
                name=words,
                line={"color": GENDER[gender], "width": 2 if not opened else 1.4, "dash": dash},
                marker={"symbol": SYMBOLS[gender] + opened, "size": 8 if not opened else 6},
                customdata=part["piece"],
                hovertemplate=f"%{{y:.1%}} {words}, where “%{{customdata}}” was written<extra>{name}</extra>",
            )
    ticks = mine[mine["row"] == ("after" if steered else "before")]
    dress(fig, dark, height, margin=(46, 8, 70, 8))
    fig.update_layout(showlegend=True, legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"})
    last = max(int(ticks["step"].max()) if len(ticks) else 0, 1) + 0.4
    fig.update_xaxes(
        tickvals=ticks["step"],
        ticktext=[p or "·" for p in ticks["piece"]],
        showgrid=False,
        tickangle=-40 if lang == "en" else 40,
        tickfont={"size": 13, "color": inks.muted},
        range=[last, -0.4] if lang == "ar" else [-0.4, last],
    )
    fig.update_yaxes(range=[-0.04, 1.04], tickformat=".0%", nticks=5, side="right" if lang == "ar" else "left")
    if lang == "ar":
        fig.update_layout(margin={"l": 8, "r": 46})
    return fig


def meter_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a measure, layer, row and language, with its value."""
    return pd.DataFrame(rows, columns=["measure", "layer", "row", "lang", "value"])


def meter_chart(frame: pd.DataFrame, measure: str, dark: bool = False, height: int = 330) -> go.Figure:
    """Probe or lens by layer, before and after the edit, by language; references in grey."""
    inks, fig = look(dark), go.Figure()
    mine = frame[frame["measure"] == measure]
    fig.add_hline(y=0, line={"color": inks.muted, "width": 1, "dash": "dot"})
    first = next((lang for lang in LANGUAGE_NAME if (mine["lang"] == lang).any()), "")
    for row, (name, dash, opened) in SHADES.items():
        for lang, language in LANGUAGE_NAME.items():
            part = mine[(mine["row"] == row) & (mine["lang"] == lang)].sort_values("layer")
            if part.empty:
                continue
            symbol, own = "circle" if lang == "en" else "diamond", row in ("before", "after")
            colour = inks.languages[lang] if own else inks.muted
            fig.add_scatter(
                x=part["layer"],
                y=part["value"],
                mode="lines+markers",
                name=f"{language}, {name}" if own else name,
                legendgroup="" if own else row,
                showlegend=own or lang == first,
                line={"color": colour, "dash": dash, "width": 2.2 if row == "after" else 1.4},
                marker={"symbol": symbol + opened, "size": 8 if row == "after" else 7, "color": colour},
                hovertemplate="layer %{x}: %{y:+.2f}<extra>%{fullData.name}</extra>",
            )
    dress(fig, dark, height, margin=(62, 10, 44, 66))
    fig.update_layout(
        showlegend=True, legend={"orientation": "h", "x": 0, "y": 1.04, "yanchor": "bottom", "font": {"size": 13}}
    )
    fig.update_xaxes(tickvals=sorted(set(mine["layer"])), title_text="layer", showgrid=False)
    fig.update_yaxes(title_text=MEASURES[measure], tickformat="+.1~f")
    return fig
