"""Users' own labels, notes and lists of features: ``notes.json`` of a run, which no stage writes or removes.

A feature is known by layer, number and SAE: after a re-run that ends in the same SAE its notes are still its own; those
of another SAE are kept and told apart. Writers take turns by a lock and change only what they were asked to.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.run import write_json

FILE, LOCK, FORMAT = "notes.json", ".notes.lock", 1
MAX_LABEL, MAX_NOTE, MAX_LIST_NAME = 80, 4_000, 60  # characters
MAX_ENTRIES, MAX_LISTS, MAX_BYTES = 20_000, 100, 32_000_000
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\u2028\u2029\ud800-\udfff]")

Key = tuple[int, int, str]
"""Layer, feature, sae_id."""


class NoteChanged(UserError):
    """Somebody else has changed the entry meanwhile."""


@dataclass(frozen=True)
class Entry:
    """What users said of one feature; ``version`` rises with every change of it."""

    layer: int
    feature: int
    sae_id: str
    label: str = ""
    note: str = ""
    lists: tuple[str, ...] = ()
    version: int = 0

    @property
    def key(self) -> Key:
        return self.layer, self.feature, self.sae_id

    def of_another_sae(self, saes: Mapping[int, str]) -> bool:
        """Whether the run's SAE of that layer (``saes``: sae_id by layer) is not the one that this was said of."""
        return saes.get(self.layer) != self.sae_id


class Notes:
    """The notes of one run folder; every method reads the file as it is now."""

    def __init__(self, run_dir: str | Path):
        self.path = Path(run_dir) / FILE

    def entries(self) -> list[Entry]:
        """All that anything is said of, by layer, feature and SAE; UserError where the file cannot be read."""
        return [entry for entry in self._read().values() if entry.label or entry.note or entry.lists]

    def get(self, layer: int, feature: int, sae_id: str) -> Entry:
        """What was said of a feature of this SAE; an empty entry where nothing was."""
        return self._read().get((layer, feature, sae_id), Entry(layer, feature, sae_id))

    def earlier(self, layer: int, feature: int, sae_id: str) -> list[Entry]:
        """What was said of the feature of that number in other SAEs of the layer: another feature, most likely."""
        return [e for e in self.entries() if (e.layer, e.feature) == (layer, feature) and e.sae_id != sae_id]

    def write(
        self,
        layer: int,
        feature: int,
        sae_id: str,
        label: str | None = None,
        note: str | None = None,
        seen: int | None = None,
    ) -> Entry:
        """Change label, note or both (None: leave it); the entry as it now is. An empty text takes it away.

        ``seen`` is the version that the writer had before the eyes: NoteChanged where there is a newer one. UserError
        for texts beyond MAX_LABEL and MAX_NOTE.
        """
        given = {
            "label": None if label is None else " ".join(_clean(label).split()),
            "note": None if note is None else _clean(note).strip(),
        }
        given = {name: text for name, text in given.items() if text is not None}
        for name, most in (("label", MAX_LABEL), ("note", MAX_NOTE)):
            _check_length(f"The {name}", given.get(name, ""), most)
        with self._changing() as entries:
            entry = entries.get((layer, feature, sae_id), Entry(layer, feature, sae_id))
            if seen is not None and seen != entry.version:
                now = f"It now reads: {entry.label or '(no label)'}. {entry.note}".strip()
                raise NoteChanged("Somebody else has changed this note meanwhile.", now, "Look at it and save again.")
            return _put(entries, replace(entry, **given))

    def put_on_list(self, name: str, layer: int, feature: int, sae_id: str, on: bool = True) -> Entry:
        """Put a feature on a list, which thereby exists, or take it off; UserError for a name without text."""
        name = " ".join(_clean(name).split())
        _check_length("The name of the list", name, MAX_LIST_NAME)
        if not name:
            raise UserError("A list needs a name.", "", "Type one.")
        with self._changing() as entries:
            entry = entries.get((layer, feature, sae_id), Entry(layer, feature, sae_id))
            lists = (set(entry.lists) | {name}) if on else (set(entry.lists) - {name})
            return _put(entries, replace(entry, lists=tuple(sorted(lists))))

    def lists(self) -> dict[str, list[Entry]]:
        """Entries by list, lists by name."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries():
            for name in entry.lists:
                found.setdefault(name, []).append(entry)
        return dict(sorted(found.items()))

    def export(self) -> str:
        """All notes as the text of a JSON file, which ``merge`` reads."""
        return json.dumps(_tree({entry.key: entry for entry in self.entries()}), ensure_ascii=False, indent=1) + "\n"

    def merge(self, text: str | bytes) -> int:
        """Add an exported file; how many features it says something new of.

        Where both have a text, the file's is put below what stands here, so that nothing is lost; a label that differs
        goes into the note. UserError for what is no such file or too large, and then nothing is changed.
        """
        incoming = _parse(text, "The file of notes")
        with self._changing() as entries:
            n = 0
            for key, new in incoming.items():
                old = entries.get(key, Entry(*key))
                both = replace(old, **_joined(old, new))
                if (both.label, both.note, both.lists) != (old.label, old.note, old.lists):
                    _check_length("The joined note", both.note, MAX_NOTE)
                    _put(entries, both)
                    n += 1
            return n

    def _read(self) -> dict[Key, Entry]:
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        return _parse(text, f"{self.path}")

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[Key, Entry]]:
        """The entries as they are now, written back at the end; no other writer comes in between."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_name(LOCK), "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = self._read()
            yield entries
            n_lists = len({name for entry in entries.values() for name in entry.lists})
            if len(entries) > MAX_ENTRIES or n_lists > MAX_LISTS:
                why = f"There are {len(entries)} of at most {MAX_ENTRIES}, on {n_lists} of at most {MAX_LISTS} lists."
                raise UserError("There are too many notes in this run.", why, "Export them and take some away.")
            write_json(self.path, _tree(entries))


