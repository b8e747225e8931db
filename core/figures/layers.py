"""Where gender appears, layer by layer: probes by place and language, the logit lens below them, and transfer."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.figures.palette import CONTROL, LANGUAGE_NAME, dress, look

PLACES = {
    "image": "at the image",
    "prompt": "just before the caption",
    "before": "before the first gendered word",
    "caption": "over the whole caption",
}
LENS_PLACES = {"prompt": "next word, just before the caption", "word": "next word, where the gender is written"}
MEASURES = {"auc": "AUC", "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy"}
SHORT = {
    "image": "at the image",
    "prompt": "before the caption",
    "before": "before the word",
    "caption": "over the caption*",
}
RANKS = {"en": 1, "ar": 2, "both": 3}  # of the legend
MARKERS = {"en": "circle", "ar": "diamond", "both": "square"}
BOTH = "both"


def probe_curves(probes: pd.DataFrame, measure: str, langs: tuple[str, ...] = ("en", "ar")) -> pd.DataFrame:
    """One row a place, language and layer of probes tested in their own language; "both" where residuals are the same.

    Columns: place, lang, layer, value, low, high, control, control_low, control_high, chance, n, q.
    """
    own = probes[(probes["measure"] == measure) & (probes["lang"] == probes["trained_on"]) & (probes["layer"] >= 0)]
    own = own[own["lang"].isin(langs)].dropna(subset=["value"]).rename(columns={"view": "place", "n_images": "n"})
    own["lang"] = own["lang"].where(~own["shared"].astype(bool), BOTH)
    own = own.drop_duplicates(["place", "lang", "layer"])
    columns = ["place", "lang", "layer", "value", "low", "high", "control", "control_low", "control_high", "chance"]
    return own[[*columns, "n", "q"]].reset_index(drop=True)


def lens_curves(lens: pd.DataFrame, langs: tuple[str, ...] = ("en", "ar")) -> pd.DataFrame:
    """The same columns for the logit lens, whose control are random words: from 1 - r to r, r their 95th percentile."""
    found = lens[lens["lang"].isin(langs)].dropna(subset=["auc"])
    return pd.DataFrame(
        {
            "place": found["position"],
            "lang": found["lang"],
            "layer": found["layer"],
            "value": found["auc"],
            "low": found["low"],
            "high": found["high"],
            "control": found["random"],
            "control_low": 1 - found["random_high"],
            "control_high": found["random_high"],
            "chance": 0.5,
            "n": found["n_female"] + found["n_male"],
            "q": found["q"],
        }
    ).reset_index(drop=True)


def transfer_curves(probes: pd.DataFrame, measure: str) -> pd.DataFrame:
    """One row a place, language tested, language trained on and layer, where the languages differ in residuals."""
    found = probes[(probes["measure"] == measure) & (probes["layer"] >= 0) & ~probes["shared"].astype(bool)]
    found = found.dropna(subset=["value"]).rename(columns={"view": "place", "n_images": "n"})
    return found[["place", "lang", "trained_on", "layer", "value", "low", "high", "n"]].reset_index(drop=True)


def first_layers(emergence: pd.DataFrame, method: str) -> dict[tuple[str, str], int]:
    """Layer by place and language at which gender first appears by a method; places where it does not are left out."""
    found = emergence[(emergence["method"] == method) & (emergence["layer"] >= 0)]
    return {(r["position"], r["lang"]): int(r["layer"]) for r in found.to_dict("records")}


def layers_figure(
    curves: pd.DataFrame,
    lens: pd.DataFrame,
    emergence: pd.DataFrame,
    measure: str,
    pixels: float | None = None,
    dark: bool = False,
) -> go.Figure:
    """Probes above, one panel a place; the logit lens below. Grey: the control; a ring: the first layer that leaves it.

    ``pixels`` is the same measure of a probe on the bare image.
    """
    places = [p for p in PLACES if p in set(curves["place"])]
    below = [p for p in LENS_PLACES if p in set(lens["place"])]
    n = max(1, len(places)) * max(1, len(below))
    spec = {"colspan": n // max(1, len(places))}, {"colspan": n // max(1, len(below))}
    rows = [_spread(spec[0], n, places), _spread(spec[1], n, below)]
    fig = make_subplots(2, n, specs=rows, shared_yaxes=False, vertical_spacing=0.19, horizontal_spacing=0.035)
    layers = sorted(set(curves["layer"]) | set(lens["layer"]))
    for row, (names, titles, frame, method) in enumerate(
        ((places, PLACES, curves, "probe"), (below, LENS_PLACES, lens, "lens")), start=1
    ):
        marks = first_layers(emergence, method)
        for number, place in enumerate(names):
            column = 1 + number * spec[row - 1]["colspan"]
            at = {"row": row, "col": column}
            part = frame[frame["place"] == place]
            _panel(fig, part, {k[1]: v for k, v in marks.items() if k[0] == place}, layers, at, dark)
            _title(fig, (SHORT if row == 1 and len(places) > 2 else titles)[place], at, dark)
            if row == 1 and place == "image" and pixels is not None:
                line = {"color": look(dark).muted, "width": 1, "dash": "dash"}
                fig.add_hline(y=pixels, line=line, **at)
                fig.add_annotation(
                    x=layers[-1],
                    y=pixels,
                    text="without the model: pixels",
                    showarrow=False,
                    xanchor="right",
                    yanchor="bottom",
                    font={"size": 13},
                    **at,
                )
            name = f"probe {MEASURES[measure]}" if row == 1 else "logit lens AUC"
            fig.update_yaxes(title_text=name if not number else None, showticklabels=not number, **at)
    dress(fig, dark, 640, margin=(60, 10, 92, 34))
    fig.update_layout(showlegend=True, legend={"orientation": "h", "x": 0, "y": -0.11, "yanchor": "top"})
    fig.update_yaxes(dtick=0.2, tickformat=".1f")
    for row, frame in enumerate((curves, lens), start=1):
        fig.update_yaxes(range=[_floor(frame), 1.05], row=row)
    pad = 0.07 * max(1, layers[-1] - layers[0]) if layers else 1
    fig.update_xaxes(tickvals=layers, range=[layers[0] - pad, layers[-1] + pad] if layers else None, showgrid=False)
    fig.update_xaxes(title_text="layer", row=2)
    _one_legend(fig)
    return fig


def transfer_figure(curves: pd.DataFrame, measure: str, dark: bool = False) -> go.Figure:
    """One panel a place: full lines are probes tested in the language that trained them, dotted ones in the other."""
    places = [p for p in PLACES if p in set(curves["place"])]
    fig = make_subplots(1, max(1, len(places)), shared_yaxes=True, horizontal_spacing=0.035)
    layers, inks = sorted(set(curves["layer"])), look(dark)
    for number, place in enumerate(places, start=1):
        at = {"row": 1, "col": number}
        for (lang, trained_on), part in curves[curves["place"] == place].groupby(["lang", "trained_on"], sort=False):
            own = lang == trained_on
            name = LANGUAGE_NAME[lang] if own else f"{LANGUAGE_NAME[trained_on]} probe on {LANGUAGE_NAME[lang]}"
            style = {"dash": "solid" if own else "dot", "symbol": MARKERS[lang] + ("" if own else "-open")}
            _line(
                fig,
                part,
                inks.languages[lang],
                name,
                style,
                at,
                _shift(lang, layers, 1 if own else 2),
                RANKS[lang] + (0 if own else 2),
            )
        fig.add_hline(y=0.5, line={"color": inks.muted, "width": 1, "dash": "dot"}, **at)
        _title(fig, PLACES[place], at, dark)
    dress(fig, dark, 390, margin=(60, 10, 84, 34))
    fig.update_layout(showlegend=True, legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top"})
    fig.update_yaxes(range=[_floor(curves), 1.05], dtick=0.2, tickformat=".1f")
    fig.update_yaxes(title_text=f"probe {MEASURES[measure]}", col=1)
    fig.update_xaxes(tickvals=layers, title_text="layer", showgrid=False)
    _one_legend(fig)
    return fig


def _spread(spec: dict[str, int], n: int, names: list[str]) -> list[dict[str, int] | None]:
    return [spec if i % spec["colspan"] == 0 and i // spec["colspan"] < max(1, len(names)) else None for i in range(n)]


def _panel(
    fig: go.Figure, part: pd.DataFrame, marks: dict[str, int], layers: list[int], at: dict[str, int], dark: bool
) -> None:
    inks = look(dark)
    band = part.groupby("layer").agg(low=("control_low", "min"), high=("control_high", "max")).reset_index()
    x = [*band["layer"], *band["layer"][::-1]]
    area = {"fill": "toself", "fillcolor": CONTROL, "opacity": 0.28, "mode": "lines", "line": {"width": 0}}
    fig.add_trace(
        go.Scatter(x=x, y=[*band["high"], *band["low"][::-1]], name="control", legendrank=5, hoverinfo="skip", **area),
        **at,
    )
    fig.add_hline(y=float(part["chance"].max()), line={"color": inks.muted, "width": 1, "dash": "dot"}, **at)
    for lang, line in part.groupby("lang", sort=False):
        colour = inks.languages.get(str(lang), inks.single)
        name = LANGUAGE_NAME.get(str(lang), "both languages (the image comes before the question)")
        shift = _shift(str(lang), layers)
        style = {"dash": "solid", "symbol": MARKERS[str(lang)]}
        _line(fig, line, colour, name, style, at, shift, RANKS[str(lang)])
        first = marks.get(str(lang), marks.get("en") if lang == BOTH else None)
        here = line[line["layer"] == first]
        ring = {"size": 17, "symbol": "circle-open", "color": inks.ink, "line": {"width": 1.6}}
        fig.add_trace(
            go.Scatter(
                x=here["layer"] + shift,
                y=here["value"],
                mode="markers",
                marker=ring,
                name="first layer that leaves the control",
                legendrank=4,
                cliponaxis=False,
                hoverinfo="skip",
            ),
            **at,
        )


def _line(
    fig: go.Figure,
    line: pd.DataFrame,
    colour: str,
    name: str,
    style: dict[str, Any],
    at: dict[str, int],
    shift: float,
    rank: int,
) -> None:
    error = {
        "type": "data",
        "symmetric": False,
        "array": line["high"] - line["value"],
        "arrayminus": line["value"] - line["low"],
        "color": colour,
        "thickness": 1.4,
        "width": 0,
    }
    cards = line[["layer", "low", "high", "n"]].to_numpy()
    fig.add_trace(
        go.Scatter(
            x=line["layer"] + shift,
            y=line["value"],
            mode="lines+markers",
            name=name,
            customdata=cards,
            error_y=error,
            legendrank=rank,
            cliponaxis=False,
            line={"color": colour, "width": 2, "dash": style["dash"]},
            marker={"size": 8, "symbol": style["symbol"]},
            hovertemplate="layer %{customdata[0]}: %{y:.3f} [%{customdata[1]:.3f}, %{customdata[2]:.3f}], "
            "n = %{customdata[3]} images<extra>%{fullData.name}</extra>",
        ),
        **at,
    )


def _shift(lang: str, layers: list[int], step: int = 1) -> float:
    """A little to the left or right, so that intervals of two languages stand beside each other."""
    span = (layers[-1] - layers[0]) if len(layers) > 1 else 1
    return {"en": -0.012, "ar": 0.012}.get(lang, 0.0) * span * step


def _title(fig: go.Figure, title: str, at: dict[str, int], dark: bool) -> None:
    axis = fig.get_subplot(**at)
    ref = axis.xaxis.plotly_name.replace("axis", ""), axis.yaxis.plotly_name.replace("axis", "")
    fig.add_annotation(
        x=0,
        y=1.02,
        xref=f"{ref[0]} domain",
        yref=f"{ref[1]} domain",
        text=title,
        showarrow=False,
        xanchor="left",
        yanchor="bottom",
        font={"size": 14, "color": look(dark).ink},
    )


def _floor(frame: pd.DataFrame) -> float:
    return max(0.0, min(0.4, float(frame["low"].min()) - 0.03)) if len(frame) else 0.4


def _one_legend(fig: go.Figure) -> None:
    seen: set[str] = set()
    for trace in fig.data:
        trace.legendgroup, trace.showlegend = trace.name, trace.name not in seen
        seen.add(trace.name)
