"""How far the computing of this run is, live."""

from html import escape

import streamlit as st

from core.run import Run
from pages.kit import build, pipeline, runs, states, text
from pages.kit.pipeline import duration, size

ANSWERS = {
    "running": "It is being computed now.",
    "done": "Everything asked for is done.",
    "layers": "Single layers are being computed now, side by side.",
    "failed": "It stopped at an error.",
    "stopped": "It was stopped before it was done; what is done is kept.",
    None: "Nothing has been said about it.",
}


def stages_html(run: Run) -> str:
    """A row for each finished stage."""
    manifest = run.manifest()
    rows = [
        [
            escape(runs.stage_words(name)[0]),
            f'<span class="cs-mono">{escape(name)}</span>',
            duration(r.seconds),
            f"{r.rows:,}",
            size(r.bytes),
            size(r.peak_memory),
            escape(r.device),
            escape(pipeline.clock(r.started).removesuffix(" UTC")),
        ]
        for name, r in manifest.stages.items()
    ]
    if not rows:
        return '<p class="cs-small">No stage is finished yet.</p>'
    head = ["Finished", "Stage", "Time", "Rows", "Size", "Memory", "Device", "Began (UTC)"]
    return text.table(head, rows, numeric=(2, 3, 4, 5, 7))


def live(run: Run) -> None:
    """The moving part: looked at every second while the run is at work, else every ten."""
    progress = run.progress()
    state = "layers" if run.layers_at_work() else progress["state"] if progress else None
    before, st.session_state["seen-state"] = st.session_state.get("seen-state"), (run.name, state)
    if before and before[0] == run.name and before[1] != state:
        st.rerun()
    text.page_title("How far is this run?", ANSWERS.get(state, str(state)), eyebrow=f"Run {run.name}")
    if state == "failed":
        states.box(list(build.failure(run)), "error")
    if pipeline.show(run, 12) is None:
        states.empty(
            "This run has no progress.json.",
            "It was made elsewhere, or the file was removed.",
            "What is finished stands in the table below.",
        )
    if state in ("stopped", "failed"):
        command = runs.command(run.manifest().preset, run.name)
        text.html(f"<p>Go on with it: <code>{escape(command)}</code></p>")
    text.heading("What is finished")
    text.html(stages_html(run))


run = runs.current_run()
working = run.holder() is not None
st.fragment(live, run_every=1.0 if working else 10.0)(run)
