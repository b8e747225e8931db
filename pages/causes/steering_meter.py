"""Below the captions: chances of gendered words as they are written, and what else the edit moves."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from core.answers.steering import meter_answer
from core.config import LANGUAGE_NAME, LANGUAGES
from core.figures import steering
from core.figures.feature import percent
from core.run import Run
from core.steering.request import Step
from pages.kit import coverage, panels, runs, text
from pages.kit.examples import feature_link, layer_features

STRIP_NOTE = (
    "probability that a word for a woman comes next, and one for a man, at every token it writes: whole words in all "
    "their forms; dotted: as it was"
)
METER_NOTE = (
    "gender as it can be read before a caption says it; probe: +1 is the average image of "
    "women, −1 of men; lens: above 0 the woman’s spelling of the first gendered word is likelier, where the two part"
)
MOVED_NOTE = "besides those you turned: mean activation before the first gendered word, as it was → as steered"


def strips(step: Step) -> None:
    """One strip a language, Arabic to the right and from right to left."""
    frame = steering.strip_frame({job: s for job, s in step.strips.items() if job[0] in ("before", "after")})
    if frame.empty:
        return
    langs = [lang for lang in LANGUAGES if (frame["lang"] == lang).any()]
    both = steering.strip_chart(frame, *langs)
    note = f"{STRIP_NOTE}. Not followed: {percent(frame['left_out'].max())} of a token’s probability at most"
    panels.panel("While it writes", note, "steering-words", frame, both, "", shown=False)
    for column, lang in zip(st.columns(len(langs), gap="large"), langs, strict=True):
        with column:
            text.html(f'<div class="cs-side" data-lang="{lang}">{text.language_label(lang)}</div>')
            chart = steering.strip_chart(frame, lang)
            panels.figure(chart, f"Chances of gendered words, {lang}", key=f"strip-{lang}")


def off_target(run: Run, step: Step) -> None:
    """Probe and lens by layer, and the features that moved most; nothing where the answer was read from the grid."""
    if not step.meter:
        return
    frame = steering.meter_frame(step.meter)
    measures = [m for m in steering.MEASURES if (frame["measure"] == m).any()]
    if not measures:
        return
    all_measures = steering.meter_chart(frame, *measures)
    panels.panel("What else moves", METER_NOTE, "steering-layers", frame, all_measures, "", shown=False)
    said = meter_answer(frame)
    if said:
        text.html(f'<p class="cs-small">{said}</p>')
    coverage.line(runs.catalog(run))
    for column, measure in zip(st.columns(len(measures), gap="large"), measures, strict=True):
        with column:
            chart = steering.meter_chart(frame, measure)
            panels.figure(chart, f"{steering.MEASURES[measure]} by layer", key=f"meter-{measure}")
    if step.moved:
        text.heading("The features that moved most", MOVED_NOTE)
        langs = [lang for lang in LANGUAGES if (frame["lang"] == lang).any()]
        head = ["Feature", *(LANGUAGE_NAME[lang] for lang in langs), "Words it answers to"]
        text.html(text.table(head, [_moved(run, row, langs) for row in step.moved], numeric=range(1, 1 + len(langs))))


def _moved(run: Run, row: dict[str, Any], langs: Sequence[str]) -> list[str]:
    layer, feature = int(row["layer"]), int(row["feature"])
    known: pd.DataFrame = layer_features(run, layer)
    words = known.loc[known["feature"] == feature, "words"].iloc[0]
    cells = [
        f"{row[f'before_{lang}']:.1f} → {row[f'after_{lang}']:.1f}" if f"after_{lang}" in row else "–" for lang in langs
    ]
    shown = " · ".join(f"<bdi>{escape(w)}</bdi>" for w in words.split(" · ")[:4] if w)
    return [feature_link(layer, feature, f"layer {layer}, feature {feature}"), *cells, shown]
