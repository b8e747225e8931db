"""The stage hiding on a small run with a random model: the same bytes after a kill, and a sentence where it cannot."""

import hashlib
import shutil

import pandas as pd
import pyarrow as pa
import pytest

from core.config import load_config
from core.run import write_table
from core.run.schema.samples import AREAS
from precompute.context import StageContext
from precompute.stages import hiding
from tests.toy_run import make_toy_run
from tests.toy_stages import Killed, kill_at
from tests.vlm.toy_model import toy_model_dir

SETS = (
    "hiding.n_images=2",
    "hiding.n_random=1",
    "hiding.n_examples=1",
    "hiding.n_example_random=2",
    "hiding.n_means=4",
)
FILES = ("hiding_captions.parquet", "hiding.parquet")
BOXES = {"person": (0.0, 0.0, 0.5, 0.6), "object": (0.6, 0.6, 1.0, 1.0)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    run = make_toy_run(tmp_path_factory.mktemp("hiding") / "toy", n_samples=40, stages=("prepare", "caption"))
    samples = pd.read_parquet(run.path("samples.parquet"))
    genders = pa.table({"sample_id": samples["sample_id"].astype("int32"), "gender": samples["gender"]})
    write_table(run.path("genders.parquet"), genders)
    edges = ("left", "top", "right", "bottom")
    AREAS.write(
        run,
        AREAS.of_rows(
            [
                {"sample_id": i, "kind": kind, "n": 0, **dict(zip(edges, box, strict=True))}
                for i in samples["sample_id"].tolist()
                for kind, box in BOXES.items()
            ]
        ),
    )
    return run


def context(run, work, **more):
    work.mkdir(parents=True, exist_ok=True)
    config = load_config("demo", [*SETS, f"model.name={toy_model_dir()}", "caption.max_new_tokens=2"])
    return StageContext(run, config, work, **more)


def hashes(run):
    return {name: hashlib.sha256(run.path(name).read_bytes()).hexdigest() for name in FILES}


def test_a_kill_changes_nothing(made, tmp_path, monkeypatch):
    monkeypatch.setattr(hiding, "BLOCK", 1)
    record = hiding.run(context(made, tmp_path / "whole"))
    captions, before = pd.read_parquet(made.path(FILES[0])), hashes(made)
    assert record["rows"] == len(captions) > 50 and captions["sample_id"].nunique() == 2
    nothing = captions[captions["area"] == "none"]
    assert nothing["unchanged"].all() and len(nothing) == 4
    assert set(captions["filling"]) == {"mean", "zero", "pixels"} and not captions["unchanged"].all()
    with pytest.raises(Killed):
        hiding.run(context(made, tmp_path / "killed", on_progress=kill_at(1)))
    shutil.rmtree(tmp_path / "whole")
    hiding.run(context(made, tmp_path / "killed"))
    assert hashes(made) == before


def test_unknown_areas_are_said(made, tmp_path):
    AREAS.write(made, AREAS.arrow.empty_table())
    record = hiding.run(context(made, tmp_path / "none"))
    assert record["rows"] == 0 and "areas_column" in record["notes"]["why"][2]
    assert made.table("hiding").num_rows == 0
