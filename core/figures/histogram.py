"""How strongly a feature fires: its histogram on a logarithmic count, with the 99.9th percentile marked."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from core.figures.palette import STEERED, dress, look


def histogram_frame(counts: Sequence[int], top: float) -> pd.DataFrame:
    """One row a bin (low, high, count) from counts in equal bins between 0 and `top` (activation units)."""
    n = len(counts)
    edges = [top * i / n for i in range(n + 1)] if n else [0.0]
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": [int(c) for c in counts]})


def activation_histogram(frame: pd.DataFrame, p999: float, dark: bool = False, height: int = 230) -> go.Figure:
    """Bars of `histogram_frame` on a log count axis, with a dashed line at `p999` (activation units)."""
    inks = look(dark)
    seen = frame[frame["count"] > 0]
    fig = go.Figure(
        go.Bar(
            x=(seen["low"] + seen["high"]) / 2,
            y=seen["count"],
            width=seen["high"] - seen["low"],
            marker={"color": inks.single, "line": {"width": 0.5, "color": inks.ground}},
            customdata=seen[["low", "high"]],
            hovertemplate="%{y:,} tokens fire between %{customdata[0]:.3g} and %{customdata[1]:.3g}<extra></extra>",
        )
    )
    dress(fig, dark, height, margin=(52, 10, 44, 26))
    fig.update_yaxes(type="log", title_text="tokens", dtick=1, rangemode="tozero", exponentformat="none")
    top = float(frame["high"].max()) if len(frame) else 1.0
    fig.update_xaxes(title_text="activation", showgrid=False, range=[0, top])
    if p999 > 0:
        fig.add_vline(x=p999, line={"color": STEERED, "width": 2, "dash": "dash"})
        fig.add_annotation(
            x=p999,
            y=1,
            yref="paper",
            text="p99.9",
            showarrow=False,
            xanchor="right",
            xshift=8,
            yanchor="bottom",
            font={"size": 13, "color": inks.muted},
        )
    return fig
