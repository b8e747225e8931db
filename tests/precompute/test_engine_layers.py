"""Layers of one stage computed side by side, and closed by a later run: who may hold what, and the same bytes."""

import os
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from core.activations.replay import Activations
from core.errors import UserError
from core.run import Run, RunHeld
from precompute.context import StageContext
from precompute.engine.local import LayersEngine, LocalEngine
from precompute.engine.plan import make_plan
from tests.precompute.fake_runs import Quiet, outputs, small
from tests.small_run import ROOT, SMALL, precompute_command


def test_layers_are_held_side_by_side_and_the_whole_alone(tmp_path):
    run = Run(tmp_path / "x")
    with run.lock_layer("train", 3), run.lock_layer("train", 5):
        assert run.holder() == os.getpid() and run.layers_held("train") == [3, 5]
        with pytest.raises(RunHeld, match="Layer 3 of the stage train"), run.lock_layer("train", 3):
            pass
        with pytest.raises(RunHeld, match=str(os.getpid())), run.lock():
            pass
    assert run.holder() is None and run.layers_held("train") == []
    with run.lock():
        with pytest.raises(RunHeld), run.lock_layer("train", 3):
            pass
        assert run.holder() == os.getpid()
    with run.lock_layer("train", 3):
        pass


@pytest.fixture
def engine(cache, fake, compute):
    """layers(*numbers, name=, overrides=()) over the fake pipeline, of which the stage squares knows layers."""
    pipeline = fake.pipeline(squares={"by_layer": True, "fn": "fake_pipeline:squares_by_layer"})

    def go(*layers: int, stage: str = "squares", overrides: tuple[str, ...] = ()):
        made = LayersEngine(Run(cache / "one"), small(*overrides), pipeline, Quiet())
        return made.run_layers(stage, layers)

    go.pipeline, go.compute = pipeline, compute
    return go


def test_parts_and_a_closing_run_make_what_one_run_makes(engine, cache):
    whole, _ = engine.compute(name="whole", pipeline=engine.pipeline)
    run, _ = engine.compute(pipeline=engine.pipeline, until="numbers")
    assert engine(5, 1) == (1, 5) and engine(3) == (3,)
    assert not run.is_done("squares") and not run.path("squares").exists(), "nothing is closed"
    assert engine(3) == (3,), "asked again, it looks and finds it done"
    _, ran = engine.compute(pipeline=engine.pipeline)
    assert ran == ["squares", "total"]
    assert run.path("logs", "squares.log").read_text().count("made layer") == 1, "7 alone was left to do"
    assert outputs(run) == outputs(whole)
    assert engine(5) == (), "all is done"


def test_what_cannot_be_done_by_layer_is_refused(engine):
    engine.compute(pipeline=engine.pipeline, until="numbers")
    with pytest.raises(UserError, match="of some stages alone"):
        engine(3, stage="numbers")
    with pytest.raises(UserError, match="of some stages alone"):
        engine(3, stage="")
    with pytest.raises(UserError, match="does not look at layers 4"):
        engine(3, 4)


def test_the_stages_before_have_to_be_there(engine):
    with pytest.raises(UserError, match="cannot run alone"):
        engine(3)


def test_other_settings_wait_for_those_at_work(engine, cache):
    run, _ = engine.compute(pipeline=engine.pipeline, until="numbers")
    engine(3)
    with run.lock_layer("squares", 5):
        assert engine(3) == (3,), "the same settings may"
        with pytest.raises(RunHeld, match="Layers 5 are being computed under other settings"):
            engine(3, overrides=("train.k=4",))
    assert engine(3, overrides=("train.k=4",)) == (3,), "now they may, and begin anew"


def test_layers_at_work_tell_how_far_they_are(engine, cache, fake, monkeypatch):
    run, _ = engine.compute(pipeline=engine.pipeline, until="numbers")
    seen, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(fake, "between_layers", lambda: (seen.set(), go_on.wait(20)))
    worker = threading.Thread(target=engine, args=(3,))
    worker.start()
    assert seen.wait(20)
    (told,) = run.layers_at_work()
    go_on.set()
    worker.join()
    assert told["state"] == "running" and told["stages"][0]["name"] == "squares-03"
    assert run.layers_at_work() == [], "who is gone tells nothing"


def test_layers_side_by_side_compute_passes_of_their_own(tmp_path):
    """With activations.store = "none", blocks of one process are not those of another."""
    contexts = [StageContext(Run(tmp_path), small(), tmp_path, layers=of) for of in ((), (3,), (5, 7))]
    assert len({Activations.of(c, lambda: None, (3,))._folder for c in contexts}) == 3


def test_two_layer_jobs_at_once_train_the_same_bytes_as_one_run(small_run, tmp_path):
    """The real stage train: layers 3 and 5 by two processes at the same time, closed by a third."""
    run = Run(tmp_path / "demo")
    shutil.copytree(small_run, run.dir, ignore=shutil.ignore_patterns("logs", "saes*", "pooled", "intervention*"))
    manifest = run.manifest()
    kept = {name: r for name, r in manifest.stages.items() if name in ("prepare", "caption", "words", "activations")}
    run.write_manifest(replace(manifest, stages=kept))
    env = {**os.environ, "CAPTIONSCOPE_CACHE": str(tmp_path)}
    sets = [part for setting in SMALL for part in ("--set", setting)]
    jobs = [
        subprocess.Popen(
            precompute_command("run", "demo", *sets, "--only", "train", "--layers", layer),
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for layer in ("3", "5")
    ]
    said = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    assert not run.path("saes.parquet").exists()
    ran = LocalEngine(run, run.config()).run_all(until="train")
    assert ran == ["train"] and {p.stage.name for p in make_plan(run.config(), run) if p.state == "fresh"} >= {"train"}
    assert "loss" not in run.path("logs", "train.log").read_text(), "nothing was trained anew"

    def made(folder: Path) -> dict[str, bytes]:
        files = [folder / "saes.parquet", *sorted((folder / "saes").rglob("*.*"))]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.is_file()}

    assert made(run.dir) == made(small_run) and len(made(small_run)) > 4
