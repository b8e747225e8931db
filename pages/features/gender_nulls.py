"""The panel of the page Gender that puts dictionaries which learned nothing beside the run's own."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd

from core.answers.nulls import null_answer
from core.figures import nulls
from core.frames import records
from core.run import Run
from core.run.reader import Catalog
from pages.kit import panels, states, text

TITLE = "Is it more than a random dictionary has?"
NOTE = "grey: dictionaries that learned nothing of gender, asked the same; bars: 95 % intervals over images and draws"


def of_cell(cat: Catalog, layer: int, lang: str, view: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of null_findings and null_probes of a layer, language and view; empty where there are none."""
    if not cat.has("null_probes") or not lang:
        return pd.DataFrame(), pd.DataFrame()
    found, probes = (cat.frame(name, layer=layer, lang=lang, view=view) for name in ("null_findings", "null_probes"))
    return found, probes


def panel(cat: Catalog, run: Run, found: pd.DataFrame, probes: pd.DataFrame, name: str, view: str) -> None:
    """Findings and first features of every kind, as a figure and a table; or how to get them."""
    if not cat.has("null_probes"):
        text.heading(TITLE)
        states.empty(
            "This run has not asked the same of a random dictionary.",
            "A count of features is no evidence without it: random directions have more of them.",
            f"python -m precompute run {run.manifest().preset} --run {run.name} --until nulls",
        )
        return
    if view == "image":
        text.heading(TITLE)
        states.empty("At the image no other dictionary was asked.", "", "Read before the gendered word, or all of it.")
        return
    frame = nulls.null_frame(found, probes)
    if frame.empty:
        text.heading(TITLE)
        states.empty("There is not enough data for this comparison.", "", "Take a run with more images.")
        return
    panels.panel(
        TITLE,
        NOTE,
        f"gender-nulls-{name}",
        frame,
        nulls.null_figure(frame),
        "Findings and held-out AUC of the first features of this SAE and of dictionaries that learned nothing",
        key="nulls",
    )
    rows = []
    for one in records(frame[frame["k"] == frame["k"].min()]):
        apart = "–" if pd.isna(one["difference"]) else _within(one, "difference", "+")
        share = "–" if pd.isna(one["share"]) else f"{one['share']:.0%}"
        count = f"{one['n_findings']:,.0f} of {one['n_features']:,.0f}"
        rows.append([escape(one["name"]), count, _within(one, "auc"), share, apart, str(int(one["n_draws"]))])
    head = ["Dictionary", "Findings", "AUC of its first feature", "Of what a probe tells", "This SAE more by", "Draws"]
    text.html(text.table(head, rows, numeric=(1, 2, 3, 4, 5)))


def _within(row: dict[str, Any], name: str, sign: str = "") -> str:
    value, low, high = (f"{row[f'{name}{end}']:{sign}.2f}".replace("-", "−") for end in ("", "_low", "_high"))
    return f"{value} [{low}, {high}]"


def answer_head(question: str, found: pd.DataFrame, probes: pd.DataFrame, layer: int, lang: str, view: str) -> bool:
    """The page's title with what separates the SAE from random directions; whether there is such an answer."""
    if probes.empty:
        return False
    answer = null_answer(found, probes, layer, lang, view)
    if answer.sure == "not enough data":
        return False
    text.page_title(question, answer.text, answer.sure, note=answer.note)
    return True
