"""Where a feature fires (image, question, English and Arabic caption), and how the two languages compare."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from core.figures.palette import dress, look
from core.figures.points import points

KINDS = {
    "density_image": "image patches",
    "density_prompt": "question words",
    "density_caption_en": "English captions",
    "density_caption_ar": "Arabic captions",
}


def language_lean(density_en: pd.Series, density_ar: pd.Series) -> pd.Series:
    """(ar - en) / (ar + en): -1 fires on English captions only, +1 on Arabic only, missing where on neither."""
    total = density_en + density_ar
    return ((density_ar - density_en) / total.where(total > 0)).astype(float)


def densities_frame(feature: Mapping[str, object]) -> pd.DataFrame:
    """One row a kind of position that the run has (kind, where, density as a share of that kind's tokens), read from a
    feature's row."""
    rows = [(kind, name, float(feature[kind])) for kind, name in KINDS.items() if pd.notna(feature.get(kind))]  # type: ignore[arg-type]
    return pd.DataFrame(rows, columns=["kind", "where", "density"])


def density_bars(frame: pd.DataFrame, dark: bool = False, row_height: int = 34) -> go.Figure:
    """Bars of `densities_frame`: the share of each kind of token on which the feature fires."""
    inks = look(dark)
    colours = {"density_caption_en": inks.languages["en"], "density_caption_ar": inks.languages["ar"]}
    fig = go.Figure(
        go.Bar(
            x=frame["density"],
            y=frame["where"],
            orientation="h",
            marker={"color": [colours.get(kind, inks.single) for kind in frame["kind"]]},
            text=[percent(value) for value in frame["density"]],
            textposition="outside",
            cliponaxis=False,
            textfont={"size": 14, "color": inks.ink},
            hovertemplate="fires on %{text} of the tokens of %{y}<extra></extra>",
        )
    )
    dress(fig, dark, 58 + row_height * max(len(frame), 1), margin=(8, 58, 44, 6))
    top = float(frame["density"].max()) if len(frame) else 0.0
    fig.update_xaxes(
        title_text="share of tokens", tickformat=".2~%", range=[0, top * 1.05 or 1.0], nticks=5, tickangle=0
    )
    fig.update_yaxes(autorange="reversed", showgrid=False, tickfont={"size": 14, "color": inks.ink})
    return fig


def language_scatter(
    frame: pd.DataFrame, chosen: int | None = None, kept: set[int] | None = None, dark: bool = False, height: int = 520
) -> go.Figure:
    """Every feature by its density on English (x) and on Arabic (y) captions, logarithmic, with the line of equality.

    A feature that never fires in one language sits on that axis's lower border, drawn as an open mark.
    """
    both = frame[(frame["density_caption_en"] > 0) | (frame["density_caption_ar"] > 0)].copy()
    seen = pd.concat([both["density_caption_en"], both["density_caption_ar"]])
    floor = float(seen[seen > 0].min()) / 2 if (seen > 0).any() else 1e-6
    both["x"] = both["density_caption_en"].clip(lower=floor)
    both["y"] = both["density_caption_ar"].clip(lower=floor)
    both["open"] = (both["density_caption_en"] <= 0) | (both["density_caption_ar"] <= 0)
    fig = points(both, "x", "y", "lean", chosen, kept, dark)
    top = max(float(both[["x", "y"]].to_numpy().max()) if len(both) else 1.0, floor * 10)
    fig.add_shape(
        type="line",
        x0=floor,
        y0=floor,
        x1=top,
        y1=top,
        layer="below",
        line={"color": look(dark).muted, "width": 1, "dash": "dot"},
    )
    dress(fig, dark, height, margin=(60, 12, 52, 12))
    span = [float(np.log10(floor * 0.8)), float(np.log10(top * 1.3))]
    fig.update_xaxes(type="log", title_text="share of English caption tokens", range=span, tickformat=".1~%", dtick=1)
    fig.update_yaxes(type="log", title_text="share of Arabic caption tokens", range=span, tickformat=".1~%", dtick=1)
    return fig


def percent(share: float) -> str:
    """A share in words that its size supports: "0", "0.03 %", "1.2 %", "34 %"."""
    if not share or np.isnan(share):
        return "0"
    value = share * 100
    if value < 0.01:
        return "<0.01 %"
    return f"{value:.0f} %" if value >= 10 else f"{value:.2g} %"
