"""How well SAEs fit: explained variance and loss recovered by layer, kind of position and language, with a control."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.figures.palette import CONTROL, LANGUAGE_NAME, dress, look

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
    for row in fit[fit["lang"].isin(apart) & fit["kind"].isin(list(KINDS))].to_dict("records"):
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


def fit_figure(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """`fit_frame` as dots with intervals, one panel a measure; grey strokes are the untrained dictionary."""
    inks, rows = look(dark), rows_of(frame)
    fig = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.04)
    for column, (measure, title) in enumerate(MEASURES.items(), start=1):
        at = {"row": 1, "col": column}
        for lang in sorted(set(frame["lang"]), reverse=True):
            part = frame[(frame["measure"] == measure) & (frame["lang"] == lang)]
            y, colour = places(frame, lang)[part.index], inks.languages.get(lang, inks.single)
            fig.add_scatter(
                x=part["control"].clip(FLOOR),
                y=y,
                mode="markers",
                name="untrained",
                showlegend=False,
                marker={"symbol": "line-ns", "size": 11, "line": {"width": 2.5, "color": CONTROL}},
                customdata=part["control"],
                hovertemplate="untrained dictionary: %{customdata:.2f}<extra></extra>",
                **at,
            )
            shown = part["value"].clip(FLOOR)
            symbols = [SYMBOLS[lang] if v >= FLOOR else "triangle-left" for v in part["value"]]
            fig.add_scatter(
                x=shown,
                y=y,
                mode="markers",
                name=LANGUAGE_NAME.get(lang, "all captions"),
                showlegend=column == 1,
                marker={"symbol": symbols, "size": 9, "color": colour},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": (part["high"].clip(FLOOR) - shown).clip(0),
                    "arrayminus": (shown - part["low"].clip(FLOOR)).clip(0),
                    "thickness": 2,
                    "width": 0,
                    "color": colour,
                },
                customdata=part[["value", "low", "high", "n_images"]],
                hovertemplate="%{customdata[0]:.2f} [%{customdata[1]:.2f}, %{customdata[2]:.2f}], "
                "n = %{customdata[3]:,} images<extra></extra>",
                **at,
            )
        fig.update_xaxes(title_text=title, range=[min(-0.05, _lowest(frame, measure)) - 0.03, 1.04], nticks=6, **at)
        fig.add_vline(x=0, line={"color": inks.muted, "width": 1, "dash": "dot"}, **at)
    dress(fig, dark, 96 + 24 * (max(rows.values(), default=0) + 1), margin=(120, 12, 52, 36))
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    fig.update_layout(showlegend=frame["lang"].nunique() > 1, legend=legend)
    fig.update_yaxes(
        tickvals=list(rows.values()),
        ticktext=[row_name(*key) for key in rows],
        showgrid=False,
        range=[max(rows.values(), default=0) + 0.6, -0.6],
    )
    return fig


def _lowest(frame: pd.DataFrame, measure: str) -> float:
    part = frame[frame["measure"] == measure]
    return max(FLOOR, float(part[["low", "control", "value"]].min().min())) if len(part) else 0.0
