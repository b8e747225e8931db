"""Users' notes: kept through re-runs, told apart by SAE, never lost to another writer, never beyond their bounds."""

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.errors import UserError
from core.features.notes import MAX_LABEL, MAX_NOTE, NoteChanged, Notes


def test_a_note_is_read_back_and_an_emptied_one_is_gone(tmp_path):
    notes = Notes(tmp_path)
    notes.write(3, 17, "abc", label="  women \n at work ", note="fires on نساء\nand more")
    entry = Notes(tmp_path).get(3, 17, "abc")
    assert (entry.label, entry.note) == ("women at work", "fires on نساء\nand more")
    notes.write(3, 17, "abc", label="")
    assert notes.get(3, 17, "abc").note and not notes.get(3, 17, "abc").label
    notes.write(3, 17, "abc", note="")
    assert notes.entries() == [] and notes.get(9, 9, "abc").label == ""


def test_notes_of_another_sae_are_kept_and_told_apart(tmp_path):
    notes = Notes(tmp_path)
    notes.write(3, 17, "old", label="women")
    assert notes.get(3, 17, "new").label == ""
    (earlier,) = notes.earlier(3, 17, "new")
    assert earlier.label == "women" and earlier.of_another_sae({3: "new"}) and not earlier.of_another_sae({3: "old"})
    notes.write(3, 17, "new", label="dogs")
    assert [e.label for e in notes.entries()] == ["dogs", "women"]


def test_lists_hold_features_until_they_are_taken_off(tmp_path):
    notes = Notes(tmp_path)
    for feature in (5, 2):
        notes.put_on_list("for the paper", 3, feature, "abc")
    notes.put_on_list("doubtful", 3, 2, "abc")
    assert {name: [e.feature for e in of] for name, of in notes.lists().items()} == {
        "doubtful": [2],
        "for the paper": [2, 5],
    }
    notes.put_on_list("doubtful", 3, 2, "abc", on=False)
    assert list(notes.lists()) == ["for the paper"]
    with pytest.raises(UserError):
        notes.put_on_list("  ", 3, 2, "abc")


def test_who_writes_over_a_change_that_he_has_not_seen_is_told(tmp_path):
    notes = Notes(tmp_path)
    seen = notes.get(3, 1, "abc").version
    notes.write(3, 1, "abc", note="mine", seen=seen)
    with pytest.raises(NoteChanged, match="Somebody else"):
        notes.write(3, 1, "abc", note="yours", seen=seen)
    assert notes.get(3, 1, "abc").note == "mine"


def write_many(folder, first):
    for feature in range(first, first + 15):
        Notes(folder).write(3, feature, "abc", note=f"note {feature}")
        Notes(folder).put_on_list("all", 3, feature % 4, "abc")


def test_writers_at_the_same_time_lose_nothing(tmp_path):
    """Processes and threads, each with its own features, and all on the same list."""
    processes = [
        multiprocessing.get_context("fork").Process(target=write_many, args=(tmp_path, 100 * i)) for i in (1, 2)
    ]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda first: write_many(tmp_path, first), (300, 400, 500)))
    for process in processes:
        process.join()
        assert process.exitcode == 0
    noted = [e.feature for e in Notes(tmp_path).entries() if e.note]
    assert noted == [f for first in (100, 200, 300, 400, 500) for f in range(first, first + 15)]
    assert [e.feature for e in Notes(tmp_path).lists()["all"]] == [0, 1, 2, 3]


def test_an_export_can_be_taken_in_elsewhere_and_twice(tmp_path):
    here, there = Notes(tmp_path / "a"), Notes(tmp_path / "b")
    here.write(3, 1, "abc", label="women", note="see page 4")
    here.put_on_list("paper", 3, 1, "abc")
    assert there.merge(here.export()) == 1 and there.merge(here.export()) == 0
    assert there.get(3, 1, "abc") == here.get(3, 1, "abc").__class__(3, 1, "abc", "women", "see page 4", ("paper",), 1)


def test_taking_in_loses_neither_side(tmp_path):
    here, there = Notes(tmp_path / "a"), Notes(tmp_path / "b")
    here.write(3, 1, "abc", label="women", note="mine")
    there.write(3, 1, "abc", label="ladies", note="yours")
    there.write(3, 2, "abc", label="dogs")
    assert here.merge(there.export()) == 2
    entry = here.get(3, 1, "abc")
    assert entry.label == "women" and entry.note.splitlines() == ["mine", "ladies", "yours"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        b"\xff\xfe",
        '{"format": 2, "features": []}',
        '{"format": 1, "features": [3]}',
        '{"format": 1, "features": [{"layer": "3", "feature": 1, "sae_id": "a"}]}',
        '{"format": 1, "features": [{"layer": true, "feature": 1, "sae_id": "a"}]}',
        '{"format": 1, "features": [{"layer": 3, "feature": -1, "sae_id": "a"}]}',
        '{"format": 1, "features": [{"layer": 3, "feature": 1, "sae_id": "a", "label": 5}]}',
        '{"format": 1, "features": [{"layer": 3, "feature": 1, "sae_id": "a", "evil": "x"}]}',
        '{"format": 1, "features": [{"layer": 3, "feature": 1, "sae_id": "a", "lists": [""]}]}',
        json.dumps(
            {"format": 1, "features": [{"layer": 3, "feature": 1, "sae_id": "a", "note": "x" * (MAX_NOTE + 1)}]}
        ),
        "[" * 100_000,
    ],
    ids=range(14),
)
def test_what_is_no_export_changes_nothing_and_says_why(tmp_path, text):
    notes = Notes(tmp_path)
    notes.write(3, 1, "abc", note="mine")
    before = notes.path.read_bytes()
    with pytest.raises(UserError, match="cannot be read as notes"):
        notes.merge(text)
    assert notes.path.read_bytes() == before


def test_a_broken_file_is_never_written_over(tmp_path):
    notes = Notes(tmp_path)
    notes.path.write_text('{"format": 1, "feat')
    for act in (notes.entries, lambda: notes.write(3, 1, "abc", label="x")):
        with pytest.raises(UserError, match="cannot be read as notes"):
            act()
    assert notes.path.read_text() == '{"format": 1, "feat'


def test_texts_have_bounds_and_no_control_characters(tmp_path):
    notes = Notes(tmp_path)
    with pytest.raises(UserError, match="too long"):
        notes.write(3, 1, "abc", label="x" * (MAX_LABEL + 1))
    assert not notes.path.exists()
    notes.write(3, 1, "abc", label="a\x00b\ud800", note="c\x1bd")
    assert (notes.get(3, 1, "abc").label, notes.get(3, 1, "abc").note) == ("a b", "c d")
