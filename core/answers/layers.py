"""Sentences about where gender appears, written from the tables, with n, interval, control and chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from core.answers import Answer, says
from core.config import LANGUAGE_NAME
from core.figures.layers import BOTH, probe_curves
from core.figures.vision import vision_frame
from core.frames import records
from core.layers.measures import MARGIN, leaves_baseline

CARRIERS = {"image": "the image tokens carry it", "before": "the positions before the first gendered word carry it"}


@says("layers.carried")
def layers_answer(probes: pd.DataFrame, emergence: pd.DataFrame) -> Answer:
    """From which layer on a probe reads gender at the image and before the first gendered word, in each language."""
    own = emergence[(emergence["method"] == "probe") & emergence["position"].isin(CARRIERS)]
    known = own[own["why"] == ""]
    if known.empty:
        why = f": {own['why'].iloc[0]}" if len(own) else ""
        return Answer(f"Where gender appears cannot be said{why}.", "not enough data")
    curves = probe_curves(probes, "auc")
    curves = curves[curves["place"].isin(CARRIERS)]
    text = "; ".join(_place(own, curves, place) for place in CARRIERS if place in set(own["position"]))
    n = " to ".join(f"{n:,}" for n in sorted({known["n_images"].min(), known["n_images"].max()}))
    at_once = known[known["is_lowest"].astype(bool)]
    lowest = f"; layer {at_once['layer'].iloc[0]} is the lowest recorded" if len(at_once) else ""
    text = f"{text[0].upper()}{text[1:]} (n = {n} images; {_control(curves)}, chance 0.50{lowest})."
    controlled = curves["control"].notna().all()
    return Answer(text, "supported" if (own["layer"] >= 0).all() and controlled else "unclear")


def _control(curves: pd.DataFrame) -> str:
    """What arbitrary labels of shared types of images give, and how far the probe is beyond them at least."""
    known = curves.dropna(subset=["control"])
    if known.empty:
        why = next((why for why in curves["no_control"] if isinstance(why, str) and why), "none was made")
        return f"no control task: {why}"
    low, high = (f"{value:.2f}" for value in (known["control"].min(), known["control"].max()))
    types = f" of {known['n_types'].max():.0f} types" if known["n_types"].notna().any() else ""
    least = known.iloc[int(known["selectivity"].argmin())]
    beyond, *ends = (f"{least[f'selectivity{end}']:.2f}".replace("-", "−") for end in ("", "_low", "_high"))
    told = low if low == high else f"{low} to {high}"
    return f"control task{types} {told}, selectivity at least {beyond} [{', '.join(ends)}]"


def _place(own: pd.DataFrame, curves: pd.DataFrame, place: str) -> str:
    """What is said of one place: "the image tokens carry it in both languages from layer 1 on (AUC ...)"."""
    rows, here = own[own["position"] == place], curves[curves["place"] == place]
    shared = BOTH in set(here["lang"])
    said = []
    for row in records(rows[rows["lang"] == "en"]) if shared else records(rows):
        name = "in both languages" if shared else f"in {LANGUAGE_NAME[row['lang']]}"
        line = here[here["lang"] == (BOTH if shared else row["lang"])]
        if row["why"]:
            said.append(f"{name} it cannot be said ({row['why']})")
        elif row["layer"] < 0:
            last = line.iloc[int(line["layer"].argmax())]  # the largest would be told by the scores that chose it
            said.append(f"{name} at no layer beyond the control (at the last, {last['layer']}, AUC {_number(last)})")
        else:
            said.append(f"{name} {_from(row)} (AUC {_number(row)})")
    return f"{CARRIERS[place]} {' and '.join(said)}"


@says("layers.vision")
def vision_answer(probes: pd.DataFrame) -> Answer:
    """How much of gender a probe reads in the image tokens as they enter the language model, and in what is before."""
    frame = vision_frame(probes, "auc").drop_duplicates("place")
    there = frame[frame["view"] == "projector"]
    if there.empty:
        rows = probes[probes["view"].isin(("tower", "projector"))]
        why = next((w for w in rows["why"] if w), "the image was not read there")
        return Answer(f"How much of gender is there before the language model begins cannot be said: {why}.", "unclear")
    row = records(there)[0]
    clear = leaves_baseline(row, float(np.fmax(row["control"], 0.5)))
    rest = [f"{what} {_number(r)}" for what, r in _around(frame)]
    there_said = f"an AUC of {_number(row)}" if clear else f"no more than the control (AUC {_number(row)})"
    text = (
        f"Before the language model begins, a probe reads gender from its image tokens with {there_said}; "
        f"{', '.join(rest)}{'; ' if rest else ''}n = {row['n']:,} images, {_control(there)}, chance 0.50."
    )
    return Answer(text, "supported" if clear else "unclear")


def _around(frame: pd.DataFrame) -> list[tuple[str, dict[str, Any]]]:
    """What stands beside it: the bare pixels, the vision tower from its first layer read to its last, the first and
    the last decoder layer's image tokens; none of them chosen by its score."""
    found = [("the bare pixels", r) for r in records(frame[frame["view"] == "pixels"])]
    for view, name in (("tower", "layer {} of the vision tower"), ("image", "image tokens of decoder layer {}")):
        rows = records(frame[frame["view"] == view])
        found += [(name.format(r["layer"]), r) for r in (rows if len(rows) < 3 else (rows[0], rows[-1]))]
    return found


