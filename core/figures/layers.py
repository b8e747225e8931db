"""Where gender appears, layer by layer: probes by place and language, the logit lens, and transfer."""

from __future__ import annotations

import pandas as pd

from core.config import LANGUAGE_NAME
from core.figures.marks import Axis, Band, Chart, Legend, Mark, Note, Panel, Points, Rule, line
from core.figures.palette import CONTROL, GENDER
from core.frames import records
from core.layers.measures import BEFORE

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
COLOURS = {"en": "en", "ar": "ar", "both": "single"}
BOTH = "both"
WHO = {"female": "images of women", "neutral": "neutral images", "male": "images of men"}
WHO_MARKERS = {"female": "circle", "male": "diamond", "neutral": "square"}


def probe_curves(probes: pd.DataFrame, measure: str, langs: tuple[str, ...] = ("en", "ar")) -> pd.DataFrame:
    """One row a place, language and layer of probes tested in their own language; "both" where residuals are the same.

    Columns: place, lang, layer, value, low, high, control, control_low, control_high, chance, n, q, and of the control
    task selectivity with its ends, n_types, n_typed and no_control, empty in runs that did not ask for them.
    """
    own = probes[(probes["measure"] == measure) & (probes["lang"] == probes["trained_on"])]
    own = (
        own[own["lang"].isin(langs) & ~own["view"].isin(BEFORE)]
        .dropna(subset=["value"])
        .rename(columns={"view": "place", "n_images": "n"})
    )
    own["lang"] = own["lang"].where(~own["shared"].astype(bool), BOTH)
    own = own.drop_duplicates(["place", "lang", "layer"])
    columns = ["place", "lang", "layer", "value", "low", "high", "control", "control_low", "control_high", "chance"]
    beyond = ["selectivity", "selectivity_low", "selectivity_high", "n_types", "n_typed", "no_control"]
    return own.reset_index(drop=True).reindex(columns=[*columns, "n", "q", *beyond])


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
    return {(r["position"], r["lang"]): int(r["layer"]) for r in records(found)}


def layers_figure(
    curves: pd.DataFrame, lens: pd.DataFrame, emergence: pd.DataFrame, measure: str, pixels: float | None = None
) -> Chart:
    """Probes above, one panel a place; the logit lens below. Grey: the control; a ring: the first layer that leaves it.

    ``pixels`` is the same measure of a probe on the bare image.
    """
    layers, panels = sorted(set(curves["layer"]) | set(lens["layer"])), []
    above = [p for p in PLACES if p in set(curves["place"])]
    below = [p for p in LENS_PLACES if p in set(lens["place"])]
    pad = 0.07 * max(1, layers[-1] - layers[0]) if layers else 1
    ends = (layers[0] - pad, layers[-1] + pad) if layers else None
    for row, (places, frame, method, others) in enumerate(
        ((above, curves, "probe", below), (below, lens, "lens", above)), start=1
    ):
        titles = LENS_PLACES if row == 2 else SHORT if len(places) > 2 else PLACES
        name = f"probe {MEASURES[measure]}" if row == 1 else "logit lens AUC"
        span, firsts = max(1, len(others)), first_layers(emergence, method)
        for number, place in enumerate(places):
            own = {lang: layer for (where, lang), layer in firsts.items() if where == place}
            marks = _beside_control(frame[frame["place"] == place], own, layers)
            if place == "image" and row == 1 and pixels is not None:
                marks += [
                    Rule(y=pixels, dash="dash"),
                    Note(layers[-1], pixels, "without the model: pixels", "right", "bottom"),
                ]
            x = Axis("layer" if row == 2 else "", ticks=layers, range=ends, grid=False)
            y = _shares(frame, name if not number else "", numbers=not number)
            panels.append(Panel(marks, x, y, titles[place], row, 1 + number * span, span))
    return Chart(
        panels, 640, (60, 10, 92, 34), Legend(-0.11), once=True, gaps=(0.035, 0.19), titles=(14, "left"), inches=7.2
    )


