"""English and Arabic compared: every measure between its floor and its ceiling, by layer, and classes of features."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.figures.palette import CONTROL, LANGUAGE_NAME, Look, dress, look

PANELS = {
    "cka": "Same geometry (CKA)",
    "shared_variance": "Variance in the other’s directions",
    "predicted_variance": "Predicted from the other",
    "direction_cosine": "Gender directions (cosine)",
    "direction_auc": "Gender read across (AUC)",
    "clbas": "Gender features agree (CLBAS)",
}
"""measure -> title of its panel, in reading order"""
CLASSES = {
    "english": "English only",
    "leaning english": "more in English",
    "shared": "shared",
    "leaning arabic": "more in Arabic",
    "arabic": "Arabic only",
    "unclear": "unclear",
    "not enough data": "too rare to say",
}
SCORES = {
    "matched_share": "features with a partner that holds",
    "matched_correlation": "correlation of partners",
    "matched_cosine": "cosine of partners’ directions",
}
BY = {"activation": "matched by what they fire on", "decoder": "matched by their direction"}
METHODS = {"mutual": "each other’s best", "assignment": "all, one to one"}
SHARING = {
    "shared": "in both languages",
    "english": "in English only",
    "arabic": "in Arabic only",
    "opposed": "the other way round",
    "unclear": "unclear",
}
MARKS = {"shared": "circle", "english": "square", "arabic": "diamond", "opposed": "x", "unclear": "circle-open"}
DASHES = {"": "solid", "en": "solid", "ar": "dash"}
BELOW = {
    "orientation": "h",
    "x": 0,
    "xref": "container",
    "y": 0,
    "yref": "container",
    "yanchor": "bottom",
    "traceorder": "normal",
}
COLUMNS = ["measure", "lang", "layer", "value", "low", "high", "floor_low", "floor_high", "ceiling", "n", "unit"]


def curves(alignment: pd.DataFrame, directions: pd.DataFrame, clbas: pd.DataFrame, view: str) -> pd.DataFrame:
    """One row a measure of PANELS, language ("" where it has none) and layer, for one view; COLUMNS.

    ``clbas`` has one row a case; its shuffled labels are the floor, the same language twice the ceiling.
    """
    parts = []
    for frame in (alignment, directions):
        one = frame[(frame["view"] == view) & frame["measure"].isin(list(PANELS))].copy()
        one = one[(one["measure"] != "direction_auc") | (one["lang"] != one["other"])]
        one.loc[one["measure"].isin(["cka", "direction_cosine"]), "lang"] = ""
        parts.append(one)
    cases = clbas[(clbas["view"] == view) & (clbas["score"] == "clbas") & (clbas["dictionary"] == "shared")]
    if len(cases):
        wide = cases.pivot(index="layer", columns="case", values=["value", "low", "high"])
        measured, floor = "measured", "labels shuffled"
        parts.append(
            pd.DataFrame(
                {
                    "measure": "clbas",
                    "lang": "",
                    "layer": wide.index,
                    "value": wide["value", measured],
                    "low": wide["low", measured],
                    "high": wide["high", measured],
                    "floor_low": wide["low", floor],
                    "floor_high": wide["high", floor],
                    "ceiling": wide["value", "same language twice"],
                    "n": cases.groupby("layer")[["n_female", "n_male"]].first().sum(axis=1).reindex(wide.index),
                    "unit": "held-out images",
                }
            )
        )
    joined = pd.concat(parts, ignore_index=True).reindex(columns=[*COLUMNS, "floor"])
    for name in ("floor_low", "floor_high"):
        joined[name] = joined[name].astype(float).fillna(joined["floor"].astype(float))
    numeric = [name for name in COLUMNS if name not in ("measure", "lang", "unit")]
    joined[numeric] = joined[numeric].apply(pd.to_numeric)
    return joined[COLUMNS].sort_values(["measure", "lang", "layer"], ignore_index=True)


def curves_figure(frame: pd.DataFrame, layer: int | None = None, dark: bool = False, height: int = 560) -> go.Figure:
    """Six panels of `curves`; grey: the floor; dashed: the ceiling; a line marks the chosen layer."""
    inks, layers = look(dark), sorted(frame["layer"].unique())
    fig = make_subplots(2, 3, subplot_titles=list(PANELS.values()), vertical_spacing=0.17, horizontal_spacing=0.06)
    for number, measure in enumerate(PANELS):
        at = {"row": number // 3 + 1, "col": number % 3 + 1}
        part = frame[(frame["measure"] == measure) & frame["value"].notna()]
        for lang, line in part.groupby("lang", sort=False):
            _floor(fig, line, at)
            colour = inks.languages.get(str(lang), inks.single)
            fig.add_trace(
                go.Scatter(
                    x=line["layer"],
                    y=line["ceiling"],
                    mode="lines",
                    hoverinfo="skip",
                    line={"color": colour, "width": 1, "dash": "dot"},
                ),
                **at,
            )
            fig.add_trace(_line(line, str(lang), colour), **at)
        if layer is not None and len(part):
            fig.add_vline(x=layer, line={"color": inks.rule, "width": 1}, layer="below", **at)
    dress(fig, dark, height, margin=(44, 10, 40, 34))
    fig.update_annotations(font={"size": 14, "color": inks.ink}, xanchor="center")
    fig.update_xaxes(tickvals=layers, showgrid=False)
    fig.update_xaxes(title_text="layer", row=2)
    fig.update_yaxes(range=[-0.05, 1.05], dtick=0.5)
    return fig


def _line(line: pd.DataFrame, lang: str, colour: str) -> go.Scatter:
    error = {
        "type": "data",
        "symmetric": False,
        "array": line["high"] - line["value"],
        "arrayminus": line["value"] - line["low"],
        "color": colour,
        "thickness": 1.4,
        "width": 0,
    }
    return go.Scatter(
        x=line["layer"],
        y=line["value"],
        mode="lines+markers",
        error_y=error,
        name=LANGUAGE_NAME.get(lang, "both"),
        line={"color": colour, "width": 2, "dash": DASHES[lang]},
        marker={"size": 8, "symbol": "diamond" if lang == "ar" else "circle"},
        customdata=line[["low", "high", "floor_high", "ceiling", "n", "unit"]],
        hovertemplate="layer %{x}: %{y:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}]<br>chance up to "
        "%{customdata[2]:.2f}, ceiling %{customdata[3]:.2f}<br>n = %{customdata[4]} %{customdata[5]}"
        "<extra>%{fullData.name}</extra>",
    )


def _floor(fig: go.Figure, line: pd.DataFrame, at: dict[str, int]) -> None:
    x = [*line["layer"], *line["layer"][::-1]]
    fig.add_trace(
        go.Scatter(
            x=x,
            y=[*line["floor_high"], *line["floor_low"][::-1]],
            fill="toself",
            mode="lines",
            fillcolor=CONTROL,
            opacity=0.3,
            line={"width": 1, "color": CONTROL},
            hoverinfo="skip",
        ),
        **at,
    )


def class_colours(inks: Look) -> dict[str, str]:
    """One colour a class: the languages' own, the palette's neutral for what is shared."""
    en, ar = inks.languages["en"], inks.languages["ar"]
    return {
        "english": en,
        "leaning english": en,
        "shared": inks.single,
        "leaning arabic": ar,
        "arabic": ar,
        "unclear": CONTROL,
        "not enough data": inks.rule,
    }


def classes_figure(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Stacked bars of language_classes, one a layer; the leaning ones paler."""
    inks = look(dark)
    colours, layers = class_colours(inks), sorted(frame["layer"].unique())
    fig = go.Figure()
    for kind, name in CLASSES.items():
        part = frame[frame["language_class"] == kind].set_index("layer").reindex(layers)
        chance = ["" if pd.isna(c) else f"; by chance {c:.1f}" for c in part["chance"]]
        fig.add_trace(
            go.Bar(
                y=[f"layer {layer}" for layer in layers],
                x=part["n"],
                orientation="h",
                name=name,
                marker={"color": colours[kind], "opacity": 0.55 if "leaning" in kind else 1},  # the number stays dark
                text=part["n"],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                textfont={"size": 13} | ({"color": inks.ink} if "leaning" in kind else {}),
                customdata=chance,
                hovertemplate=f"%{{x:,}} {name}%{{customdata}}<extra>%{{y}}</extra>",
            )
        )
    dress(fig, dark, 110 + 38 * len(layers), margin=(70, 10, 78, 6))
    fig.update_layout(barmode="stack", showlegend=True, bargap=0.25, legend=BELOW)
    fig.update_xaxes(title_text="features", showgrid=False)
    fig.update_yaxes(autorange="reversed", showgrid=False)
    return fig


