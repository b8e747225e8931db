"""Captions before and after an intervention, image by image, in the languages of the run."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from core.catalog import Catalog
from core.figures.interventions import way_name
from core.runs import Run
from pages.kit import images, states, text

SHOWN = 6


def captions(run: Run, cat: Catalog, verdicts: pd.DataFrame) -> None:
    """Some captions of a design that the visitor picks, unedited above edited."""
    text.heading("Read them", "captions of the same images without and with the change; underlined: words of gender")
    first = verdicts.sort_values("note", key=lambda note: note != "headline", kind="stable")
    ways = {
        f"{way_name(r)} · layer {r.layer}, strength {r.strength:g}" if r.layer >= 0 else way_name(r): int(r.arm)
        for r in first.drop_duplicates("arm").itertuples()
    }
    if not ways:
        states.empty("There are no captions to read.")
        return
    way = st.selectbox("What is changed", list(ways), key="way", bind="query-params")
    frame = cat.intervention_captions(ways[way])
    shown = list(dict.fromkeys(frame["image"]))[:SHOWN]
    blocks = []
    for image in shown:
        mine = frame[frame["image"] == image]
        sides = "".join(text.side(r.lang, _pair(r.before, r.text, r.lang)) for r in mine.itertuples())
        columns = f"7rem{' 1fr' * len(mine)}"
        blocks.append(
            f'<div style="display:grid;grid-template-columns:{columns};gap:1.2rem;align-items:start;'
            f'margin-bottom:1.1rem">{_image(run, mine.iloc[0])}{sides}</div>'
        )
    text.html("".join(blocks))


def _pair(before: str, after: str, lang: str) -> str:
    """The unedited caption, small, above the edited one."""
    same = '<p class="cs-small">the same, word for word</p>'
    old = text.caption_html(before, lang, text.gender_marks(before, lang))
    new = text.caption_html(after, lang, text.gender_marks(after, lang)) if after != before else same
    return f'<div style="opacity:.75">{old}</div>{new}'


def _image(run: Run, row: pd.Series) -> str:
    path = run.path(str(row["image_file"]))
    if not path.is_file():
        return "<span></span>"
    shown = images.file_uri(path)
    return f'<img src="{shown}" alt="{escape(str(row["gender"]))}" style="width:100%;border-radius:6px">'
