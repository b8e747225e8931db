"""The features of a layer at work: which fire together, what pairs do beyond the sum, and whether gradients tell it."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from core.answers import mechanisms as mechanisms_answers
from core.config import LANGUAGE_NAME
from core.figures import mechanisms
from core.frames import records
from core.intervals import told
from core.run.reader import Catalog
from pages.kit import export, panels, states, text
from pages.kit.examples import feature_link


def pairs(cat: Catalog, lang: str, layer: int) -> None:
    """A network of the layer's strongest features; beside it the pairs that were ablated together."""
    text.heading("Do features work together?")
    text.said(mechanisms_answers.pairs_answer(cat.feature_pairs()), "cs-answer")
    here = cat.feature_pairs(lang, layer)
    if here.empty:
        states.empty("No pairs were counted here.", "Too few captions of this language name a woman or a man.")
        return
    nodes, edges = mechanisms.network(here)
    panels.panel(
        f"Layer {layer}, {LANGUAGE_NAME[lang]}",
        "pink: pushes to words for women, green: for men. Lines: the pairs "
        "that most clearly fire together more often than images of one gender explain (dotted: less often); "
        "orange: what they do together is not the sum of each",
        f"pairs-{layer}-{lang}",
        here,
        mechanisms.network_figure(nodes, edges),
        "Features that fire together",
        key="network",
    )
    n = int(here["n_ablated"].max())
    text.heading(
        "Ablated together",
        f"changes of the log-odds of a woman’s word; n = {n} held-out captions. Control pairs "
        "fire as often, but are not among the strongest",
    )
    text.html(
        text.table(
            ["Features", "Kind", "PMI, bits", "Shuffled", "Within gender", "First", "Second", "Both", "Beyond the sum"],
            [pair_cells(r, layer) for r in records(here[here["n_ablated"] > 0])],
            (2, 3, 4, 5, 6, 7, 8),
        )
    )


def pair_cells(row: dict[str, Any], layer: int) -> list[str]:
    labels = {s: f" <bdi>“{escape(row[f'label_{s}'])}”</bdi>" if row[f"label_{s}"] else "" for s in "ab"}
    a, b = (feature_link(layer, row[f"feature_{s}"]) + labels[s] for s in "ab")
    return [
        f"{a} and {b}",
        "control" if row["kind"] == "control" else "strongest",
        f"{row['pmi']:+.2f}",
        f"{row['pmi_low']:+.2f} to {row['pmi_high']:+.2f}",
        f"{row['pmi_within']:+.2f}",
        f"{row['effect_a']:+.2f}",
        f"{row['effect_b']:+.2f}",
        f"{row['effect_both']:+.2f}",
        f"{row['interaction']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
    ]


def patching(cat: Catalog, lang: str, layer: int) -> None:
    """Predicted against true effects of one layer, and the correlations of all layers."""
    checks = cat.patching_checks()
    text.heading("Can one gradient stand for many ablations?")
    text.said(mechanisms_answers.patching_answer(checks), "cs-answer")
    patched, here = cat.patching(lang, layer), checks[(checks["lang"] == lang) & (checks["layer"] == layer)]
    if patched.empty:
        return
    panels.panel(
        f"Predicted and true, layer {layer}, {LANGUAGE_NAME[lang]}",
        "each point a feature, taken out of every "
        "caption; filled: the strongest on training captions; open: drawn at random",
        f"patching-{layer}-{lang}",
        patched,
        mechanisms.patching_figure(patched, here),
        "True against predicted effects",
        key="patching",
    )
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        with st.container(width="stretch"):
            text.heading(
                "In every layer",
                "correlation with its interval over captions and features, and slope; chance: "
                "predictions dealt out anew",
            )
        export.downloads("patching-checks", checks)
    rows = [
        [
            escape(r["language"]),
            str(r["layer"]),
            mechanisms.METHODS[r["method"]],
            told(r["r"], r["low"], r["high"]),
            f"{r['control_low']:.2f} to {r['control_high']:.2f}",
            f"{r['spearman']:.2f}",
            f"{r['slope']:.2f}",
            str(r["n"]),
        ]
        for r in records(mechanisms.by_layer(checks[checks["lang"] == lang]))
    ]
    head = ["Language", "Layer", "Method", "r", "Chance", "Rank correlation", "Slope", "Features"]
    text.html(text.table(head, rows, (1, 3, 4, 5, 6, 7)))
