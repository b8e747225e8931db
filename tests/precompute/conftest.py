"""A cache folder and a fake pipeline for each test of the engine."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.run import Run
from precompute.engine.local import LocalEngine
from tests.precompute.fake_runs import Quiet, small

HERE = Path(__file__).parent


@pytest.fixture
def fake(monkeypatch):
    """The module of fake stages, importable under the name its stages give."""
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("fake_pipeline")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(tmp_path))
    return tmp_path


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
    """Start the fake pipeline's command line in another process: start(*run_arguments(), FAKE_SLEEP="0.1")."""
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
