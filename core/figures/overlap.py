"""How many of the k features that tell gender best are the same in both languages, along k."""

from __future__ import annotations

import pandas as pd

from core.figures.marks import Axis, Band, Chart, Legend, Mark, Panel, Points, Rule, line
from core.figures.palette import CONTROL


def overlap_figure(rows: pd.DataFrame, k: int) -> Chart:
    """Share of k along k; grey: shuffled labels, dotted: what one language shares with itself."""
    rows = rows.sort_values("k")
    marks: list[Mark] = [
        Band(rows["k"], rows["floor"] * 0, rows["floor_high"], CONTROL, 0.35, name="labels shuffled", rank=3),
        line(rows["k"], rows["ceiling"], "muted", "one language with itself", "dot", 2),
        Rule(x=k, dash="dash"),
        Points(
            rows["k"],
            rows["value"],
            "English and Arabic",
            "single",
            "square",
            9,
            dash="solid",
            y_ends=(rows["low"], rows["high"]),
            rank=1,
            clip=False,
            data=rows[["low", "high", "ratio"]].to_numpy(),
            hover="k = %{x}: %{y:.0%} [%{customdata[0]:.0%}, %{customdata[1]:.0%}], over the ceiling "
            "%{customdata[2]:.2f}<extra></extra>",
        ),
    ]
    ticks = [t for t in (1, 2, 5, 10, 25, 50, 100, 200) if len(rows) and t <= rows["k"].max()]
    x = Axis("k, features of each language", ticks=ticks, labels=map(str, ticks), log=True)
    y = Axis("share in common", range=(0, 1.05), step=0.25, format=".0%")
    return Chart([Panel(marks, x, y)], 360, (58, 14, 92, 12), Legend(-0.3))
