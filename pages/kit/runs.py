"""Opening a run: which one the visitor looks at, its catalog, and what a page does when a part is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from core.config import only_language
from core.errors import UserError
from core.run import Run, list_runs, manifest_version, open_run, runs_dir
from pages.kit import states, text
from pages.kit.links import href

if TYPE_CHECKING:
    from core.run.reader import Catalog

STAGES = {
    "prepare": ("Collect the images and captions", "The images and their captions"),
    "caption": ("Let the model write its captions", "The model's own captions"),
    "words": ("Find the words that name a gender", "The words that name a gender"),
    "activations": ("Record what its layers say", "What the model's layers say"),
    "train": ("Learn a dictionary of features", "The dictionaries of features"),
    "codes": ("Keep what fires on every token", "What fires on every token"),
    "features": ("Find what each feature responds to", "What each feature responds to"),
    "pool": ("Gather the features of each caption", "The features of each caption"),
    "gender": ("Find the features of gender", "The features of gender"),
    "nulls": ("Ask the same where there is nothing", "What random dictionaries would show"),
    "crosslingual": ("Compare English and Arabic", "The comparison of English and Arabic"),
    "layers": ("Follow gender through the layers", "Gender layer by layer"),
    "bias": ("Measure the bias of the captions", "The bias of the captions"),
    "explain": ("Ask the model what its features are", "What the model says of its features"),
    "interventions": (
        "Change features, and see what captions become",
        "What captions become when features are changed",
    ),
    "hiding": (
        "Hide the person, and see what captions become",
        "What captions become when a part of the picture is hidden",
    ),
    "mechanisms": ("Find the heads that carry gender", "What heads and features do to the words"),
    "graph": ("Follow single words back to the picture", "How single words were written"),
}
"""What a visitor reads of each stage, in the order of the pipeline: what it does, and what it gives."""


def stage_words(stage: str) -> tuple[str, str]:
    """What a stage does and what it gives; its name where it has no words."""
    return STAGES.get(stage, (stage.capitalize(), stage))


def run_names() -> list[str]:
    """The names of all runs, "demo" first, which is the default of the picker."""
    return sorted((run.name for run in list_runs(runs_dir())), key=lambda name: (name != "demo", name))


def current_run() -> Run:
    """The run that the picker names; where there is none yet, the page stops with the way to the first one."""
    names = run_names()
    if not names:
        states.empty(
            "There is no run yet.",
            "A run holds the images, captions and features that this page shows.",
            "The overview builds the demo with one button.",
        )
        text.html('<p><a href=".">Open the overview</a></p>')
        st.stop()
    asked = st.session_state.get("run") or st.query_params.get("run")
    return open_run(asked if asked in names else names[0], runs_dir())


def in_sidebar(run: Run) -> None:
    """What every page should say of a run: that its captions are of one language, or of people, where they are."""
    only, given = _said_of(str(run.dir), manifest_version(run))
    if only:
        with st.sidebar:
            text.html(f'<p class="cs-small">{only[:1].upper()}{only[1:]}; comparisons of languages are left out.</p>')
    if given:
        with st.sidebar:
            text.html(f'<p class="cs-small">{given[:1].upper()}{given[1:]}.</p>')


@st.cache_data(max_entries=16, show_spinner=False)
def _said_of(run_dir: str, version: str) -> tuple[str, str]:
    run = Run(run_dir)
    return only_language(run.languages), run.captions_given


def catalog(run: Run) -> Catalog:
    """The tables of a run; opened once per state of its manifest and shared by all visitors."""
    return _catalog(str(run.dir), manifest_version(run))


@st.cache_resource(max_entries=4, show_spinner=False)
def _catalog(run_dir: str, version: str) -> Catalog:
    from core.run.reader import Catalog

    return Catalog(run_dir)


def needs(run: Run, *stages: str, title: str = "") -> None:
    """Stop the page, with the command that would fill it, unless these stages of the run are done.

    ``title`` is the page's question, where the page has not said it yet.
    """
    manifest = run.manifest()
    missing = [stage for stage in stages if stage not in manifest.stages]
    if not missing:
        return
    if title:
        text.page_title(title)
    parts = ", ".join((gives := stage_words(stage)[1])[:1].lower() + gives[1:] for stage in missing)
    progress = run.progress()
    if progress and progress["state"] == "running":
        do = "It is being computed now. Reload this page when it is done."
    else:
        do = f"Compute it: {command(manifest.preset, run.name)}"
    states.empty("This part has not been computed yet.", f"Missing from the run {run.name}: {parts}.", do)
    text.html(f'<p><a href="{href("status")}">See how far this run is</a></p>')
    st.stop()


def enough(run: Run, stage: str, title: str) -> None:
    """Stop the page, saying what is lacking, where a stage found too little data for its figures."""
    record = run.manifest().stages.get(stage)
    lack = record.notes.get("too_little_data") if record else None
    if lack:
        text.page_title(title, lack[0], "not enough data")
        states.empty("Not enough data.", lack[1], lack[2])
        st.stop()


def command(preset: str, name: str) -> str:
    """The command line that computes what a run lacks."""
    return f"python -m precompute run {preset}" + ("" if preset == name else f" --run {name}")


def missing(what: str) -> UserError:
    """The error of an address that names something which is not there."""
    return UserError(
        f"{what} is not in this run.",
        "The address may belong to another run, or to an earlier one.",
        "Choose another in the picker, or begin at the overview.",
    )
