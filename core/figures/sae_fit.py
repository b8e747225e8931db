"""How well SAEs fit: explained variance and loss recovered by layer, kind of position and language, with a control."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.config import LANGUAGE_NAME
from core.figures.marks import Axis, Chart, Legend, Panel, Points, Rule
from core.figures.palette import CONTROL
from core.frames import records

KINDS = {"image": "image", "prompt": "question", "caption": "caption"}
MEASURES = {"explained_variance": "explained variance", "loss_recovered": "loss recovered"}
BOTH = "both"
SYMBOLS = {"en": "circle", "ar": "diamond", BOTH: "square"}
FLOOR = -0.5  # what lies lower is drawn here, with an arrow


def fit_frame(fit: pd.DataFrame) -> pd.DataFrame:
    """One row a layer, kind, language and measure, from sae_fit.parquet: value, low, high, control, n (images).

    Languages apart where there are two; values that could not be taken are left out.
    """
    apart = sorted(set(fit["lang"]) - {BOTH}, key=list(LANGUAGE_NAME).index) or [BOTH]
    found = []
    for row in records(fit[fit["lang"].isin(apart) & fit["kind"].isin(list(KINDS))]):
        for measure in MEASURES:
            if pd.notna(row[measure]):
                n = row["n_images"] if measure == "explained_variance" else row["n_scored_images"]
                found.append(
                    (
                        int(row["layer"]),
                        row["kind"],
                        row["lang"],
                        measure,
                        float(row[measure]),
                        float(row[f"{measure}_low"]),
                        float(row[f"{measure}_high"]),
                        float(row[f"{measure}_random"]),
                        int(n),
                    )
                )
    frame = pd.DataFrame(
        found, columns=["layer", "kind", "lang", "measure", "value", "low", "high", "control", "n_images"]
    )
    order = {kind: n for n, kind in enumerate(KINDS)}
    return frame.sort_values(
        ["layer", "kind", "lang"],
        key=lambda c: c.map(order) if c.name == "kind" else c,
        kind="stable",
        ignore_index=True,
    )


def rows_of(frame: pd.DataFrame) -> dict[tuple[int, str], int]:
    """The rows of the figure by (layer, kind), from the top; between layers one is left empty."""
    rows: dict[tuple[int, str], int] = {}
    for n, layer in enumerate(sorted(set(frame["layer"]))):
        rows |= {(layer, kind): n * (len(KINDS) + 1) + i for i, kind in enumerate(KINDS)}
    return rows


def row_name(layer: int, kind: str) -> str:
    """What stands before a row; the layer stands on its first."""
    return f"layer {layer}: {KINDS[kind]}" if kind == next(iter(KINDS)) else KINDS[kind]


def places(frame: pd.DataFrame, lang: str) -> pd.Series:
    """Heights of a language's marks, those of two languages a little apart."""
    rows, langs = rows_of(frame), sorted(set(frame["lang"]), reverse=True)
    shift = 0.3 * (langs.index(lang) - (len(langs) - 1) / 2) if lang in langs else 0.0
    part = frame[frame["lang"] == lang]
    keys = zip(part["layer"], part["kind"], strict=True)
    return pd.Series([rows[key] + shift for key in keys], index=part.index, dtype=float)


def fit_figure(frame: pd.DataFrame) -> Chart:
    """`fit_frame` as dots with intervals, one panel a measure; grey strokes are the untrained dictionary."""
    rows, langs, panels = rows_of(frame), sorted(set(frame["lang"]), reverse=True), []
    last = max(rows.values(), default=0)
    names = [row_name(*key) for key in rows]
    y_axis = Axis(ticks=list(rows.values()), labels=names, range=(last + 0.6, -0.6), grid=False)
    for column, (measure, title) in enumerate(MEASURES.items(), start=1):
        marks: list[Points | Rule] = [Rule(x=0, dash="dot")]
        for lang in langs:
            part = frame[(frame["measure"] == measure) & (frame["lang"] == lang)]
            y, value = places(frame, lang)[part.index], part["value"].clip(FLOOR)
            marks += [
                Points(
                    part["control"].clip(FLOOR),
                    y,
                    "untrained",
                    CONTROL,
                    "line-ns",
                    11,
                    edge=(2.5, CONTROL),
                    legend=False,
                    data=part["control"],
                    hover="untrained dictionary: %{customdata:.2f}",
                ),
                Points(
                    value,
                    y,
                    LANGUAGE_NAME.get(lang, "all captions"),
                    lang if lang in LANGUAGE_NAME else "single",
                    [SYMBOLS[lang] if v >= FLOOR else "triangle-left" for v in part["value"]],
                    x_ends=(np.minimum(part["low"].clip(FLOOR), value), np.maximum(part["high"].clip(FLOOR), value)),
                    bar=2,
                    legend=column == 1,
                    data=part[["value", "low", "high", "n_images"]],
                    hover="%{customdata[0]:.2f} [%{customdata[1]:.2f}, %{customdata[2]:.2f}], "
                    "n = %{customdata[3]:,} images",
                ),
            ]
        x = Axis(title, range=(min(-0.05, _lowest(frame, measure)) - 0.03, 1.04), n_ticks=6)
        panels.append(Panel(marks, x, y_axis, column=column))
    legend = Legend(1.02) if len(langs) > 1 else None
    height = 96 + 24 * (last + 1)
    return Chart(panels, height, (120, 12, 52, 36), legend, share_y=True, gaps=(0.04, None), inches=7.2)


def _lowest(frame: pd.DataFrame, measure: str) -> float:
    part = frame[frame["measure"] == measure]
    return max(FLOOR, float(part[["low", "control", "value"]].min().min())) if len(part) else 0.0
