"""What a stage is given: its run, its settings, a folder for work in progress, and ways to report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.config import Config
from core.run import Run


def _nothing(*_: Any, **__: Any) -> None:
    """Where nobody listens (tests, notebooks)."""


@dataclass
class StageContext:
    """Given to ``run(ctx)`` of a stage.

    ``work_dir`` is kept when the process is killed and removed once the stage's record is written. ``on_progress``,
    ``on_metrics`` and ``on_images`` are where the engine listens.
    """

    run: Run
    config: Config
    work_dir: Path
    device: str = "cpu"
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("captionscope"))
    layers: tuple[int, ...] = ()  # these alone, without closing the stage; () = all, and close it
    on_progress: Callable[[int, int, str, str], None] = _nothing
    on_metrics: Callable[[Mapping[str, float], int | None], None] = _nothing
    on_images: Callable[[Mapping[str, Any]], None] = _nothing

    def progress(self, done: int, total: int, unit: str = "samples", message: str = "") -> None:
        """Say how far the stage is; cheap enough to call at every step."""
        self.on_progress(done, total, unit, message)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers worth keeping: to the stage's log, and to Weights & Biases where asked for."""
        at = "" if step is None else f"step {step}  "
        self.log.info("%s%s", at, "  ".join(f"{k} {v:.6g}" for k, v in values.items()))
        self.on_metrics(values, step)

    def images(self, images: Mapping[str, Any]) -> None:
        """Sample images by caption (a PIL image, an array or a path each), for Weights & Biases where asked for."""
        self.on_images(images)