def matches_frame(alignment: pd.DataFrame, layer: int) -> pd.DataFrame:
    """One row a score of dictionaries trained apart, named in words, in reading order."""
    part = alignment[(alignment["layer"] == layer) & alignment["measure"].isin(list(SCORES))].copy()
    part["name"] = [
        f"{SCORES[m]}<br>{BY[b]}; {METHODS[k]}"
        for m, b, k in zip(part["measure"], part["matched_by"], part["method"], strict=True)
    ]
    numeric = ["value", "low", "high", "floor", "floor_low", "floor_high", "ceiling", "ceiling_low", "ceiling_high"]
    part[numeric] = part[numeric].apply(pd.to_numeric)
    order = part["measure"].map(list(SCORES).index)
    return part.assign(order=order).sort_values(["order", "matched_by", "method"], ignore_index=True)


def matches_figure(frame: pd.DataFrame, dark: bool = False) -> go.Figure:
    """A row a score: chance (grey), what was measured with its interval, and the ceiling (open mark)."""
    inks = look(dark)
    fig = go.Figure()
    for row in frame.to_dict("records"):
        fig.add_trace(
            go.Scatter(
                x=[row["floor"], row["ceiling"]],
                y=[row["name"]] * 2,
                mode="lines",
                hoverinfo="skip",
                line={"color": inks.rule, "width": 3},
            )
        )
    for title, column, style in (
        ("pairs shuffled", "floor", {"color": CONTROL, "symbol": "line-ns-open", "size": 15, "line": {"width": 3}}),
        ("same language, another seed", "ceiling", {"color": inks.ink, "symbol": "circle-open", "size": 11}),
        ("English and Arabic", "value", {"color": inks.single, "symbol": "circle", "size": 11}),
    ):
        low = {"value": "low"}.get(column, f"{column}_low")
        high = {"value": "high"}.get(column, f"{column}_high")
        error = {
            "type": "data",
            "symmetric": False,
            "array": frame[high] - frame[column],
            "color": style["color"],
            "arrayminus": frame[column] - frame[low],
            "thickness": 1.6,
            "width": 0,
        }
        fig.add_trace(
            go.Scatter(
                x=frame[column],
                y=frame["name"],
                mode="markers",
                name=title,
                marker=style,
                error_x=error,
                customdata=frame[[low, high, "n"]],
                hovertemplate="%{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}], n = %{customdata[2]}"
                "<extra>%{fullData.name}</extra>",
            )
        )
    dress(fig, dark, 90 + 46 * max(1, len(frame)), margin=(10, 10, 70, 6))
    for trace in fig.data:
        trace.showlegend = trace.mode == "markers"
    fig.update_layout(showlegend=True, legend=BELOW)
    fig.update_yaxes(autorange="reversed", showgrid=False, tickfont={"size": 13})
    fig.update_xaxes(range=[-0.08, 1.02], dtick=0.25)
    return fig


