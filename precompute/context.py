"""What a stage is given: run, settings, a folder for work in progress, ways to share its parts and to report."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.config import Config
from core.run import Run


def _nothing(*_: Any, **__: Any) -> None:
    """Where nobody listens (tests, notebooks)."""


WAIT = 0.02  # seconds between two looks at parts that others make


@dataclass(frozen=True)
class Part:
    """A piece of a stage's work: ``make`` leaves ``path``, whole or not at all; ``done`` may say so in another way."""

    path: Path
    make: Callable[[], object]
    done: Callable[[], bool] | None = None

    def is_done(self) -> bool:
        return self.path.exists() if self.done is None else self.done()


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
    helper: int = 0  # above 0: makes parts beside the process that closes the stage, and returns after the last one
    shared: bool = False  # whether others are at work on the same stage
    on_progress: Callable[[int, int, str, str], None] = _nothing
    on_metrics: Callable[[Mapping[str, float], int | None], None] = _nothing
    on_images: Callable[[Mapping[str, Any]], None] = _nothing

    def make(self, parts: Sequence[Part], tell: Callable[[int], None] = _nothing) -> None:
        """Make the parts that are not there, in their order; those that another process is at are waited for.

        A part must not depend on which process makes it, nor on which parts were made before. ``tell`` is given the
        number of parts that are there, whoever made them.
        """
        left = [part for part in parts if not part.is_done()]
        tell(len(parts) - len(left))
        while left:
            for part in left:
                with self._claim(part) as mine:
                    if mine and not part.is_done():
                        part.make()
                        if not part.is_done():
                            raise RuntimeError(f"{part.path.name} was made and is not there")
                        left = [other for other in left if other is not part]
                        tell(len(parts) - len(left))
            before, left = len(left), [part for part in left if not part.is_done()]
            if len(left) < before:
                tell(len(parts) - len(left))
            elif left:
                time.sleep(WAIT)

    @contextlib.contextmanager
    def _claim(self, part: Part) -> Iterator[bool]:
        """Whether the part is this process's to make; the system lets go of it when the process ends."""
        if not self.shared:
            yield True
            return
        name = hashlib.sha256(str(part.path).encode()).hexdigest()[:24]
        path = self.work_dir / ".claims" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

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
