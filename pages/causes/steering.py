"""Turn features up or down and read what the model then writes, in both languages, as it writes it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from core.figures.answers import steering_answer
from core.runs import Run, manifest_version
from pages.kit import bench, export, knobs, runs, subject, text
from pages.kit.examples import layer_features
from pages.kit.live import Knob, Step, live, matched_controls

QUESTION = "What happens to the captions when a feature is turned up or down?"
FRAME = 0.04  # seconds between two pictures of the stream


def main() -> None:
    run = runs.current_run()
    runs.needs(run, "prepare", "train", "features")
    cat = runs.catalog(run)
    head = st.empty()
    with head.container():
        text.page_title(QUESTION)
    turned = knobs.read_turned(cat)
    english, middle, arabic = st.columns([1, 1.15, 1], gap="medium")
    frames = {"en": english.empty(), "ar": arabic.empty()}
    with middle:
        sample_id = subject.picture(run, cat)
        knobs.sliders(turned)
        seed = control_picker() if turned else None
        knobs.chooser(run, cat, turned)
    pushed = [Knob(t.layer, t.feature, t.strength, t.p999) for t in turned if t.strength]
    controls = [] if seed is None else matched_controls(tables(run, pushed), pushed, seed)
    step = write(run, sample_id, pushed, controls, frames)
    answer = steering_answer(bench.compare(step, "after"), bench.compare(step, "control"))
    with head.container():
        text.page_title(QUESTION, answer.text, answer.sure if pushed else "")
    bench.outcome(step, controls)
    with st.container(horizontal=True, vertical_alignment="center"):
        export.downloads(f"steering-sample-{sample_id}", bench.captions_table(step, sample_id, pushed, controls),
                         partial(bench.sheet, run, step, sample_id, pushed, controls))  # fmt: skip
        share()
    subject.gallery(run, cat)
    text.method(METHOD)


def control_picker() -> int | None:
    """Whether a random feature is run beside the chosen ones, and which (its seed)."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        on = st.toggle("Control: a random feature", key="control", bind="query-params", help=CONTROL)
        if not on:
            return None
        seed = st.number_input("Draw", min_value=0, step=1, key="seed", bind="query-params", width=110,
                               help="Which of the random features: another number draws another")
    return int(seed)


def tables(run: Run, pushed: Sequence[Knob]) -> pd.DataFrame:
    frames = [layer_features(run, layer) for layer in sorted({k.layer for k in pushed})]
    return pd.concat(frames) if frames else pd.DataFrame(columns=["layer", "feature", "alive", "density", "p999"])


def write(run: Run, sample_id: int, pushed: list[Knob], controls: list[Knob], frames: dict[str, Any]) -> Step:
    """Let the model write and show it as it comes; the last result is kept, so that other knobs do not write again."""
    key = (str(run.dir), manifest_version(run), sample_id, tuple(pushed), tuple(controls))
    kept = st.session_state.get("steered")
    if kept is not None and kept[0] == key:
        bench.draw(kept[1], frames, bool(pushed), controls)
        return kept[1]
    model = live(run)
    step = Step({("before", lang): words for lang, words in (model.before(sample_id) or {}).items()})
    bench.draw(step, frames, bool(pushed), controls)
    with model.turn(partial(bench.waiting, frames)), closing(model.captions(sample_id, pushed, controls)) as steps:
        drawn = 0.0
        for step in steps:
            if step.finished or time.monotonic() - drawn > FRAME:
                bench.draw(step, frames, bool(pushed), controls)
                drawn = time.monotonic()
    st.session_state["steered"] = (key, step)
    return step


def share() -> None:
    """The address of this state, to be copied."""
    with st.popover("Share", type="tertiary", icon=":material/link:"):
        st.code(f"{st.context.url}?{urlencode(st.query_params.to_dict())}", language=None, wrap_lines=True)


CONTROL = """A living feature of the same layer that fires about as often, drawn by chance and pushed by the same
amount. If it changes the captions as much, the effect does not belong to the feature you chose."""
METHOD = r"""
While the model writes, the state $h$ at every image patch, question and caption token of a layer becomes
$h' = h + \min(1, c\,\|h\| / \|\delta\|)\,\delta$ with $\delta = \sum_i s_i\, p_i\, d_i$: $d_i$ is the feature's decoder
direction, $p_i$ its 99.9th percentile of activation, $s_i$ the slider, and $c = 1$ caps an edit at the length of the
state itself. Nothing is reconstructed: what the dictionary does not explain stays as it is, and special tokens are
never touched (activation addition, Turner et al., 2023). All rows are written greedily in one batch. The control is
pushed by the same $\|\delta\|$. One image shows what can happen, not how often.
"""

main()
