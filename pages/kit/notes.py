"""Users' own labels, notes and lists of features: shown, edited, taken along and brought in; kept in the run folder."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from core.errors import UserError
from core.features.notes import MAX_BYTES, MAX_LABEL, MAX_NOTE, Entry, Key, NoteChanged, Notes
from core.run import Run
from core.run.reader import Catalog
from pages.kit import states, text
from pages.kit.examples import feature_link


def with_notes(run: Run, features: pd.DataFrame) -> pd.DataFrame:
    """A layer's features with what users said of them: `own`, `note`, `lists` (of names); `label` begins with the own
    label. Entries of another dictionary are left out, for its features are others."""
    said = {(e.layer, e.feature, e.sae_id): e for e in readable(run)}
    keys = zip(features["layer"].astype(int), features["feature"].astype(int), features["sae_id"], strict=True)
    found = [said.get(key, Entry(*key)) for key in keys]
    own = pd.Series([e.label for e in found], index=features.index, dtype=str)
    label = features["label"] if "label" in features else pd.Series("", index=features.index)
    lists = pd.Series([list(e.lists) for e in found], index=features.index, dtype=object)
    note = [e.note for e in found]
    return features.assign(own=own, note=note, lists=lists, label=own.where(own != "", label))


def readable(run: Run) -> list[Entry]:
    """All entries; where the file cannot be read, none, and the page says so and goes on."""
    try:
        return Notes(run.dir).entries()
    except UserError as error:
        states.error_box(error)
        return []


def editor(run: Run, cat: Catalog, layer: int, feature: int, sae_id: str) -> None:
    """What users said of a feature, a form to change it, and what was said of that number in earlier dictionaries."""
    key = (layer, feature, sae_id)
    try:
        notes = Notes(run.dir)
        entry, earlier, lists = notes.get(*key), notes.earlier(*key), list(notes.lists())
    except UserError as error:
        states.error_box(error)
        return
    _show(entry)
    if st.session_state.get("note-seen", ((), 0))[0] != (run.name, *key):
        st.session_state["note-seen"] = ((run.name, *key), entry.version)
    failed_key, error = st.session_state.pop("note-error", (None, None))
    if failed_key == (run.name, *key):
        states.error_box(error)
    with (
        st.popover("Your label and notes", icon=":material/edit_note:", type="tertiary", key="notes"),
        st.form("note-form", border=False),
    ):
        st.text_input("Your label", entry.label, max_chars=MAX_LABEL, key=_widget("label", run, key))
        st.text_area("Note", entry.note, max_chars=MAX_NOTE, key=_widget("note", run, key))
        st.multiselect(
            "On the lists",
            lists,
            list(entry.lists),
            key=_widget("lists", run, key),
            accept_new_options=True,
            placeholder="Choose, or type a new name",
            max_selections=20,
        )
        st.form_submit_button("Save", type="primary", on_click=save, args=(run, key))
    saes = dict(zip(cat.saes()["layer"].astype(int), cat.saes()["sae_id"], strict=True))
    for old in (e for e in earlier if e.of_another_sae(saes)):
        states.empty(
            f"An earlier dictionary ({old.sae_id[:8]}) had a feature of this number.",
            f"Of that one it was said: {' · '.join(filter(None, (old.label, old.note, *old.lists)))}",
            "It is another feature; the note is kept.",
        )


def _show(entry: Entry) -> None:
    if entry.label:
        text.html(
            f'<p style="font-size:1.25rem;font-weight:600;margin:0"><bdi>{escape(entry.label)}</bdi> '
            '<span class="cs-small" style="font-weight:400">your label</span></p>'
        )
    if entry.note:
        text.html(f'<p style="white-space:pre-wrap;margin:.2rem 0">{escape(entry.note)}</p>')
    if entry.lists:
        text.html(f'<p class="cs-small" style="margin:0">On: {" · ".join(map(escape, entry.lists))}</p>')


def _widget(what: str, run: Run, key: Key) -> str:
    return f"note-{what}-{run.name}-{key[0]}-{key[1]}-{key[2]}"


def save(run: Run, key: Key) -> None:
    """Write what the form says; where somebody else was faster, say what they wrote and keep what was typed."""
    notes, (_, seen) = Notes(run.dir), st.session_state["note-seen"]
    label, note, lists = (st.session_state[_widget(what, run, key)] for what in ("label", "note", "lists"))
    try:
        entry = notes.write(*key, label=label, note=note, seen=seen)
        for name in sorted({*lists} ^ {*entry.lists}):
            entry = notes.put_on_list(name, *key, on=name in lists)
        st.session_state["note-seen"] = ((run.name, *key), entry.version)
    except NoteChanged as error:
        st.session_state["note-seen"] = ((run.name, *key), notes.get(*key).version)
        st.session_state["note-error"] = ((run.name, *key), error)
    except UserError as error:
        st.session_state["note-error"] = ((run.name, *key), error)
    except OSError as error:
        st.session_state["note-error"] = ((run.name, *key), not_written(run, error))


def not_written(run: Run, error: OSError) -> UserError:
    """The error of a run folder that cannot be written to."""
    return UserError("The notes could not be saved.", str(error), f"Make {run.dir} writable, or export them first.")


def manager(run: Run, cat: Catalog) -> None:
    """All labels, notes and lists of the run, folded: as a table, as a file to take along, and to bring in."""
    entries = readable(run)
    saes = dict(zip(cat.saes()["layer"].astype(int), cat.saes()["sae_id"], strict=True))
    with st.expander(f"Your labels, notes and lists ({len(entries)})"):
        if entries:
            rows = [_row(entry, entry.of_another_sae(saes)) for entry in entries]
            text.html(text.table(["Layer", "Feature", "Label", "Note", "Lists", ""], rows, numeric=(0, 1)))
        else:
            text.html('<p class="cs-small">None yet: a feature’s own page takes them.</p>')
        st.download_button(
            "Export (JSON)",
            lambda: Notes(run.dir).export(),
            f"notes-{run.name}.json",
            "application/json",
            key="notes-export",
            on_click="ignore",
            disabled=not entries,
        )
        with st.form("notes-import", clear_on_submit=True, border=False):
            file = st.file_uploader(
                "Add an exported file", type="json", key="notes-file", max_upload_size=MAX_BYTES // 1_000_000
            )
            if st.form_submit_button("Add") and file is not None:
                bring_in(run, file.getvalue())


def _row(entry: Entry, stale: bool) -> list[str]:
    note = "of an earlier dictionary, most likely another feature" if stale else ""
    number = str(entry.feature) if stale else feature_link(entry.layer, entry.feature)
    return [
        str(entry.layer),
        number,
        f"<bdi>{escape(entry.label)}</bdi>",
        f"<bdi>{escape(entry.note)}</bdi>",
        escape(" · ".join(entry.lists)),
        note,
    ]


def bring_in(run: Run, content: bytes) -> None:
    """Add an exported file of notes to the run's, and say how many features it said something new of."""
    try:
        n = Notes(run.dir).merge(content)
    except UserError as error:
        states.error_box(error)
    except OSError as error:
        states.error_box(not_written(run, error))
    else:
        states.box([f"{n} features have something new." if n else "The file says nothing new."])
