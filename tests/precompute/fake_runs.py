"""Settings of runs of the fake pipeline, what they made, and a screen that keeps what it is told."""

from __future__ import annotations

import time

from core.config import Config, load_config
from core.run import Run
from precompute.engine.progress import PlainScreen

SMALL = ("samples.n=12", "train.k=3", "model.device=cpu")


def run_arguments(name: str = "x", *more: str) -> list[str]:
    """The command that computes the small run of that name, ``more`` being settings."""
    return ["run", "demo", "--run", name, *(part for setting in (*SMALL, *more) for part in ("--set", setting))]


def small(*more: str) -> Config:
    return load_config("demo", [*SMALL, *more])


class Quiet(PlainScreen):
    """Keeps what it is told instead of printing it."""

    def __init__(self):
        super().__init__(every=1e9)
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


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
