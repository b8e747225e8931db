"""How much of gender there is before the language model begins: from the pixels through the tower to its own layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from core.config import LANGUAGE_NAME
from core.figures.layers import BOTH, COLOURS, MARKERS, MEASURES, RANKS
from core.figures.marks import Axis, Band, Chart, Legend, Mark, Note, Panel, Points, Rule
from core.figures.palette import CONTROL, beside

MOST_NAMED = 6  # layers
ORDER = ("pixels", "tower", "projector", "image")
CHANGES = {"all": "all of the image tokens", "direction": "their gender direction alone"}
CONTROLLED = ("selectivity", "selectivity_low", "selectivity_high", "n_types", "no_control")
NUMBERS = ("value", "low", "high", "control", "control_low", "control_high")


def vision_frame(probes: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Probes of the image in the order in which it goes through the model, one row a place and language.

    Columns: place (0, 1, ...), view, layer, name (of the place), lang ("both" where the states are the same), value,
    low, high, control, control_low, control_high, what is said of the control task (CONTROLLED), n, q.
    """
    own = probes[(probes["measure"] == measure) & (probes["lang"] == probes["trained_on"])]
    own = own[own["view"].isin(ORDER)].dropna(subset=["value"]).rename(columns={"n_images": "n"})
    own["lang"] = own["lang"].where(~own["shared"].astype(bool), BOTH)
    own = own.drop_duplicates(["view", "layer", "lang"]).assign(rank=own["view"].map(ORDER.index))
    own = own.sort_values(["rank", "layer", "lang"], kind="stable")
    places = {key: i for i, key in enumerate(dict.fromkeys(zip(own["view"], own["layer"], strict=True)))}
    keys = list(zip(own["view"], own["layer"], strict=True))
    own["place"], own["name"] = [places[key] for key in keys], [_name(*key) for key in keys]
    columns = ["place", "view", "layer", "name", "lang", *NUMBERS, *CONTROLLED, "n", "q"]
    return own.reindex(columns=columns).reset_index(drop=True)


def _name(view: str, layer: int) -> str:
    return {"tower": f"tower {layer}", "image": f"layer {layer}"}.get(view, view)


def vision_figure(frame: pd.DataFrame, measure: str) -> Chart:
    """One line from the pixels on; grey: the control task. A dotted upright line: there the language model begins."""
    names = frame.drop_duplicates("place")["name"].tolist()
    spaced = _spaced(names)
    frame = frame.assign(place=[spaced[int(i)] for i in frame["place"]])
    band = frame.groupby("place").agg(low=("control_low", "min"), high=("control_high", "max")).reset_index()
    marks: list[Mark] = [
        Band(band["place"], band["low"], band["high"], CONTROL, 0.28, name="control", rank=5),
        Rule(y=0.5, dash="dot"),
    ]
    begins = frame.loc[frame["view"] == "image", "place"]
    if len(begins) and begins.min() > 0:
        at = (float(begins.min()) + frame.loc[frame["view"] != "image", "place"].max()) / 2
        marks += [Rule(x=at, dash="dot"), Note(at, 0.0, " language model", "left", "bottom", y_in="panel")]
    for key, part in frame.groupby("lang", sort=False):
        lang = str(key)
        marks.append(
            Points(
                part["place"],
                part["value"],
                LANGUAGE_NAME.get(lang, "the image, before any question"),
                COLOURS[lang],
                MARKERS[lang],
                8,
                dash="solid",
                y_ends=(part["low"], part["high"]),
                rank=RANKS[lang],
                clip=False,
                data=part[["name", "low", "high", "n"]].to_numpy(),
                hover="%{customdata[0]}: %{y:.3f} [%{customdata[1]:.3f}, %{customdata[2]:.3f}], "
                "n = %{customdata[3]} images<extra>%{fullData.name}</extra>",
            )
        )
    x = _named(spaced, names)
    low = max(0.0, min(0.4, float(frame["low"].min()) - 0.03)) if len(frame) else 0.4
    y = Axis(f"probe {MEASURES[measure]}", range=(low, 1.05), step=0.2, format=".1f")
    return Chart([Panel(marks, x, y)], 380, (58, 14, 110, 12), Legend(-0.42))


def _spaced(names: Sequence[str]) -> list[float]:
    """Where the places stand: layers one apart, those before them as far as their names need beside many layers."""
    layers = [i for i, name in enumerate(names) if name.startswith("layer")]
    gap, first = max(1.0, len(layers) / MOST_NAMED), len(names) - len(layers)
    return [i * gap if i < first else first * gap + (i - first) for i in range(len(names))]


def _named(at: Sequence[float], names: Sequence[str]) -> Axis:
    """The places by name; of many layers some, so that the names can be read on a telephone."""
    layers = [i for i, name in enumerate(names) if name.startswith("layer")]
    kept = sorted({*range(len(names))} - {*layers} | {*layers[:: max(1, math.ceil(len(layers) / MOST_NAMED))]})
    ends = (at[0] - 0.4, at[-1] + 0.4) if names else None
    return Axis(ticks=[at[i] for i in kept], labels=[names[i] for i in kept], range=ends, grid=False, angle=-35)


def exchange_figure(rows: pd.DataFrame) -> Chart:
    """Share of the image's effect on the gendered word by place; grey: directions of shuffled genders."""
    order = rows.drop_duplicates(["site", "layer"]).sort_values("layer")
    names = ["projector" if layer < 0 else f"layer {layer}" for layer in order["layer"]]
    spaced = _spaced(names)
    places = dict(zip(order["layer"], spaced, strict=True))
    langs = list(dict.fromkeys(rows["lang"]))
    shift = beside(langs, 0.06)
    marks: list[Mark] = [Rule(y=0, dash="dot"), Rule(y=1, dash="dot")]
    for lang in langs:
        for change, name in CHANGES.items():
            part = rows[(rows["lang"] == lang) & (rows["change"] == change)].sort_values("layer")
            x = part["layer"].map(places) + shift[lang]
            marks.append(
                Points(
                    x,
                    part["share"],
                    f"{name}, {LANGUAGE_NAME[lang]}",
                    lang,
                    MARKERS[lang] + ("" if change == "all" else "-open"),
                    9,
                    dash="solid" if change == "all" else "dot",
                    y_ends=(part["low"], part["high"]),
                    clip=False,
                    data=part[["low", "high", "n_images"]].to_numpy(),
                    hover="%{y:.0%} [%{customdata[0]:.0%}, %{customdata[1]:.0%}], n = %{customdata[2]} captions"
                    "<extra>%{fullData.name}</extra>",
                )
            )
        control = rows[(rows["lang"] == lang) & rows["control"].notna()]
        x = control["layer"].map(places) + shift[lang]
        name = "directions of shuffled genders" if lang == langs[0] else ""
        marks.append(
            Points(x, control["control"], name, CONTROL, MARKERS[lang], 9, legend=lang == langs[0], clip=False)
        )
    x_axis = _named(spaced, names)
    low = min(0.0, float(rows["low"].min())) if rows["low"].notna().any() else 0.0
    y = Axis("share of the image’s effect", range=(low - 0.05, 1.08), step=0.25, format=".0%")
    return Chart([Panel(marks, x_axis, y)], 400, (64, 14, 118, 12), Legend(-0.3))
