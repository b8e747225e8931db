"""Limits of disk, memory and GPU memory: sizes as people write them, what of a run breaks a limit, and where."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import UserError
from precompute.forecast.estimate import Estimate

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
UNITS |= {f"{letter}I": 2 ** (10 * i) for i, letter in enumerate("KMGT", start=1)}
SIZE = re.compile(r"\s*(\d+(?:[.,]\d+)?)\s*([KMGT]I?)?(B?)\s*", re.IGNORECASE)
NAMES = {"disk": "disk", "gpu": "GPU memory", "memory": "memory"}
OPTIONS = {"disk": "--max-disk", "gpu": "--max-vram", "memory": "--max-ram"}


def parse_size(text: str) -> float:
    """Bytes of "50GB", "50 GiB", "800MB" or "1.5T"; UserError for anything else, a number without a unit among it."""
    found = SIZE.fullmatch(text)
    if not found or not (found[2] or found[3]):
        raise UserError(f"{text!r} is no size.", "A size is a number and a unit.", "Write 50GB, 50GiB or 800MB.")
    size = float(found[1].replace(",", ".")) * UNITS[(found[2] or "").upper()]
    if not size or not math.isfinite(size):
        raise UserError(f"{text!r} is no size to keep within.", "", "Write a size above zero, such as 50GB.")
    return size


@dataclass(frozen=True)
class Limits:
    """Bytes that a run may take at most; None: as many as it likes."""

    disk: float | None = None
    gpu: float | None = None
    memory: float | None = None

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.disk, self.gpu, self.memory))


@dataclass(frozen=True)
class Break:
    """One limit that is broken: "disk", "gpu" or "memory", the stage that needs most, what is needed and allowed."""

    what: str
    stage: str
    needed: float
    limit: float


def disk_at_most(estimates: Mapping[str, Estimate]) -> float:
    """The most bytes the run folder takes while it is computed, stage after stage."""
    kept, most = 0.0, 0.0
    for e in estimates.values():
        most = max(most, kept + e.disk + e.passing)
        kept += e.disk
    return most


def needs(estimates: Mapping[str, Estimate], what: str) -> float:
    """What a run needs of "disk", "gpu" or "memory"."""
    return disk_at_most(estimates) if what == "disk" else max(getattr(e, what) for e in estimates.values())


def broken(estimates: Mapping[str, Estimate], limits: Limits) -> list[Break]:
    """The limits that a run would not keep, each with the stage that takes most of it."""
    found = []
    for what in NAMES:
        limit = getattr(limits, what)
        if limit is not None and needs(estimates, what) > limit:
            stage = max(estimates, key=lambda s: getattr(estimates[s], what))
            found.append(Break(what, stage, needs(estimates, what), limit))
    return found
