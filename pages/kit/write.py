"""Getting the captions: kept, read from the precomputed grid, or written live, a word at a time, until Stop."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from core.catalog import Catalog
from core.gender.sets import edits_key
from core.runs import Run, manifest_version
from pages.kit import bench
from pages.kit import live as door
from pages.kit.asked import Asked, Step, Strip
from pages.kit.subject import Subject

FRAME = 0.04  # seconds between two pictures of the stream


def write(run: Run, cat: Catalog, subject: Subject, asked: Asked, frames: dict[str, Any], stop: Any) -> Step:
    """Let the model write and show it as it comes, with a button to stop it in the place `stop`.

    The last result is kept, so that other knobs do not write again. A setting that stands in the grid is answered from
    there, and only such a one: nothing is read off between two settings.
    """
    key = (str(run.dir), manifest_version(run), subject.key, asked)
    kept_key, kept = st.session_state.get("steered", (None, None))
    if kept_key == key and kept is not None:
        bench.draw(kept, frames, asked)
    elif st.session_state.get("halted") == key and st.session_state.get("partial", (None,))[0] == key:
        kept = st.session_state["partial"][1]
        bench.draw(kept, frames, asked, stopped=True)
        with stop.container(horizontal=True, vertical_alignment="center"):
            st.button("Go on", key="go-on", icon=":material/play_arrow:", on_click=go_on)
    else:
        kept = None if st.session_state.get("live") == key else from_grid(cat, subject, asked)
        if kept is None:
            kept = _live(run, cat, subject, asked, frames, stop, key)
        bench.draw(kept, frames, asked)
        st.session_state["steered"] = (key, kept)
    if kept.source == "cached" and asked.pushed:
        with stop.container():
            st.button(
                "Write it live",
                key="write-live",
                icon=":material/bolt:",
                type="tertiary",
                on_click=partial(again, key),
                help="This answer was written when the run was computed, for exactly this setting. Live it also "
                "shows what else moves.",
            )
    return kept


def _live(run: Run, cat: Catalog, subject: Subject, asked: Asked, frames: dict[str, Any], stop: Any, key: Any) -> Step:
    known = own_captions(cat, subject) if asked.draw is None else {}
    st.session_state["partial"] = (
        key,
        Step(known),
    )  # what a Stop before the first word leaves: none of another setting
    bench.draw(Step(known), frames, asked)
    stop.button("Stop", key="stop", icon=":material/stop:", on_click=halt, args=(key,))
    model = door.live(run)
    step, drawn = Step({}), 0.0
    with model.turn(partial(bench.waiting, frames)), closing(model.captions(subject, asked)) as steps:
        began, first = time.monotonic(), 0.0
        for step in steps:
            first = first or time.monotonic() - began
            shown = replace(step, texts=step.texts | known)
            st.session_state["partial"] = (key, shown)
            if time.monotonic() - drawn > FRAME and not step.finished:
                bench.draw(shown, frames, asked)
                drawn = time.monotonic()
        step = replace(step, seconds=(first, time.monotonic() - began))
    stop.empty()
    return step


def own_captions(cat: Catalog, subject: Subject) -> dict[tuple[str, str], str]:
    """What the model wrote of the image when the run was computed: shown while it writes again."""
    if subject.sample_id is None or not cat.has("captions"):
        return {}
    rows = cat.captions([subject.sample_id])
    return {("before", lang): words for lang, words in zip(rows["lang"], rows["text"], strict=True)}


def from_grid(cat: Catalog, subject: Subject, asked: Asked) -> Step | None:
    """The answer to exactly this setting where the grid holds it, with the captions as they were."""
    plain = asked.pushed and asked.mode == "add" and asked.draw is None and asked.rows == ["after"]
    if not plain or subject.sample_id is None or not cat.has("doses"):
        return None
    wanted = {"before": "", "after": edits_key((k.layer, k.feature, k.strength) for k in asked.pushed)}
    step = Step({}, True, source="cached")
    for row, edits in wanted.items():
        for one in cat.doses(subject.sample_id, edits).to_dict("records"):
            step.texts[row, one["lang"]] = one["text"]
            pieces, female, male = (tuple(one[name]) for name in ("pieces", "p_female", "p_male"))
            step.strips[row, one["lang"]] = Strip(pieces, female, male)
    return step if len(step.texts) == len(wanted) * len(cat.languages) else None


def halt(key: Any) -> None:
    st.session_state["halted"] = key


def go_on() -> None:
    st.session_state.pop("halted", None)


def again(key: Any) -> None:
    st.session_state["live"] = key
    st.session_state.pop("steered", None)