def transfer_figure(curves: pd.DataFrame, measure: str) -> Chart:
    """One panel a place: full lines are probes tested in the language that trained them, dotted ones in the other."""
    places = [p for p in PLACES if p in set(curves["place"])]
    layers, panels = sorted(set(curves["layer"])), []
    for number, place in enumerate(places, start=1):
        marks: list[Mark] = [Rule(y=0.5, dash="dot")]
        for keys, part in curves[curves["place"] == place].groupby(["lang", "trained_on"], sort=False):
            lang, trained_on = map(str, keys)
            own = lang == trained_on
            name = LANGUAGE_NAME[lang] if own else f"{LANGUAGE_NAME[trained_on]} probe on {LANGUAGE_NAME[lang]}"
            step, rank = (1, RANKS[lang]) if own else (2, RANKS[lang] + 2)
            marks.append(_line(part, lang, name, _shift(lang, layers, step), rank, own))
        x = Axis("layer", ticks=layers, grid=False)
        y = _shares(curves, f"probe {MEASURES[measure]}" if number == 1 else "")
        panels.append(Panel(marks, x, y, PLACES[place], column=number))
    return Chart(
        panels,
        390,
        (60, 10, 84, 34),
        Legend(-0.2),
        once=True,
        share_y=True,
        gaps=(0.035, None),
        titles=(14, "left"),
        inches=7.2,
    )


def _beside_control(part: pd.DataFrame, firsts: dict[str, int], layers: list[int]) -> list[Mark]:
    """One place: the band of the control where there is one, chance, a line a language, rings at their first layers."""
    known = part.dropna(subset=["control_low"])
    band = known.groupby("layer").agg(low=("control_low", "min"), high=("control_high", "max")).reset_index()
    marks: list[Mark] = [Rule(y=float(part["chance"].max()), dash="dot")]
    if len(band):
        marks.insert(0, Band(band["layer"], band["low"], band["high"], CONTROL, 0.28, name="control", rank=5))
    for key, own in part.groupby("lang", sort=False):
        lang = str(key)
        name = LANGUAGE_NAME.get(lang, "both languages (the image comes before the question)")
        shift = _shift(lang, layers)
        here = own[own["layer"] == firsts.get(lang, firsts.get("en") if lang == BOTH else None)]
        marks += [
            _line(own, lang, name, shift, RANKS[lang]),
            Points(
                here["layer"] + shift,
                here["value"],
                "first layer that leaves the control",
                "ink",
                "circle-open",
                17,
                edge=(1.6, "ink"),
                rank=4,
                clip=False,
            ),
        ]
    return marks


def _line(part: pd.DataFrame, lang: str, name: str, shift: float, rank: int, own: bool = True) -> Points:
    return Points(
        part["layer"] + shift,
        part["value"],
        name,
        COLOURS[lang],
        MARKERS[lang] + ("" if own else "-open"),
        8,
        dash="solid" if own else "dot",
        y_ends=(part["low"], part["high"]),
        rank=rank,
        clip=False,
        data=part[["layer", "low", "high", "n"]].to_numpy(),
        hover="layer %{customdata[0]}: %{y:.3f} [%{customdata[1]:.3f}, %{customdata[2]:.3f}], "
        "n = %{customdata[3]} images<extra>%{fullData.name}</extra>",
    )


def _shift(lang: str, layers: list[int], step: int = 1) -> float:
    """A little to the left or right, so that intervals of two languages stand beside each other."""
    span = (layers[-1] - layers[0]) if len(layers) > 1 else 1
    return {"en": -0.012, "ar": 0.012}.get(lang, 0.0) * span * step


def _shares(frame: pd.DataFrame, title: str, numbers: bool = True) -> Axis:
    """The y axis of AUCs and accuracies, down to where the lowest interval ends."""
    low = max(0.0, min(0.4, float(frame["low"].min()) - 0.03)) if len(frame) else 0.4
    return Axis(title, range=(low, 1.05), step=0.2, format=".1f", numbers=numbers)


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


def difference_figure(curves: pd.DataFrame) -> Chart:
    """Mean log-odds of a word for a woman against one for a man, by layer and by what the image shows."""
    marks: list[Mark] = [Rule(y=0, dash="dot")]
    for gender, name in WHO.items():
        part = curves[curves["gender"] == gender]
        marks.append(
            Points(
                part["layer"],
                part["value"],
                name,
                GENDER[gender],
                WHO_MARKERS[gender],
                8,
                dash="solid",
                y_ends=(part["low"], part["high"]),
                bar=2,
                data=part[["low", "high", "n"]],
                hover="layer %{x}: %{y:+.2f} [%{customdata[0]:+.2f}, %{customdata[1]:+.2f}], "
                "n = %{customdata[2]}<extra>%{fullData.name}</extra>",
            )
        )
    offset = curves.drop_duplicates("layer")
    name = "the average of all, read off"
    marks.append(line(offset["layer"], offset["offset"], "muted", name, "dash", 1.4))
    x = Axis("layer", ticks=sorted(set(curves["layer"])), grid=False)
    y = Axis("log-odds, women over men", format="+.1~f")
    return Chart([Panel(marks, x, y)], 370, (58, 10, 84, 12), Legend(-0.24))
