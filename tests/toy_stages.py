"""Stages on a run of the random model: its images, a context, a kill at a moment, and the bytes that are left."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pyarrow as pa

from core.config import load_config
from core.run import Run, write_table
from precompute.context import StageContext
from tests.vlm.toy_model import toy_images, toy_model_dir


class Killed(BaseException):
    """Stands for a kill at a moment of the test's choosing."""


def kill_at(moment: int) -> Callable[..., None]:
    """Progress that ends the stage as soon as so much is done."""

    def on_progress(done: int, *_: object) -> None:
        if done >= moment:
            raise Killed

    return on_progress


def prepared_run(folder: Path, n_samples: int) -> Path:
    """A run folder as the stage prepare leaves it: images, of which every third is a test image."""
    (folder / "images").mkdir(parents=True)
    for i, image in enumerate(toy_images(n_samples)):
        image.save(folder / "images" / f"{i:06d}.png")
    split = ["test" if i % 3 == 0 else "train" for i in range(n_samples)]
    samples = {"sample_id": pa.array(range(n_samples), pa.int32()), "split": split}
    write_table(folder / "samples.parquet", pa.table(samples))
    return folder


def stage_context(
    folder: Path, stage: str, settings: Sequence[str], on_progress: Callable[..., None] = lambda *_: None
) -> StageContext:
    """What a stage is given to run in ``folder`` with the random model."""
    work_dir = folder / ".work" / stage
    work_dir.mkdir(parents=True, exist_ok=True)
    config = load_config("demo", [f"model.name={toy_model_dir()}", *settings])
    return StageContext(Run(folder), config, work_dir, on_progress=on_progress)


def file_bytes(folder: Path, *names: str) -> dict[str, bytes]:
    """Everything under these names (default: all of the run) but work in progress."""
    roots = [folder / name for name in names] if names else [folder]
    paths = [p for root in roots for p in (sorted(root.rglob("*")) if root.is_dir() else [root])]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if p.is_file() and ".work" not in p.parts}


def stopped_half_way(stage: ModuleType, run: Path, folder: Path, made: Sequence[str], *unneeded: str) -> Path:
    """A copy of a finished run in which the stage was stopped half way and has then gone on to the end.

    ``made`` are the stage's tables and ``unneeded`` what it does not read: neither is copied. What was done before the
    stop is not done again.
    """
    copy = Run(shutil.copytree(run, folder / run.name, ignore=shutil.ignore_patterns("thumbs", *unneeded, *made)))
    work = folder / "work"
    work.mkdir()

    def stop(done: int, total: int, *_: object) -> None:
        if done > total // 2:
            raise Killed

    try:
        stage.run(StageContext(copy, copy.config(), work, on_progress=stop))
    except Killed:
        times = {p: p.stat().st_mtime_ns for p in work.glob("*.parquet")}
        assert times and not any((copy.dir / name).exists() for name in made)
    else:
        raise AssertionError("The stage said nothing of its progress.")
    stage.run(StageContext(copy, copy.config(), work))
    assert all(p.stat().st_mtime_ns == time for p, time in times.items()), "nothing is done twice"
    return copy.dir
