"""What a run would take on a device, stage by stage: time, disk, memory, and memory of the GPU.

Work (``work`` beside this file) times what a unit costs: as a probe of this device has measured it, else by arithmetic.
Where a run of the preset has a record of the stage, its measured time is scaled by the amount of work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.config import Config
from core.runs import Run
from precompute.forecast.shape import ModelShape, model_shape
from precompute.forecast.speeds import CONTEXT_MEMORY, Bytes, Seconds, guessed_bytes, guessed_seconds
from precompute.forecast.work import Work, work

if TYPE_CHECKING:
    from precompute.forecast.probe import Probe

GUESS, PROBED = "rough guess", "probe"
MOST_SCALED = 5  # a run of quite another size says little about this one


@dataclass(frozen=True)
class Estimate:
    """Seconds, bytes on disk (``passing``: only while it works), of memory and of the GPU's, and what time rests on.

    ``gpu`` is 0 where the device is the CPU.
    """

    seconds: float
    disk: float
    passing: float
    memory: float
    gpu: float
    basis: str


def count_samples(config: Config) -> int | None:
    """How many images there will be at most; None when they cannot be counted from here."""
    from core.samples.sources import count

    return count(config.samples)


def estimate(config: Config, device: str, n: int, shape: ModelShape, probe: Probe | None = None) -> dict[str, Estimate]:
    """Every stage for ``n`` images on ``device``."""
    if probe:
        seconds, held = probe.seconds(config, shape), probe.bytes(config, shape)
    else:
        seconds, held = guessed_seconds(config, device, shape), guessed_bytes(config, device, shape)
    basis, lengths = (PROBED, probe.lengths) if probe else (GUESS, None)
    return {stage: _one(w, seconds, held, device, basis) for stage, w in work(config, n, shape, lengths).items()}


def _one(w: Work, seconds: Seconds, held: Bytes, device: str, basis: str) -> Estimate:
    on_device = held.on_device(w)
    if device == "cuda":  # the weights pass through the machine's memory on their way
        memory = held.base + max(w.host, held.model if w.model else 0.0)
        return Estimate(
            seconds.of(w), w.disk, w.passing, memory, on_device + CONTEXT_MEMORY if on_device else 0.0, basis
        )
    return Estimate(seconds.of(w), w.disk, w.passing, held.base + w.host + on_device, 0.0, basis)


@dataclass(frozen=True)
class Before:
    """How long a stage took in an earlier run, and how long it should have taken by the estimate of that run."""

    run: str
    seconds: float
    estimated: float


def earlier(config: Config, device: str, runs: Sequence[Run], probe: Probe | None = None) -> dict[str, Before]:
    """Records of the preset, this model and this kind of device, by stage; the first run that has one is believed."""
    found: dict[str, Before] = {}
    for run in reversed(runs):
        manifest = run.manifest()
        records = {name: r for name, r in manifest.stages.items() if r.device == device}
        if manifest.preset != config.name or not records:
            continue
        theirs = run.config()
        if theirs.model.name == config.model.name:
            before = estimate(theirs, device, count_samples(theirs) or 1, model_shape(theirs), probe)
            found |= {s: Before(run.name, r.seconds, before[s].seconds) for s, r in records.items() if s in before}
    return found


def scaled(guesses: dict[str, Estimate], before: Mapping[str, Before]) -> dict[str, Estimate]:
    """Times of an earlier run by the amount of work, where the stage then was of about the same size."""
    found = dict(guesses)
    for stage, b in before.items():
        scale = guesses[stage].seconds / b.estimated
        if 1 / MOST_SCALED < scale < MOST_SCALED:
            found[stage] = replace(guesses[stage], seconds=b.seconds * scale, basis=f"run {b.run}")
    return found
