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


def list_line(cat: Catalog, layer: int) -> None:
    """What the columns of the feature list give where nothing is: ♀♂ and Recurs."""
    said = []
    if cat.has("null_findings"):
        found = cat.frame("null_findings", layer=layer, view="before")
        for lang, rows in found.groupby("lang", sort=False):
            of = rows.groupby("kind")["best_auc_test"].mean().dropna()
            if {"trained", "random", "shuffled labels"} <= set(of.index):
                said.append(
                    f"{LANGUAGE_NAME[str(lang)]} {of['trained']:.2f}, of random directions {of['random']:.2f}, with "
                    f"labels shuffled {of['shuffled labels']:.2f}"
                )
    told = [f"♀♂ of the feature that training images put first: {'; '.join(said)}"] if said else []
    recurrence = cat.frame("recurrence", layer=layer) if cat.has("recurrence") else pd.DataFrame()
    known = recurrence[recurrence["recurs"].notna()] if len(recurrence) else recurrence
    if len(known):
        hits, chance = (int(known[name].astype(bool).sum()) for name in ("recurs", "recurs_shuffled"))
        told.append(f"with another seed {hits:,} of {len(known):,} recur, over shuffled tokens {chance:,}")
    if told:
        text.html(f'<p class="cs-small">Beside the columns: {escape("; ".join(told))}.</p>')


def map_line(cat: Catalog, layer: int) -> None:
    """How near the neighbours on the map are, beside directions drawn at random."""
    if not cat.has("recurrence") or (recurrence := cat.frame("recurrence", layer=layer)).empty:
        return
    near = cat.frame("features", layer=layer)
    cosines = [values[0] for values in near.loc[near["alive"], "neighbour_cosines"] if len(values)]
    floor = recurrence["cosine_floor"].median()
    if cosines:
        middle = float(pd.Series(cosines).median())
        text.html(
            f'<p class="cs-small" style="margin:0">Cosine with the nearest other feature: {middle:.2f} in the middle; '
            f"of directions drawn at random with the same spread {floor:.2f}. A map shows groups of those too.</p>"
        )


def neighbours_line(cat: Catalog, layer: int, feature: int) -> None:
    """The largest cosine that directions drawn at random have with this feature's, below its neighbours."""
    if not cat.has("recurrence"):
        return
    floor = cat.frame("recurrence", layer=layer, feature=feature)["cosine_floor"].dropna()
    if len(floor):
        text.html(
            f'<p class="cs-small">The nearest of as many directions drawn at random with the same spread has a cosine '
            f"of {floor.max():.2f}.</p>"
        )


def findings_note(cat: Catalog, layer: int, lang: str, view: str) -> str:
    """How many random directions tell women from men, for a sentence that counts features; "" where not asked."""
    if not cat.has("null_findings"):
        return ""
    found = cat.frame("null_findings", layer=layer, lang=lang, view=view, kind="random")
    if found.empty or found["n_findings"].isna().all():
        return ""
    n, of = found["n_findings"].mean(), found["n_features"].mean()
    return f"Of random directions {n:,.0f} of {of:,.0f} do: the count is no evidence, the page says what is."


def others_note(cat: Catalog, layer: int, view: str) -> str:
    """Whether gender is more alike in the languages than other things, in one line; "" where not asked."""
    if not cat.has("null_others"):
        return ""
    return others_answer(cat.frame("null_others", layer=layer, view=view), layer, view).text


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
