"""English and Arabic compared: every measure between its floor and its ceiling, by layer, and classes of features."""

from __future__ import annotations

from typing import Any

import pandas as pd

from core.config import LANGUAGE_NAME
from core.figures.marks import Axis, Band, Bars, Chart, Legend, Mark, Panel, Points, Rule, line
from core.figures.palette import CONTROL
from core.frames import records
from core.intervals import told

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
    "english": "keeps to English",
    "arabic": "keeps to Arabic",
    "opposed": "the other way round",
    "unclear": "cannot be told",
}
MARKS = {"shared": "circle", "english": "square", "arabic": "diamond", "opposed": "x", "unclear": "circle-open"}
DASHES = {"": "solid", "en": "solid", "ar": "dash"}
CLASS_COLOURS = {
    "english": "en",
    "leaning english": "en",
    "shared": "single",
    "leaning arabic": "ar",
    "arabic": "ar",
    "unclear": CONTROL,
    "not enough data": "rule",
}
ENDS = ["value", "low", "high"]
RATIO = ["ratio", "ratio_low", "ratio_high"]
COLUMNS = [
    "measure",
    "lang",
    "layer",
    "value",
    "low",
    "high",
    "floor_low",
    "floor_high",
    "ceiling",
    *RATIO,
    "n",
    "unit",
]


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
        wide = cases.pivot(index="layer", columns="case", values=ENDS)
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
                    **{name: wide[of, "over its ceiling"] for name, of in zip(RATIO, ENDS, strict=True)},
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


def curves_figure(frame: pd.DataFrame, layer: int | None = None) -> Chart:
    """Six panels of `curves`; grey: the floor; dotted: the ceiling; a line marks the chosen layer."""
    layers, panels = sorted(frame["layer"].unique()), []
    for number, (measure, title) in enumerate(PANELS.items()):
        part = frame[(frame["measure"] == measure) & frame["value"].notna()]
        marks: list[Mark] = []
        for key, own in part.groupby("lang", sort=False):
            lang = str(key)
            colour = lang or "single"
            ceiling = line(own["layer"], own["ceiling"], colour, dash="dot")
            floor = Band(own["layer"], own["floor_low"], own["floor_high"], CONTROL, edge=1)
            marks += [floor, ceiling, _measured(own, lang, colour)]
        if layer is not None and len(part):
            marks.append(Rule(x=layer, colour="rule", below=True))
        row, column = number // 3 + 1, number % 3 + 1
        x = Axis("layer" if row == 2 else "", ticks=layers, grid=False)
        panels.append(Panel(marks, x, Axis(range=(-0.05, 1.05), step=0.5), title, row, column))
    legend = Legend(printed=True)
    return Chart(panels, 560, (44, 10, 40, 34), legend, gaps=(0.06, 0.17), titles=(14, "center"), inches=7.2)


def _measured(part: pd.DataFrame, lang: str, colour: str) -> Points:
    return Points(
        part["layer"],
        part["value"],
        LANGUAGE_NAME.get(lang, "both"),
        colour,
        "diamond" if lang == "ar" else "circle",
        8,
        dash=DASHES[lang],
        y_ends=(part["low"], part["high"]),
        data=part[["low", "high", "floor_high", "ceiling", "n", "unit"]].assign(over=[_over(r) for r in records(part)]),
        hover="layer %{x}: %{y:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}]<br>chance up to "
        "%{customdata[2]:.2f}, ceiling %{customdata[3]:.2f}%{customdata[6]}<br>n = %{customdata[4]} %{customdata[5]}"
        "<extra>%{fullData.name}</extra>",
    )


def _over(row: dict[str, Any]) -> str:
    """The value over its ceiling, or nothing where that is not known."""
    if pd.isna(row["ratio"]):
        return ""
    return f"<br>over its ceiling {told(row['ratio'], row['ratio_low'], row['ratio_high'])}"


def classes_figure(frame: pd.DataFrame) -> Chart:
    """Stacked bars of language_classes, one a layer; the leaning ones paler."""
    layers, marks = sorted(frame["layer"].unique()), []
    for kind, name in CLASSES.items():
        part = frame[frame["language_class"] == kind].set_index("layer").reindex(layers)
        leaning = "leaning" in kind
        marks.append(
            Bars(
                [f"layer {layer}" for layer in layers],
                part["n"],
                name=name,
                colour=CLASS_COLOURS[kind],
                opacity=0.55 if leaning else None,
                text=part["n"],
                text_ink="ink" if leaning else "",  # dark on what is pale
                inside=True,
                data=["" if pd.isna(c) else f"; by chance {c:.1f}" for c in part["chance"]],
                hover=f"%{{x:,}} {name}%{{customdata}}<extra>%{{y}}</extra>",
            )
        )
    panel = Panel(marks, Axis("features", grid=False), Axis(turned=True, grid=False))
    return Chart([panel], 110 + 38 * len(layers), (70, 10, 78, 6), Legend(), bars="stack", bar_gap=0.25)