def sharing_figure(frame: pd.DataFrame, dark: bool = False, height: int = 440) -> go.Figure:
    """Gender features by their held-out effect in English (x) and in Arabic (y), in standard deviations."""
    inks = look(dark)
    colours = {"shared": inks.ink, "english": inks.languages["en"], "arabic": inks.languages["ar"]}
    fig = go.Figure()
    for kind, name in SHARING.items():
        part = frame[frame["sharing"] == kind]
        if part.empty:
            continue
        colour = colours.get(kind, CONTROL)
        errors = {f"error_{axis}": _error(part, lang, colour) for axis, lang in (("x", "en"), ("y", "ar"))}
        fig.add_trace(
            go.Scatter(
                x=part["effect_en"],
                y=part["effect_ar"],
                mode="markers",
                name=name,
                customdata=part[["feature"]],
                marker={"size": 9, "color": colour, "symbol": MARKS[kind]},
                **errors,
                hovertemplate="feature %{customdata[0]}: English %{x:+.2f}, Arabic %{y:+.2f}"
                "<extra>%{fullData.name}</extra>",
            )
        )
    reach = 1.08 * max(1.0, float(frame[["effect_en", "effect_ar"]].abs().to_numpy().max(initial=0)))
    fig.add_shape(
        type="line",
        x0=-reach,
        y0=-reach,
        x1=reach,
        y1=reach,
        layer="below",
        line={"color": inks.muted, "width": 1, "dash": "dot"},
    )
    dress(fig, dark, height, margin=(56, 10, 92, 10))
    fig.update_layout(showlegend=True, legend=BELOW)
    titles = {lang: f"in {LANGUAGE_NAME[lang]}: men ← effect → women" for lang in ("en", "ar")}
    fig.update_xaxes(title_text=titles["en"], range=[-reach, reach], zeroline=True, zerolinecolor=inks.muted)
    fig.update_yaxes(title_text=titles["ar"], range=[-reach, reach], zeroline=True, zerolinecolor=inks.muted)
    return fig


