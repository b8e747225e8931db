"""The map of a layer's features: neighbours in decoder space lie together (UMAP)."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from core.figures.palette import dress
from core.figures.points import points


def feature_map(
    frame: pd.DataFrame,
    colour: str = "density",
    chosen: int | None = None,
    kept: set[int] | None = None,
    dark: bool = False,
    height: int = 520,
) -> go.Figure:
    """Points at (umap_x, umap_y), one a living feature; `kept` features in colour, the rest faint, `chosen` ringed."""
    fig = points(frame.dropna(subset=["umap_x", "umap_y"]), "umap_x", "umap_y", colour, chosen, kept, dark)
    dress(fig, dark, height, margin=(8, 8, 8, 8))
    fig.update_xaxes(visible=False)
    fig.update_yaxes(visible=False, scaleanchor="x", scaleratio=1)
    return fig