@says("layers.image direction")
def exchange_answer(exchanged: pd.DataFrame) -> Answer:
    """How much of what the image does to the gendered word goes with one direction of its tokens, and how far up."""
    rows = exchanged[(exchanged["site"] == "projector") & (exchanged["change"] == "direction")]
    known = rows[rows["why"] == ""]
    if known.empty:
        return Answer(f"Not measured: {rows['why'].iloc[0] if len(rows) else 'no caption'}.", "not enough data")
    said = []
    for row in records(known):
        through = exchanged[(exchanged["lang"] == row["lang"]) & (exchanged["site"] == "decoder")]
        through = through[through["change"] == "all"].sort_values("layer")
        last = ""
        if len(through):
            top = through.iloc[-1]
            last = f"; behind layer {top['layer']} {top['share']:.0%} of it still goes through the image tokens"
        share = f"{row['share']:.0%} [{row['low']:.0%}, {row['high']:.0%}]"
        said.append(f"in {LANGUAGE_NAME[row['lang']]} {share} (shuffled genders {row['control']:.0%}){last}")
    n = " to ".join(f"{n:,}" for n in sorted({known["n_images"].min(), known["n_images"].max()}))
    text = (
        f"Of what an image of the other gender does to the gendered word, one direction of the image tokens, as they "
        f"enter the language model, carries {' and '.join(said)}; n = {n} captions."
    )
    return Answer(text, "supported" if (known["beyond_low"] > 0).all() and len(known) == len(rows) else "unclear")


@says("layers.lens")
def lens_answer(emergence: pd.DataFrame) -> Answer:
    """From which layer on the model's next word, read off early, tells women from men where gender is written."""
    own = emergence[(emergence["method"] == "lens") & (emergence["position"] == "word")]
    known = own[own["why"] == ""]
    if known.empty:
        return Answer(f"Not measured: {own['why'].iloc[0] if len(own) else 'no caption'}.", "not enough data")
    said = []
    for row in records(known):
        found = f"{_from(row)} (AUC {_number(row)}, random words {row['baseline']:.2f})"
        said.append(f"in {LANGUAGE_NAME[row['lang']]} {found if row['layer'] >= 0 else 'at no layer'}")
    n = " and ".join(str(n) for n in dict.fromkeys(known["n_images"]))
    text = f"The next word tells images of women from those of men better than random words do {', '.join(said)}"
    sure = "supported" if (known["layer"] >= 0).all() else "unclear"
    return Answer(f"{text}; n = {n} held-out images.", sure)


def _from(row: Mapping[str, Any]) -> str:
    if not row["n_later"]:
        return f"at layer {row['layer']}, the last one"
    kept = "on" if row["n_after"] == row["n_later"] else f"(and in {row['n_after']} of {row['n_later']} above it)"
    return f"from layer {row['layer']} {kept}{_how_surely(row)}"


def _how_surely(row: Mapping[str, Any]) -> str:
    """Between which layers the first lies that is clearly beyond the control; "" of a run that has not asked."""
    earliest, latest = (int(row.get(name, -1)) for name in ("earliest", "latest"))
    if earliest < 0:
        return ""
    if latest < 0:
        return f", by {MARGIN} beyond the control at {earliest} or later, or nowhere"
    within = f"at {earliest}" if earliest == latest else f"between {earliest} and {latest}"
    return f", by {MARGIN} beyond the control first {within}"


@says("layers.transfer")
def transfer_answer(probes: pd.DataFrame) -> Answer:
    """Whether a probe trained in one language reads gender in the other, before the first gendered word."""
    before = probes[(probes["measure"] == "auc") & (probes["view"] == "before")]
    rows = before[before["lang"] != before["trained_on"]]
    known = rows.dropna(subset=["value"])
    if known.empty:
        why = f": {rows['why'].iloc[0]}" if len(rows) and rows["why"].iloc[0] else ""
        return Answer(f"Transfer between the languages cannot be said{why}.", "not enough data")
    parts = []
    for (source, target), part in known.groupby(["trained_on", "lang"], sort=False):
        worst = part.iloc[int(part["value"].argmin())]
        parts.append(
            f"{LANGUAGE_NAME[str(source)]} to {LANGUAGE_NAME[str(target)]} {_number(worst)} (layer {worst['layer']})"
        )
    text = (
        f"Before the first gendered word, a probe of one language reads gender in the other with an AUC of at "
        f"least: {', '.join(parts)}; n = {known['n_images'].max():,} images, chance 0.50."
    )
    return Answer(text, "supported" if (known["low"] > 0.5).all() else "unclear")


def _number(row: Mapping[str, Any] | pd.Series) -> str:
    """A value with its interval, in as many digits as the interval supports."""
    digits = 3 if row["high"] - row["low"] < 0.02 else 2
    return f"{row['value']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


def emergence_rows(emergence: pd.DataFrame) -> list[dict[str, Any]]:
    """The table as it is shown: method, place, language, first layer, value with interval, baseline, how it goes on."""
    shown = []
    for row in records(emergence):
        known = f"{'≤ ' if row['is_lowest'] else ''}{row['layer']}"
        layer = "" if row["why"] else "none" if row["layer"] < 0 else known
        held = f"{row['n_after']} of {row['n_later']}" if row["layer"] >= 0 else ""
        value, baseline = (_number(row), f"{row['baseline']:.2f}") if row["layer"] >= 0 else ("", "")
        shown.append({**row, "first": layer, "shown": value, "against": baseline, "held": held})
    return shown
