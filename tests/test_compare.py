"""Comparing two runs and two drawings of the pages: the same is the same, and one changed value or bit is found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from tests.compare_pages import compare
from tests.compare_runs import main

ROWS = {"layer": [1, 1, 3], "auc": [0.5, float("nan"), 0.9], "words": [["she"], [], ["her", "woman"]]}


def write(run: Path, rows: dict, bits: float = 1.0) -> Path:
    (run / "saes").mkdir(parents=True)
    pq.write_table(pa.table(rows).replace_schema_metadata({"written": run.name}), run / "features.parquet")
    save_file({"W_dec": np.array([[bits, 2.0]], np.float32)}, run / "saes" / "sae_weights.safetensors")
    return run


def test_a_run_equals_its_copy_whatever_its_metadata(tmp_path, capsys):
    assert main(write(tmp_path / "a", ROWS), write(tmp_path / "b", ROWS)) == 0
    assert "2 of 2 files hold the same" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"auc": [0.5, float("nan"), 0.8]}, "auc: 33.33% of values, by up to 0.1"),
        ({"words": [["she"], [], ["her"]]}, "words: 1 of 3 values"),
        ({"layer": [1.0, 1.0, 3.0]}, "types: layer int64 -> double"),
    ],
)
def test_a_changed_value_or_type_is_found(tmp_path, capsys, change, told):
    assert main(write(tmp_path / "a", ROWS), write(tmp_path / "b", ROWS | change)) == 1
    assert told in capsys.readouterr().out


def test_a_changed_weight_and_a_lost_table_are_found(tmp_path, capsys):
    other = write(tmp_path / "b", ROWS, bits=1.0000001)
    (other / "features.parquet").unlink()
    assert main(write(tmp_path / "a", ROWS), other) == 1
    said = capsys.readouterr().out
    assert "features.parquet: only in a" in said and "sae_weights.safetensors: W_dec" in said


def test_folders_without_tables_are_no_equal_runs(tmp_path):
    with pytest.raises(SystemExit, match="holds a table"):
        main(tmp_path / "a", tmp_path / "b")


def drawing(path: Path, y: float, said: str = "feature 3 in 1.25 s") -> Path:
    figure = {"data": [{"type": "scatter", "x": [1, 2], "y": [y, 0.5]}], "layout": {"template": path.name}}
    path.write_text(json.dumps({"gender": {"figures": [figure], "texts": [said]}}))
    return path


def test_pages_are_the_same_by_their_data_and_words(tmp_path):
    before = drawing(tmp_path / "before", 0.25)
    assert compare(before, drawing(tmp_path / "after", 0.25, "feature 3 in 7.50 s")) == 0
    assert compare(before, drawing(tmp_path / "after", 0.26)) == 2  # what went and what came
    assert compare(before, drawing(tmp_path / "after", 0.25, "feature 4 in 1.25 s")) == 2
