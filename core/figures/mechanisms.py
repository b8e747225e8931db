"""What heads and MLPs add to the gendered words: a map of layers by heads for each language, and weights' spectra."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.figures.palette import LANGUAGE_NAME, PUOR, dress, look, scale

MLP, INK = "MLP", "#1C1B19"  # the ink of marks on cells, which are light in both themes


def effect_grid(effects: pd.DataFrame, lang: str) -> pd.DataFrame:
    """Heads and MLPs of one language with ``column`` ("0", "1", .., "MLP") and ``name`` ("5.3", "MLP 5")."""
    rows = effects[(effects["lang"] == lang) & effects["part"].isin(("head", "mlp"))].copy()
    is_head = rows["part"] == "head"
    rows["column"] = rows["head"].astype(str).where(is_head, MLP)
    rows["name"] = [part_name(r) for r in rows.to_dict("records")]
    return rows.reset_index(drop=True)


def part_name(row: dict[str, Any]) -> str:
    """ "5.3" is head 3 of layer 5, "MLP 5" the layer's MLP."""
    return f"{row['layer']}.{row['head']}" if row["part"] == "head" else f"MLP {row['layer']}"


def heads_figure(effects: pd.DataFrame, chosen: str = "", dark: bool = False) -> go.Figure:
    """Layers upward, heads to the right, the MLP at the end: colour is the effect, a dot a finding beyond both nulls.

    ``chosen`` names the ringed head. Points carry the part's name.
    """
    inks, langs = look(dark), [lang for lang in LANGUAGE_NAME if lang in set(effects["lang"])]
    fig = make_subplots(
        1,
        max(1, len(langs)),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=[LANGUAGE_NAME[lang] for lang in langs],
    )
    known = effects[effects["part"].isin(("head", "mlp"))]["effect"].abs()
    top = float(known.max()) if known.notna().any() else 1.0
    n_heads = int(effects["head"].max()) + 1 if len(effects) else 0
    dense = n_heads > 12
    for column, lang in enumerate(langs, start=1):
        grid, at = effect_grid(effects, lang), {"row": 1, "col": column}
        wide = grid.pivot(index="layer", columns="column", values="effect")
        order = [str(n) for n in range(n_heads)] + [MLP]
        wide = wide.reindex(columns=order)
        names = grid.pivot(index="layer", columns="column", values="name").reindex(columns=order).to_numpy()
        fig.add_trace(
            go.Heatmap(
                z=wide.to_numpy(),
                x=order,
                y=wide.index,
                zmin=-top,
                zmax=top,
                colorscale=scale(PUOR),
                xgap=2,
                ygap=2,
                showscale=column == len(langs),
                text=names,
                hoverinfo="skip",
                colorbar={
                    "title": {"text": "log-odds", "side": "right"},
                    "thickness": 12,
                    "outlinewidth": 0,
                    "tickfont": {"size": 13, "color": inks.muted},
                },
            ),
            **at,
        )
        cards = grid[["name", "low", "high", "random_low", "random_high", "q", "effect"]].to_numpy()
        found = grid["finding"].astype(bool)
        symbols = np.where(grid["name"] == chosen, "square-open", "circle")
        sizes = np.where(grid["name"] == chosen, 22 if not dense else 12, np.where(found, 7 if not dense else 4, 0.1))
        fig.add_trace(
            go.Scatter(
                x=grid["column"],
                y=grid["layer"],
                mode="markers",
                customdata=cards,
                marker={
                    "size": sizes,
                    "symbol": symbols,
                    "color": INK,
                    "line": {"width": 2.5, "color": INK},
                    "opacity": 1,
                },
                hovertemplate="%{customdata[0]}: %{customdata[6]:+.2f} [%{customdata[1]:.2f}, %{customdata[2]:.2f}]<br>"
                "random words %{customdata[3]:.2f} to %{customdata[4]:.2f}, q = %{customdata[5]:.3f}<extra></extra>",
            ),
            **at,
        )
        fig.update_xaxes(title_text="head", type="category", showgrid=False, **at)
    for trace in fig.data[1::2]:
        trace.marker.line.width = [2.5 if n else 0 for n in (np.asarray(trace.marker.symbol) == "square-open")]
    layers = sorted(set(known.index.map(effects["layer"]))) if len(known) else []
    dress(fig, dark, 120 + (34 if not dense else 16) * max(4, len(layers)), margin=(52, 10, 50, 34))
    fig.update_yaxes(showgrid=False, dtick=1 if len(layers) <= 16 else 4)
    fig.update_yaxes(title_text="layer", col=1)
    fig.update_annotations(font={"size": 14, "color": inks.ink})
    return fig


def layer_shares(effects: pd.DataFrame) -> pd.DataFrame:
    """Sums of effects by language, layer and part."""
    known = effects[effects["part"].isin(("head", "mlp"))].dropna(subset=["effect"])
    return known.groupby(["lang", "layer", "part"], as_index=False, sort=False)["effect"].sum()


def spectrum_curves(spectra: pd.DataFrame, layer: int, head: int) -> pd.DataFrame:
    """Singular values over the largest of OV and QK of one head, and of all others: matrix, number, value, this."""
    rows = [
        {
            "matrix": r["matrix"],
            "layer": r["layer"],
            "head": r["head"],
            "number": n + 1,
            "value": v / r["singular_values"][0],
            "this": (r["layer"], r["head"]) == (layer, head),
        }
        for r in spectra[spectra["matrix"].isin(("OV", "QK"))].to_dict("records")
        for n, v in enumerate(r["singular_values"])
    ]
    return pd.DataFrame(rows, columns=["matrix", "layer", "head", "number", "value", "this"])


def spectrum_figure(curves: pd.DataFrame, dark: bool = False) -> go.Figure:
    """The chosen head's curves over the band of all heads; solid OV (what it moves), dashed QK (what it looks for)."""
    inks, fig = look(dark), go.Figure()
    for matrix, dash in (("OV", "solid"), ("QK", "dash")):
        part = curves[curves["matrix"] == matrix]
        band = part.groupby("number")["value"].agg(["min", "max"])
        if matrix == "OV" and len(band):
            fig.add_trace(
                go.Scatter(
                    x=[*band.index, *band.index[::-1]],
                    y=[*band["max"], *band["min"][::-1]],
                    fill="toself",
                    mode="lines",
                    line={"width": 0},
                    fillcolor="rgba(154,154,154,.3)",
                    name="OV of all heads",
                    hoverinfo="skip",
                )
            )
        mine = part[part["this"]]
        fig.add_trace(
            go.Scatter(
                x=mine["number"],
                y=mine["value"],
                mode="lines",
                name=f"{matrix} of this head",
                line={"color": inks.single, "width": 2, "dash": dash},
                hovertemplate="%{x}: %{y:.2f}<extra>%{fullData.name}</extra>",
            )
        )
    dress(fig, dark, 280, margin=(52, 10, 104, 8))
    fig.update_layout(showlegend=True, legend={"orientation": "h", "x": 0, "y": -0.3, "yanchor": "top"})
    fig.update_xaxes(title_text="singular value, by size", showgrid=False)
    fig.update_yaxes(title_text="of the largest", range=[0, 1.03])
    return fig
