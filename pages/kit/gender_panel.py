"""What a feature's page says of gender and of its label: rates on images of women and men, scores, matched images."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from core.answers.gender import feature_gender_answer, label_answer, lift_answer
from core.config import LANGUAGE_NAME
from core.figures.gender import SCORES, rates_dots, rates_frame, scores_frame
from core.frames import records
from core.run.reader import Catalog
from pages.kit import export, panels, states, text
from pages.kit.images import GridItem
from pages.kit.links import href

READ = {"Before the gendered word": "before", "Whole caption": "caption", "At the image": "image"}
WHEN = "Where the feature is read: what comes before the first gendered word cannot be an echo of that word."


def label(cat: Catalog, layer: int, feature: int) -> None:
    """The automatic label in both scripts, and how well it predicts the feature's firing on held-out images."""
    if not cat.has("labels"):
        return
    rows = cat.frame("labels", layer=layer, feature=feature).sort_values("lang", ascending=False)
    named = rows[rows["label"] != ""].drop_duplicates("label")
    text.heading("Its label", "the one word or attribute that best tells when it fires, found by the machine")
    if len(named):
        shown = " · ".join(f"<bdi>{escape(one)}</bdi>" for one in named["label"])
        text.html(f'<p style="font-size:1.25rem;font-weight:600;margin:0">{shown}</p>')
    text.said(label_answer(rows), "cs-small")


def rates(cat: Catalog, layer: int, feature: int) -> None:
    """How often it fires on images of women, men and neither, by language, in one view."""
    if not cat.has("gender_features"):
        return
    name, rows = f"layer-{layer}-feature-{feature}-gender", cat.gender_feature(layer, feature)
    frame = rates_frame(rows)
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        with st.container(width="stretch"):
            text.heading("Women and men", "filled: held-out images, with 95 % interval; open: training images")
        place = st.container(width="content")
    view = READ[st.selectbox("Read", list(READ), key="read", bind="query-params", label_visibility="collapsed")]
    here = frame[frame["view"] == view]
    with place:
        export.downloads(name, frame, rates_dots(here))
    answer = feature_gender_answer(rows, view)
    if len(here):
        panels.figure(rates_dots(here), answer.text, key="figure-gender")
    text.said(answer, "cs-small")


def numbers(cat: Catalog, layer: int, feature: int) -> None:
    """Every score of gender, by view and language, on the training and on the held-out images."""
    if not cat.has("gender_features"):
        return
    frame = scores_frame(cat.gender_feature(layer, feature))
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        with st.container(width="stretch"):
            text.heading("Gender in numbers", "positive, and above 0.5, is more for women; n is women + men")
        export.downloads(f"layer-{layer}-feature-{feature}-gender-scores", frame)
    views, rows = {view: name for name, view in READ.items()}, []
    only = cat.languages[0] if len(cat.languages) == 1 else ""
    for one in records(frame):
        n = " · ".join(f"{one[f'n_female_{split}']} + {one[f'n_male_{split}']}" for split in ("train", "test"))
        cells = [SCORES[score].within(one, score) for score in ("auc", "d", "difference")]
        rows.append(
            [
                views.get(one["view"], one["view"]),
                LANGUAGE_NAME.get(one["lang"] or only, "both"),
                n,
                SCORES["auc"].show(one["auc_train"]),
                *cells,
                q(one["q_train"]),
                "yes" if one["finding"] else escape(one["why"]) or "no",
            ]
        )
    text.html(
        text.table(
            [
                "Read",
                "Captions",
                "n, train · held out",
                "AUC, train",
                "AUC, held out",
                "d, held out",
                "Difference, held out",
                "q, train",
                "A finding?",
            ],
            rows,
            numeric=(3, 7),
        )
    )


def q(value: float) -> str:
    """A q-value in as many digits as it supports."""
    return "–" if pd.isna(value) else "<0.0001" if value < 1e-4 else f"{value:.2g}"


def matched(cat: Catalog, layer: int, feature: int, top: float, both: bool) -> dict[str, list[GridItem]]:
    """Says how women and men share the strongest held-out images, and gives the matched images of each as tiles.

    A heat map is there where the image is among the feature's stored examples.
    """
    text.said(lift_answer(cat.gender_lift(layer, feature)), "cs-small")
    pairs = cat.gender_pairs(layer, feature)
    if pairs.empty:
        states.empty(
            "No image of a woman fires it as strongly as one of a man.",
            "There is nothing to be matched.",
            "Below: the strongest images of each, not matched.",
        )
        return {}
    maps = cat.examples(layer, feature, None).drop_duplicates("sample_id").set_index("sample_id")["patch_map"]
    return {gender: [_tile(row, gender, maps, top, both) for row in records(pairs)] for gender in ("female", "male")}


def _tile(row: dict[str, Any], gender: str, maps: pd.Series, top: float, both: bool) -> GridItem:
    sample, strength = int(row[f"sample_{gender}"]), float(row[f"activation_{gender}"])
    written = {lang: said for lang in LANGUAGE_NAME if isinstance(said := row.get(f"caption_{lang}_{gender}"), str)}
    shown = list(written.items()) if both else list(written.items())[:1]
    captions = "".join(text.caption_html(said, lang) for lang, said in shown)
    heat = list(maps[sample]) if sample in maps.index else None
    return GridItem(
        sample,
        captions,
        heat,
        top,
        f"{strength:.1f}",
        href("samples", sample=sample),
        f"sample {sample}, activation {strength:.2f}",
    )
