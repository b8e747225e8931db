"""A cache folder and a fake pipeline for each test of the engine."""

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.config import Config, load_config
from core.run import Run
from precompute.engine.local import LocalEngine
from precompute.engine.progress import PlainScreen

HERE = Path(__file__).parent
SMALL = ("samples.n=12", "train.k=3", "model.device=cpu")


@pytest.fixture
def fake(monkeypatch):
    """The module of fake stages, importable under the name its stages give."""
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("fake_pipeline")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(tmp_path))
    return tmp_path


def small(*more: str) -> Config:
    return load_config("demo", [*SMALL, *more])


class Quiet(PlainScreen):
    """Keeps what it is told instead of printing it."""

    def __init__(self):
        super().__init__(every=1e9)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def compute(cache, fake):
    """Run the fake pipeline in this process: compute(*overrides, name=, ...) -> (run, names of the stages it ran)."""

    def go(*overrides: str, name: str = "one", pipeline=None, only: str = "", until: str = "", tracker=None):
        run = Run(cache / name)
        engine = LocalEngine(run, small(*overrides), pipeline or fake.pipeline(), Quiet(), tracker)
        try:
            return run, engine.run_all(only, until)
        finally:
            go.lines = engine.show.lines

    return go


@pytest.fixture
def start(cache):
    """Start the fake pipeline's command line in another process: start("run", "demo", ..., FAKE_SLEEP="0.1")."""
    started = []

    def go(*args: str, **environment: str) -> subprocess.Popen:
        env = {**os.environ, "CAPTIONSCOPE_CACHE": str(cache), "PYTHONPATH": str(HERE), **environment}
        process = subprocess.Popen(
            [sys.executable, str(HERE / "fake_pipeline.py"), *args],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield go
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def outputs(run: Run) -> dict[str, bytes]:
    """Everything in a run that a stage made."""
    skip = ("logs", ".work")
    own = ("manifest.json", "progress.json", ".lock")
    files = (p for p in sorted(run.dir.rglob("*")) if p.is_file())
    named = ((p.relative_to(run.dir), p) for p in files)
    return {str(n): p.read_bytes() for n, p in named if n.parts[0] not in skip and n.name not in own}


def wait_for(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def tools():
    """Helpers of this file, for test modules that cannot import it."""
    return type(
        "Tools",
        (),
        {
            "outputs": staticmethod(outputs),
            "wait_for": staticmethod(wait_for),
            "small": staticmethod(small),
            "SMALL": SMALL,
            "Quiet": Quiet,
        },
    )
