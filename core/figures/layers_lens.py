"""What the logit lens reads: how the log-odds of a woman's word part by the image, and how near the last word is."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from core.figures.palette import GENDER, dress, look

WHO = {"female": "images of women", "neutral": "neutral images", "male": "images of men"}
MARKERS = {"female": "circle", "male": "diamond", "neutral": "square"}


def difference_curves(lens: pd.DataFrame, position: str, lang: str) -> pd.DataFrame:
    """One row a gender of the image and layer: gender, layer, value (log-odds), low, high, n, offset."""
    here = lens[(lens["position"] == position) & (lens["lang"] == lang)]
    parts = [
        pd.DataFrame(
            {
                "gender": gender,
                "layer": here["layer"],
                "value": here[f"difference_{gender}"],
                "low": here[f"difference_{gender}_low"],
                "high": here[f"difference_{gender}_high"],
                "n": here[f"n_{gender}"],
                "offset": here["offset"],
            }
        )
        for gender in WHO
    ]
    return pd.concat(parts, ignore_index=True).dropna(subset=["value"])


def difference_figure(curves: pd.DataFrame, dark: bool = False, height: int = 370) -> go.Figure:
    """Mean log-odds of a word for a woman against one for a man, by layer and by what the image shows."""
    inks = look(dark)
    fig = go.Figure()
    fig.add_hline(y=0, line={"color": inks.muted, "width": 1, "dash": "dot"})
    for gender, name in WHO.items():
        line = curves[curves["gender"] == gender]
        error = {
            "type": "data",
            "symmetric": False,
            "array": line["high"] - line["value"],
            "arrayminus": line["value"] - line["low"],
            "color": GENDER[gender],
            "width": 0,
        }
        fig.add_trace(
            go.Scatter(
                x=line["layer"],
                y=line["value"],
                mode="lines+markers",
                name=name,
                error_y=error,
                line={"color": GENDER[gender], "width": 2},
                marker={"size": 8, "symbol": MARKERS[gender]},
                customdata=line[["low", "high", "n"]],
                hovertemplate="layer %{x}: %{y:+.2f} [%{customdata[0]:+.2f}, %{customdata[1]:+.2f}], "
                "n = %{customdata[2]}<extra>%{fullData.name}</extra>",
            )
        )
    offset = curves.drop_duplicates("layer")
    fig.add_trace(
        go.Scatter(
            x=offset["layer"],
            y=offset["offset"],
            mode="lines",
            name="the average of all, read off",
            line={"color": inks.muted, "width": 1.4, "dash": "dash"},
            hoverinfo="skip",
        )
    )
    dress(fig, dark, height, margin=(58, 10, 84, 12))
    fig.update_layout(showlegend=True, legend={"orientation": "h", "x": 0, "y": -0.24, "yanchor": "top"})
    fig.update_xaxes(tickvals=sorted(set(curves["layer"])), title_text="layer", showgrid=False)
    fig.update_yaxes(title_text="log-odds, women over men", tickformat="+.1~f")
    return fig
