"""The run folder: atomic files, names, manifests, progress of the dead."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.config import config_to_dict, load_config
from core.errors import UserError
from core.run import (
    Manifest,
    Run,
    StageRecord,
    atomic_path,
    check_run_name,
    list_runs,
    manifest_version,
    open_run,
    write_json,
    write_table,
)


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "mine")
    run.write_manifest(Manifest("mine", "demo", config_to_dict(load_config("demo"))))
    return run


def record(**changes):
    given = {
        "fingerprint": "f",
        "started": "2026-01-01T00:00:00+00:00",
        "seconds": 1.0,
        "rows": 2,
        "bytes": 3,
        "peak_memory": 4,
        "versions": {},
        "device": "cpu",
        "files": {},
    }
    return StageRecord(**{**given, **changes})


def test_a_manifest_comes_back_as_it_went(run):
    before = manifest_version(run)
    manifest = Manifest("mine", "demo", run.manifest().config, {"prepare": record(notes={"dropped": 3})})
    run.write_manifest(manifest)
    assert run.manifest() == manifest and run.config() == load_config("demo")
    assert run.is_done("prepare") and not run.is_done("train")
    assert manifest_version(run) != before


def test_runs_are_found_by_name(run, tmp_path):
    (tmp_path / "not-a-run").mkdir()
    assert [r.name for r in list_runs(tmp_path)] == ["mine"]
    assert open_run("mine", tmp_path).dir == open_run(run.dir).dir == run.dir
    with pytest.raises(UserError, match="no run called yours"):
        open_run("yours", tmp_path)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "-x", "x" * 65, "a b"])
def test_names_that_would_leave_the_folder_are_refused(name):
    with pytest.raises(UserError, match="cannot be the name"):
        check_run_name(name)


def test_no_manifest_broken_manifest_other_format(tmp_path):
    run = Run(tmp_path / "x")
    assert manifest_version(run) == "" and not run.is_done("prepare") and run.progress() is None
    with pytest.raises(UserError, match="no run in"):
        run.manifest()
    run.dir.mkdir()
    run.path("manifest.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        run.manifest()
    run.path("manifest.json").write_text('{"format": 99}')
    with pytest.raises(UserError, match="another version"):
        run.manifest()


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.png"
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".png" and temporary.parent == path.parent
        temporary.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_json_is_plain_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"ar": "صورة"})
    assert "صورة" in (tmp_path / "a.json").read_text(encoding="utf-8")
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", float("nan"))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"ar": "صورة"}


def test_tables_are_the_same_bytes_twice(tmp_path):
    table = pa.table({"x": pa.array(range(1000), pa.int32()), "t": ["أ", "b"] * 500})
    write_table(tmp_path / "a.parquet", table)
    write_table(tmp_path / "b.parquet", table)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert pq.read_table(tmp_path / "a.parquet").equals(table)
    assert pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(0).compression == "ZSTD"


def test_progress_of_a_dead_process_is_not_running(run):
    told = {"state": "running", "stages": [{"name": "a", "state": "done"}, {"name": "b", "state": "running"}]}
    write_json(run.path("progress.json"), told)
    dead = run.progress()
    assert dead["state"] == "stopped" and [s["state"] for s in dead["stages"]] == ["done", "stopped"]
    with run.lock():
        assert run.progress()["state"] == "running" and run.holder() == os.getpid()
    assert run.holder() is None
