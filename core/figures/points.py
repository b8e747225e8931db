"""The marks that the maps of features share: colour by a quantity, some kept and some faint, one chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from core.figures.palette import CONTROL, GENDER, PUOR, STEERED, VIRIDIS, look, scale

COLOURS = {"density": "How often it fires", "lean": "English or Arabic", "explained_share": "Explained share"}
BY_GENDER = {"auc_en": "Women or men, English", "auc_ar": "Women or men, Arabic"}  # where the run has it
NAMES = {**COLOURS, **BY_GENDER}
SIDES = (GENDER["male"], CONTROL, GENDER["female"])  # of a held-out AUC, around 0.5
RARE = 0.02  # below this quantile of shares the scale has no colour of its own
MANY = 6000  # above this WebGL draws; below it SVG does, which needs no graphics card


def points(
    frame: pd.DataFrame, x: str, y: str, colour: str, chosen: int | None, kept: set[int] | None, dark: bool
) -> go.Figure:
    """The marks of a map: customdata is [feature], so that a selection can be read back."""
    inks = look(dark)
    trace = go.Scattergl if len(frame) > MANY else go.Scatter
    inside = frame["feature"].isin(kept) if kept is not None else pd.Series(True, index=frame.index)
    fig = go.Figure()
    fig.add_trace(
        trace(
            x=frame.loc[~inside, x],
            y=frame.loc[~inside, y],
            mode="markers",
            customdata=frame.loc[~inside, ["feature"]],
            marker={"size": 5, "color": inks.rule, "opacity": 0.9},
            hovertemplate="feature %{customdata[0]}<extra></extra>",
            name="filtered out",
        )
    )
    part = frame[inside]
    values, low, high, colours, ticks = shading(part, colour)
    fig.add_trace(
        trace(
            x=part[x],
            y=part[y],
            mode="markers",
            customdata=_card(part),
            name="features",
            hovertemplate="<b>feature %{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}<extra></extra>",
            marker={
                "size": size_of(len(part)),
                "color": values,
                "cmin": low,
                "cmax": high,
                "colorscale": scale(colours),
                "line": {"width": 0.5, "color": inks.muted},
                "symbol": ["circle-open" if o else "circle" for o in part["open"]] if "open" in part else "circle",
                "colorbar": {
                    "title": {"text": NAMES.get(colour, colour), "side": "top", "font": {"size": 13}},
                    "orientation": "h",
                    "thickness": 8,
                    "len": 0.42,
                    "x": 0.0,
                    "xanchor": "left",
                    "y": 1.0,
                    "yanchor": "bottom",
                    "tickfont": {"size": 13},
                    "tickangle": 0,
                    "outlinewidth": 0,
                    **ticks,
                },
            },
            selected={"marker": {"opacity": 1}},
            unselected={"marker": {"opacity": 0.25}},
        )
    )
    mark = frame[frame["feature"] == chosen]
    if len(mark):
        fig.add_trace(
            go.Scatter(
                x=mark[x],
                y=mark[y],
                mode="markers+text",
                text=[str(chosen)],
                textposition="top center",
                textfont={"size": 15, "color": inks.ink, "weight": 600},
                hoverinfo="skip",
                name="chosen",
                marker={"size": 17, "color": "rgba(0,0,0,0)", "line": {"width": 3, "color": STEERED}},
            )
        )
    return fig


def shading(frame: pd.DataFrame, colour: str) -> tuple[pd.Series, float, float, tuple[str, ...], dict[str, Any]]:
    """Values, their range, the colour scale and its ticks: diverging for lean and gender, log viridis for shares."""
    if colour == "lean":
        ticks = {"tickvals": [-1, 0, 1], "ticktext": ["English", "both", "Arabic"]}
        return frame["lean"].fillna(0.0), -1.0, 1.0, PUOR, ticks
    if colour.startswith("auc"):
        ticks = {"tickvals": [0, 0.5, 1], "ticktext": ["men", "neither", "women"]}
        return frame[colour].fillna(0.5), 0.0, 1.0, SIDES, ticks
    shares = frame[colour].astype(float)
    seen = np.log10(shares[shares > 0]) if (shares > 0).any() else pd.Series([-6.0, 0.0])
    low, high = float(seen.quantile(RARE)), float(seen.max())
    high = max(high, low + 0.5)
    marks = [float(m) for m in range(int(np.ceil(low)), int(np.floor(high)) + 1)]
    marks = marks[:: 2 if len(marks) > 4 else 1] if len(marks) > 1 else [low, high]
    values = np.log10(shares.clip(lower=10**low))
    return values, low, high, VIRIDIS, {"tickvals": marks, "ticktext": [_tick(m) for m in marks]}


def size_of(n: int) -> float:
    """Marker size in pixels: smaller the more points there are."""
    return 9.0 if n < 300 else 7.0 if n < 3000 else 4.0


def _tick(exponent: float) -> str:
    return f"{float(f'{100 * 10.0**exponent:.2g}'):.10f}".rstrip("0").rstrip(".") + " %"


def _card(frame: pd.DataFrame) -> np.ndarray:
    words = frame["words"] if "words" in frame else pd.Series("", index=frame.index)
    density = [f"fires on {value:.2%} of tokens" for value in frame["density"]]
    return np.array(list(zip(frame["feature"], words, density, strict=True)), dtype=object).reshape(-1, 3)
