"""Parts of a stage shared by processes: each made once, whoever dies; and how many a machine has room for."""

import contextlib
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from core.config import load_config
from core.errors import UserError
from core.run import Run
from precompute.context import Part, StageContext
from precompute.engine import workers
from precompute.engine.local import LocalEngine
from precompute.pipeline import stages
from tests.pipeline.test_pipeline_kill import content
from tests.precompute.fake_runs import Quiet


def context(folder: Path, shared: bool = True) -> StageContext:
    return StageContext(Run(folder), load_config("demo"), folder / "work", shared=shared)


def test_every_part_is_made_once_by_whoever_comes_first(tmp_path):
    (tmp_path / "work").mkdir()
    made: Counter = Counter()

    def part(i: int) -> Part:
        path = tmp_path / "work" / f"{i:02d}"

        def make() -> None:
            made[i] += 1
            time.sleep(0.002)
            path.write_text("made")

        return Part(path, make)

    told: list[int] = []
    others = [threading.Thread(target=lambda: context(tmp_path).make([part(i) for i in range(40)])) for _ in range(3)]
    for other in others:
        other.start()
    context(tmp_path).make([part(i) for i in range(40)], told.append)
    assert all((tmp_path / "work" / f"{i:02d}").exists() for i in range(40)), "all are there when one returns"
    for other in others:
        other.join()
    assert made == Counter(range(40))
    assert told == sorted(told) and told[-1] == 40


def test_a_part_whose_maker_was_killed_is_made_by_another(tmp_path):
    holds = (
        "import sys, time; from pathlib import Path; from tests.precompute.test_engine_workers import context, Part\n"
        "folder = Path(sys.argv[1])\n"
        "context(folder).make([Part(folder / 'work' / 'a', lambda: (print('held', flush=True), time.sleep(60)))])"
    )
    (tmp_path / "work").mkdir()
    command = [sys.executable, "-c", holds, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert process.stdout and process.stdout.readline() == "held\n"
    threading.Timer(0.3, process.kill).start()
    path = tmp_path / "work" / "a"
    context(tmp_path).make([Part(path, lambda: path.write_text("by another"))])
    assert path.read_text() == "by another" and process.wait() != 0


def test_a_part_that_leaves_nothing_is_an_error(tmp_path):
    for shared in (False, True):
        with pytest.raises(RuntimeError, match="is not there"):
            context(tmp_path, shared).make([Part(tmp_path / "never", lambda: None)])


def test_a_helper_that_dies_costs_nothing_but_time(small_run, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 0.0)
    run = Run(shutil.copytree(small_run, tmp_path / "run"))
    before = content(run.dir)
    config = run.config()
    (run.dir / "explanations.parquet").unlink()
    deaths = []

    def kill() -> None:
        while not deaths:
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.Error):  # one that has just ended
                    if "precompute.engine.workers" in child.cmdline():
                        time.sleep(0.5)
                        child.kill()
                        deaths.append(child.pid)
            time.sleep(0.01)

    threading.Thread(target=kill, daemon=True).start()
    ran = LocalEngine(run, config, show=Quiet(), workers=2).run_all(only="explain")
    assert ran == ["explain"] and deaths
    assert content(run.dir) == before
    assert "went out of it" in run.path("logs", "explain.log").read_text()


def test_as_many_processes_as_there_is_room_for(monkeypatch):
    config = load_config("demo")
    memory = psutil.virtual_memory()
    monkeypatch.setattr(workers, "n_cores", lambda: 8)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=100e9))
    assert workers.n_workers(config, "cpu") == 8
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=5e9))
    assert workers.n_workers(config, "cpu") == 2
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=1e9))
    assert workers.n_workers(config, "cpu") == 1
    assert workers.n_workers(config, "cuda") == 1 and workers.n_workers(config, "cuda", 2) == 2
    far = load_config("demo", ["model.name=google/gemma-3-4b-it"])
    assert workers.n_workers(far, "cpu") == 1 and not workers.single_threaded(far, "cpu", 1)
    for n in (1, 2, 8):
        assert workers.single_threaded(config, "cpu", n), "the bytes must not depend on how many there are"
    for n in (-1, 65, 10**9):
        with pytest.raises(UserError, match="--workers"):
            workers.n_workers(config, "cpu", n)


def test_what_would_be_computed_twice_is_not_shared():
    stored, replayed = load_config("demo"), load_config("demo", ["activations.store=none"])
    shared = {s.name for s in stages() if workers.shareable(s, stored)}
    assert shared - {s.name for s in stages() if workers.shareable(s, replayed)} == {
        s.name for s in stages() if s.shared and "activations" in s.needs
    }
