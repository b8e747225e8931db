"""One attention head: where it looks while the gendered word is chosen, what it adds, and what its weights do."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from core.answers import mechanisms as mechanisms_answers
from core.config import LANGUAGE_NAME
from core.figures import mechanisms
from core.frames import records
from core.intervals import told
from core.run import Run
from core.run.reader import Catalog
from pages.kit import export, images, panels, pickers, text
from pages.kit.examples import feature_link

VIEWS = {"image": "the image", "before": "the words so far"}
MAPS = ("As it is", "Beyond the average image")
WHO = {"female": "image of a woman", "male": "image of a man", "": ""}


def show(run: Run, cat: Catalog, lang: str, row: dict[str, Any]) -> None:
    """The head of a row of head_effects."""
    layer, head, name = int(row["layer"]), int(row["head"]), mechanisms.part_name(row)
    readings = cat.head_readings(lang)
    mine = readings[(readings["head_layer"] == layer) & (readings["head"] == head)]
    answer = mechanisms_answers.head_answer(row, mine)
    text.heading(f"Head {name}, {LANGUAGE_NAME[lang]}")
    text.said(answer, "cs-answer")
    left, right = st.columns([1.35, 1], gap="large")
    with left:
        looks(run, cat.head_maps(lang, layer, head), f"{name}-{lang}")
    with right:
        weights(cat, layer, head)
    directions(mine, f"{name}-{lang}")


def looks(run: Run, maps: pd.DataFrame, name: str) -> None:
    """Attention to the image on the images themselves, one scale for all of a head's images."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        with st.container(width="stretch"):
            text.heading(
                "Where it looks",
                "its attention to each part of the image from the place where the word "
                "below the image is chosen; hover an image to see it bare",
            )
        long = maps.assign(patch_map=[" ".join(f"{v:.5f}" for v in m) for m in maps["patch_map"]])
        export.downloads(f"head-{name}-attention", long)
    own = maps[maps["sample_id"] >= 0]
    if own.empty:
        text.html(
            '<p class="cs-small">No maps were kept: mechanisms.n_maps is 0, or nothing that this head attends to '
            "has a place in the image.</p>"
        )
        return
    how = pickers.choice(
        "Show",
        MAPS,
        "maps",
        "Many heads look at the same place in every image. Beyond the average "
        "image leaves only what this image has more of than the mean over all.",
    )
    mean = np.asarray(maps[maps["sample_id"] < 0]["patch_map"].iloc[0])
    shown = [np.asarray(m) - (mean if how == MAPS[1] else 0) for m in own["patch_map"]]
    top = max(float(m.max()) for m in shown)
    items = [
        images.GridItem(
            int(r["sample_id"]),
            f"<bdi>{escape(r['word'])}</bdi> <span class='cs-small'>{sum(r['patch_map']):.0%}</span>",
            heat=heat.tolist(),
            heat_max=top,
            alt=f"{WHO[r['gender']]}, {r['word']}",
        )
        for r, heat in zip(records(own), shown, strict=True)
    ]
    images.grid(run, items, columns=4)
    text.html(
        '<p class="cs-small">Beside the word: the share of its attention that goes to the image. Held-out images of '
        "women first, then of men.</p>"
    )


def weights(cat: Catalog, layer: int, head: int) -> None:
    """Singular values and what they come to."""
    spectra = cat.weight_spectra()
    curves = mechanisms.spectrum_curves(spectra, layer, head)
    rows = spectra[(spectra["layer"] == layer) & (spectra["head"] == head)].set_index("matrix")
    if rows.empty:
        text.html(
            '<p class="cs-small">Its weights read the image from outside the residual stream: they make no '
            "matrix on it.</p>"
        )
        return
    said = "; ".join(
        f"{m}: {rows.loc[m, 'effective_rank']:.0f} of {rows.loc[m, 'rank']} directions in use "
        f"(random weights {rows.loc[m, 'random_effective_rank']:.0f})"
        for m in ("OV", "QK")
    )
    panels.panel(
        "Its weights",
        f"{said}; copying {rows.loc['OV', 'copying']:+.2f}",
        f"weights-{layer}-{head}",
        rows.reset_index().assign(singular_values=lambda x: x["singular_values"].map(list)),
        mechanisms.spectrum_figure(curves),
        f"Singular values of head {layer}.{head}",
        key="spectrum",
    )


def directions(readings: pd.DataFrame, name: str) -> None:
    """What OV makes of the gender direction, with nulls, and the features it would write."""
    if readings.empty:
        text.html(
            '<p class="cs-small">What it makes of the gender direction is not known: no layer below it was '
            "recorded, or too few images show a gender.</p>"
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        with st.container(width="stretch"):
            text.heading(
                "What it makes of the gender direction",
                "cosine of what it writes for it, with the direction above it and with the words",
            )
        flat = readings.assign(
            features=readings["features"].map(list), feature_cosines=readings["feature_cosines"].map(list)
        )
        export.downloads(f"head-{name}-directions", flat)
    rows = []
    for r in records(readings):
        near = ", ".join(
            f"{feature_link(r['out_layer'], int(f))} {c:+.2f}"
            for f, c in list(zip(r["features"], r["feature_cosines"], strict=True))[:3]
        )
        rows.append(
            [
                VIEWS[r["view"]],
                _within(r, "cosine"),
                _ends(r, "cosine_shuffled"),
                _within(r, "word_cosine"),
                f"{near} <span class='cs-small'>(shuffled ≤ {r['shuffled_cosine']:.2f})</span>",
            ]
        )
    text.html(
        text.table(["Read at", "Direction above", "Shuffled images", "Words", "Nearest features"], rows, (1, 2, 3))
    )


def _within(row: dict[str, Any], name: str) -> str:
    return told(row[name], row[f"{name}_low"], row[f"{name}_high"], form="+.2f")


def _ends(row: dict[str, Any], name: str) -> str:
    return f"{row[f'{name}_low']:+.2f} to {row[f'{name}_high']:+.2f}"
