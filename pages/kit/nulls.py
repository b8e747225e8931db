"""What dictionaries that learned nothing give, beside the run's own on several pages, where the run has it."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from core.answers.nulls import others_answer
from core.config import LANGUAGE_NAME
from core.frames import records
from core.run.reader import Catalog
from pages.kit import export, text

OTHERS = {"direction_cosine": "direction", "clbas": "effects on features (CLBAS)"}
READ = {"before": "Before the gendered word", "caption": "Whole caption"}
MEASURES = {
    "sparse probing": "A word or thing told by its best features",
    "residual probing": "The same by a probe of the whole residual",
    "absorption": "Women or men whom the gender’s own feature misses and another has taken over",
    "cause": "Gender changed by its first features",
    "isolation": "Other things still told after that change",
    "disentanglement": "Mean of both",
}


def within(row: dict[str, Any], name: str, sign: str = "") -> str:
    """A number with its interval; a dash where it could not be taken."""
    if pd.isna(row[name]):
        return "–"
    low, high = (f"{name}_low", f"{name}_high") if f"{name}_low" in row else ("low", "high")
    numbers = (f"{row[part]:{sign}.2f}".replace("-", "−") for part in (name, low, high) if pd.notna(row[part]))
    value, *ends = numbers
    return f"{value} [{', '.join(ends)}]" if ends else value


def detectors(cat: Catalog, layer: int, feature: int) -> None:
    """A difference of means and a probe beside a feature that claims gender; nothing for other features."""
    if not cat.has("null_detectors"):
        return
    rows = cat.frame("null_detectors", layer=layer, feature=feature)
    if rows.empty:
        return
    text.heading(
        "Does it take a dictionary?",
        "detectors that need none, learned on the same training images; this feature less the detector, held out",
    )
    shown = [
        [
            escape(READ[one["view"]]),
            LANGUAGE_NAME[one["lang"]],
            escape(one["detector"]),
            within(one, "detector_auc"),
            within(one, "auc"),
            within(one, "difference", "+"),
        ]
        for one in records(rows.sort_values(["view", "lang", "detector"], kind="stable"))
    ]
    head = ["Read", "Captions", "Detector", "Its AUC", "AUC of this feature", "Difference"]
    text.html(text.table(head, shown, numeric=(3, 4, 5)))
    export.downloads(f"layer-{layer}-feature-{feature}-detectors", rows)


def alignment_line(cat: Catalog, layer: int, view: str) -> None:
    """What the score gives for a random dictionary of the layer."""
    if not cat.has("null_alignment"):
        return
    rows = cat.frame("null_alignment", layer=layer, view=view)
    known = {row["kind"]: row for row in records(rows[rows["value"].notna()])}
    if {"trained", "random"} <= set(known):
        told = {kind: f"{within(row, 'value')}, ceiling {row['ceiling']:.2f}" for kind, row in known.items()}
        text.html(
            f'<p class="cs-small">On images of women and men alone CLBAS is {told["trained"]}; of a random dictionary '
            f"that is as sparse {told['random']}. What random directions reach as well is no work of the features.</p>"
        )


def others(cat: Catalog, layer: int, view: str) -> None:
    """Whether gender is more alike in the two languages than what else images show, and what else that is."""
    if not cat.has("null_others"):
        return
    rows = cat.frame("null_others", layer=layer, view=view)
    text.heading(
        "Is it gender, or anything that an image shows?",
        "the same measures for annotated values, or for words of people’s captions, against the rest; women and men "
        "alike often on both sides",
    )
    text.said(others_answer(rows, layer, view))
    if rows.empty:
        return
    with st.expander("Each contrast"):
        shown = [
            [
                escape(one["contrast"]),
                OTHERS[one["measure"]],
                within(one, "ratio"),
                within(one, "value"),
                within(one, "floor"),
                "–" if pd.isna(one["ceiling"]) else f"{one['ceiling']:.2f}",
                f"{one['n_with']:,} and {one['n_without']:,}",
            ]
            for one in records(rows.sort_values(["measure", "ratio"], ascending=[False, False], kind="stable"))
        ]
        head = ["Contrast", "Measure", "Over its ceiling", "Value", "Dealt out anew", "Ceiling", "Images with, without"]
        text.html(text.table(head, shown, numeric=(2, 3, 4, 5, 6)))
        export.downloads(f"alignment-others-{layer}-{view}", rows)


def labels_line(cat: Catalog, layer: int) -> None:
    """How many features of a random dictionary would get a label."""
    if not cat.has("null_labels"):
        return
    parts = []
    for lang, rows in cat.frame("null_labels", layer=layer).groupby("lang", sort=False):
        of = {row["kind"]: f"{row['n_labelled']:,} of {row['n_features']:,}" for row in records(rows)}
        if len(of) == 2:
            parts.append(f"{LANGUAGE_NAME[str(lang)]} {of['trained']}, of a random dictionary {of['random']}")
    if parts:
        told = "; ".join(parts)
        text.html(
            f'<p class="cs-small">Features with a label, from captions alone: {told}. That a label fits says '
            "what fires a feature, not that the dictionary has found it.</p>"
        )


def quality(cat: Catalog) -> None:
    """What the SAEs are worth beside how well they rebuild, each figure beside a random dictionary's."""
    if not cat.has("sae_quality"):
        return
    frame = cat.frame("sae_quality")
    text.heading(
        "What are they worth beyond that?",
        "read from whole captions, held-out images; in grey columns a random dictionary that is as sparse",
    )
    rows = []
    for (layer, lang, measure, k), cell in frame.groupby(["layer", "lang", "measure", "k"], sort=False):
        of = {row["kind"]: row for row in records(cell)}
        first = next(iter(of.values()))
        name = MEASURES.get(str(measure), str(measure)) + (f", k = {k}" if k else "")
        own, random = (within(of[kind], "value") if kind in of else "–" for kind in ("trained", "random"))
        own = within(of["residual"], "value") if "residual" in of else own
        n = f"{first['n']:,.0f} {first['unit']}" if pd.notna(first["n"]) else escape(first["why"])
        rows.append([str(layer), LANGUAGE_NAME[str(lang)], escape(name), own, random, n])
    head = ["Layer", "Captions", "Measure", "Value", "Random dictionary", "n"]
    text.html(text.table(head, rows, numeric=(0, 3, 4, 5)))
    export.downloads("sae-quality", frame)