def _put(entries: dict[Key, Entry], entry: Entry) -> Entry:
    entry = replace(entry, version=entry.version + 1)
    entries[entry.key] = entry  # an emptied one stays, so that its version goes on
    return entry


def _joined(old: Entry, new: Entry) -> dict[str, Any]:
    label = old.label or new.label
    extra = [new.label if new.label != label else "", new.note]
    note = "\n".join([old.note, *(text for text in extra if text and text not in old.note)]).strip()
    return {"label": label, "note": note, "lists": tuple(sorted({*old.lists, *new.lists}))}


def _tree(entries: Mapping[Key, Entry]) -> dict[str, Any]:
    return {"format": FORMAT, "features": [asdict(entries[key]) for key in sorted(entries)]}


def _parse(text: str | bytes, what: str) -> dict[Key, Entry]:
    """Entries by key; UserError where the text is not in this form."""
    try:
        if len(text) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES // 1_000_000} MB")
        tree = json.loads(text)
        if not isinstance(tree, dict) or tree.get("format") != FORMAT or not isinstance(tree.get("features"), list):
            raise ValueError(f'expected {{"format": {FORMAT}, "features": [...]}}')
        if len(tree["features"]) > MAX_ENTRIES:
            raise ValueError(f"it has more than {MAX_ENTRIES} entries")
        entries = [_entry(row) for row in tree["features"]]
    except (ValueError, RecursionError) as e:  # a UnicodeDecodeError and a JSONDecodeError are ValueErrors
        raise UserError(f"{what} cannot be read as notes.", str(e), "Nothing was changed. Mend the file.") from e
    return {entry.key: entry for entry in sorted(entries, key=lambda e: e.key)}


def _entry(row: Any) -> Entry:
    kinds = {"layer": int, "feature": int, "sae_id": str, "label": str, "note": str, "lists": list, "version": int}
    if not isinstance(row, dict) or not {"layer", "feature", "sae_id"} <= set(row) <= set(kinds):
        raise ValueError(f"this is no entry: {str(row)[:80]}")
    wrong = [name for name, value in row.items() if type(value) is not kinds[name]]
    if wrong:
        raise ValueError(f"an entry has a wrong {', '.join(wrong)}: {str(row)[:80]}")
    lists, sizes = row.get("lists", []), (row["layer"], row["feature"], row.get("version", 0))
    if len(row.get("label", "")) > MAX_LABEL or len(row.get("note", "")) > MAX_NOTE or len(lists) > MAX_LISTS:
        raise ValueError(f"an entry is too long: {str(row)[:80]}")
    if not all(0 <= size < 2**53 for size in sizes):
        raise ValueError(f"an entry has a wrong number: {str(row)[:80]}")
    if not all(isinstance(name, str) and 0 < len(name) <= MAX_LIST_NAME for name in lists):
        raise ValueError(f"a list has a wrong name: {str(lists)[:80]}")
    texts = {name: _clean(row[name]) for name in ("label", "note") if name in row}
    return Entry(**{**row, **texts, "lists": tuple(sorted({_clean(name) for name in lists}))})


def _clean(text: str) -> str:
    return CONTROL.sub(" ", text)


def _check_length(what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise UserError(f"{what} is too long.", f"It has {len(text)} characters of at most {most}.", "Shorten it.")