def matches_frame(alignment: pd.DataFrame, layer: int) -> pd.DataFrame:
    """One row a score of dictionaries trained apart, named in words, in reading order."""
    part = alignment[(alignment["layer"] == layer) & alignment["measure"].isin(list(SCORES))].copy()
    part["name"] = [
        f"{SCORES[m]}<br>{BY[b]}; {METHODS[k]}"
        for m, b, k in zip(part["measure"], part["matched_by"], part["method"], strict=True)
    ]
    numeric = ["value", "low", "high", "floor", "floor_low", "floor_high", "ceiling", "ceiling_low", "ceiling_high"]
    numeric += RATIO
    part[numeric] = part[numeric].apply(pd.to_numeric)
    order = part["measure"].map(list(SCORES).index)
    return part.assign(order=order).sort_values(["order", "matched_by", "method"], ignore_index=True)


def matches_figure(frame: pd.DataFrame) -> Chart:
    """A row a score: chance (grey), what was measured with its interval, and the ceiling (open mark)."""
    marks: list[Mark] = [
        line([row["floor"], row["ceiling"]], [row["name"]] * 2, "rule", width=3) for row in records(frame)
    ]
    for title, column, colour, symbol in (
        ("pairs shuffled", "floor", CONTROL, "line-ns-open"),
        ("same language, another seed", "ceiling", "ink", "circle-open"),
        ("English and Arabic", "value", "single", "circle"),
    ):
        low, high = ("low", "high") if column == "value" else (f"{column}_low", f"{column}_high")
        marks.append(
            Points(
                frame[column],
                frame["name"],
                title,
                colour,
                symbol,
                15 if column == "floor" else 11,
                edge=(3, CONTROL) if column == "floor" else None,
                x_ends=(frame[low], frame[high]),
                bar=1.6,
                legend=True,
                data=frame[[low, high, "n"]].assign(
                    over=[_over(r) if column == "value" else "" for r in records(frame)]
                ),
                hover="%{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}], n = %{customdata[2]}%{customdata[3]}"
                "<extra>%{fullData.name}</extra>",
            )
        )
    panel = Panel(marks, Axis(range=(-0.08, 1.02), step=0.25), Axis(turned=True, grid=False))
    return Chart([panel], 90 + 46 * max(1, len(frame)), (10, 10, 70, 6), Legend(), inches=6.4)


def sharing_figure(frame: pd.DataFrame) -> Chart:
    """Gender features by their held-out effect in English (x) and in Arabic (y), in standard deviations."""
    colours, marks = {"shared": "ink", "english": "en", "arabic": "ar"}, []
    for kind, name in SHARING.items():
        part = frame[frame["sharing"] == kind]
        if part.empty:
            continue
        marks.append(
            Points(
                part["effect_en"],
                part["effect_ar"],
                name,
                colours.get(kind, CONTROL),
                MARKS[kind],
                x_ends=(part["low_en"], part["high_en"]),
                y_ends=(part["low_ar"], part["high_ar"]),
                bar=0.6,
                data=part[["feature"]],
                hover="feature %{customdata[0]}: English %{x:+.2f}, Arabic %{y:+.2f}<extra>%{fullData.name}</extra>",
            )
        )
    reach = 1.08 * max(1.0, float(frame[["effect_en", "effect_ar"]].abs().to_numpy().max(initial=0)))
    marks.append(Rule((-reach, reach), (-reach, reach), dash="dot", below=True))
    x, y = (
        Axis(f"in {LANGUAGE_NAME[lang]}: men ← effect → women", range=(-reach, reach), zero=True)
        for lang in ("en", "ar")
    )
    return Chart([Panel(marks, x, y)], 440, (56, 10, 92, 10), Legend(), inches=4.6)


def grammar_figure(frame: pd.DataFrame) -> Chart:
    """Features by how well they tell feminine from masculine words for things (x) and women from men (y), both AUC."""
    part = frame[frame["follows"] != "not enough data"]
    marks: list[Mark] = [Rule(x=0.5, dash="dot"), Rule(y=0.5, dash="dot")]
    for kinds, name, colour, symbol in (
        (["neither"], "neither beyond chance", CONTROL, "circle"),
        (["person"], "follow the person", "single", "circle"),
        (["word", "both"], "follow the word", "ar", "diamond"),
    ):
        some = part[part["follows"].isin(kinds)]
        marks.append(
            Points(
                some["auc_word_ar"],
                some["auc_person"],
                f"{name} ({len(some):,})",
                colour,
                symbol,
                6,
                opacity=0.7,
                data=some[["feature"]],
                hover="feature %{customdata[0]}: words %{x:.2f}, persons %{y:.2f}",
            )
        )
    x, y = (
        Axis(title, range=(-0.03, 1.03), step=0.25)
        for title in ("feminine over masculine words for things (AUC)", "women over men (AUC)")
    )
    return Chart([Panel(marks, x, y)], 400, (56, 10, 92, 10), Legend(), inches=4.6)