def _error(part: pd.DataFrame, lang: str, colour: str) -> dict[str, object]:
    value = part[f"effect_{lang}"]
    return {
        "type": "data",
        "symmetric": False,
        "array": part[f"high_{lang}"] - value,
        "color": colour,
        "arrayminus": value - part[f"low_{lang}"],
        "thickness": 0.6,
        "width": 0,
    }


def grammar_figure(frame: pd.DataFrame, dark: bool = False, height: int = 400) -> go.Figure:
    """Features by how well they tell feminine from masculine words for things (x) and women from men (y), both AUC."""
    inks = look(dark)
    part = frame[frame["follows"] != "not enough data"]
    fig = go.Figure()
    for kinds, name, colour, symbol in (
        (["neither"], "neither beyond chance", CONTROL, "circle"),
        (["person"], "follow the person", inks.single, "circle"),
        (["word", "both"], "follow the word", inks.languages["ar"], "diamond"),
    ):
        some = part[part["follows"].isin(kinds)]
        fig.add_trace(
            go.Scatter(
                x=some["auc_word_ar"],
                y=some["auc_person"],
                mode="markers",
                name=f"{name} ({len(some):,})",
                customdata=some[["feature"]],
                marker={"size": 6, "color": colour, "symbol": symbol, "opacity": 0.7},
                hovertemplate="feature %{customdata[0]}: words %{x:.2f}, persons %{y:.2f}<extra></extra>",
            )
        )
    for axis in ("x", "y"):
        getattr(fig, f"add_{'v' if axis == 'x' else 'h'}line")(
            0.5, line={"color": inks.muted, "width": 1, "dash": "dot"}
        )
    dress(fig, dark, height, margin=(56, 10, 92, 10))
    fig.update_layout(showlegend=True, legend=BELOW)
    fig.update_xaxes(title_text="feminine over masculine words for things (AUC)", range=[-0.03, 1.03], dtick=0.25)
    fig.update_yaxes(title_text="women over men (AUC)", range=[-0.03, 1.03], dtick=0.25)
    return fig
