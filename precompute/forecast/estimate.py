"""What a run would take on a device, stage by stage: time, disk, memory, and memory of the GPU.

Work (``work`` beside this file) times what a unit costs: as a probe of this device has measured it, else by arithmetic.
Where a run of the preset has a record of the stage, its measured time is scaled by the amount of work.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from core.config import Config
from core.run import Run
from precompute.forecast.shape import ModelShape, model_shape
from precompute.forecast.work import Work, work

if TYPE_CHECKING:
    from precompute.forecast.probe import Probe

# Sustained operations a second of small and mid-sized layers; a CPU is measured instead.
SPEED = {"cuda": 30e12, "mps": 2e12}
CPU_SHARE = 0.4  # of a plain matrix product's speed that a model reaches
CALL = {"cpu": 0.006, "cuda": 0.02, "mps": 0.03}  # seconds a decoding step of 8 layers costs whatever its size
LOAD_SECONDS, LOAD_RATE = 3.0, 1e9  # to load a model: whatever its size, and bytes of weights a second
DISK_RATE = 5e8  # bytes a second
BASE_MEMORY = {"cpu": 0.7e9, "cuda": 3e9, "mps": 0.7e9}  # Python, torch and transformers
CONTEXT_MEMORY = 0.5e9  # of a CUDA device, that torch does not count
BYTES = {"float32": 4, "bfloat16": 2}
QUANTIZED = {"": 0.0, "8bit": 1.0, "4bit": 0.56}  # bytes a weight, with what 4 bits need for their scales


@dataclass(frozen=True)
class Seconds:
    """Seconds a unit; the names are those of ``Work``."""

    images: float
    tokens: float
    gradients: float
    steps: float
    step_rows: float
    train_steps: float
    trained: float
    encoded: float
    seconds: float  # of this machine, for one of the machine on which they were noted
    written: float
    model: float  # to load it

    def of(self, work: Work) -> float:
        """The time of a stage's work."""
        return sum(value * float(getattr(work, unit)) for unit, value in asdict(self).items())


@dataclass(frozen=True)
class Bytes:
    """Bytes a unit on the device that computes; ``base`` is that of the process, and always in the machine's memory."""

    base: float
    model: float
    rows_held: float
    tokens_held: float
    gradients_held: float
    cells_held: float
    features_held: float
    trained_held: float

    def on_device(self, work: Work) -> float:
        """The memory of a stage beside what the process takes anyway."""
        held = (f.name for f in fields(self) if f.name != "base")
        return sum(getattr(self, unit) * float(getattr(work, unit)) for unit in held)


@functools.cache
def measure_cpu() -> float:
    """Operations a second of a matrix product on this machine, best of four (about 0.1 s)."""
    a = np.ones((1024, 1024), dtype=np.float32)
    seconds = []
    for _ in range(4):  # the first one warms up
        began = time.perf_counter()
        np.matmul(a, a)
        seconds.append(time.perf_counter() - began)
    return 2 * 1024**3 / min(seconds)


def guessed_seconds(config: Config, device: str, shape: ModelShape) -> Seconds:
    """By arithmetic: operations over the device's speed, plus what a call costs, most of it for small models."""
    speed = SPEED.get(device) or CPU_SHARE * measure_cpu()
    call = CALL[device]
    token = 2 * (shape.text_params - shape.d_model * shape.vocab) / speed
    return Seconds(
        images=2 * shape.vision_params * shape.vision_patches / speed,
        tokens=token,
        gradients=3 * token,
        steps=call * shape.n_layers / 8,
        step_rows=2 * shape.text_params / speed,
        train_steps=call,
        trained=8 * shape.d_model / speed,
        encoded=2 * shape.d_model / speed,
        seconds=1.0,
        written=1 / DISK_RATE,
        model=LOAD_SECONDS + weight_bytes(config, shape) / LOAD_RATE,
    )


def guessed_bytes(config: Config, device: str, shape: ModelShape) -> Bytes:
    """By arithmetic: weights, logits, residuals of a pass, and the parameters of SAEs."""
    item, d = BYTES[config.model.dtype], shape.d_model
    length = shape.image_tokens + 60
    token = item * d * (16 + len(config.activations.layers))  # of a pass: residuals, MLP and what is kept
    cache = 2 * item * d * shape.n_layers / 2  # keys and values of a token: half as many heads as queries
    return Bytes(
        base=BASE_MEMORY[device],
        model=weight_bytes(config, shape),
        tokens_held=token,
        rows_held=12 * shape.vocab + length * (cache + token),
        gradients_held=item * d * 20 * shape.n_layers,
        cells_held=12.0,
        features_held=8.0 * d,
        trained_held=8.0 * d * 5,
    )


def weight_bytes(config: Config, shape: ModelShape) -> float:
    """What the captioner's weights take; embeddings are never quantised."""
    item = BYTES[config.model.dtype]
    embedding = shape.d_model * shape.vocab
    layers = shape.text_params + shape.vision_params - embedding
    return item * embedding + (QUANTIZED[config.model.quantize] or item) * layers


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
        scale = guesses[stage].seconds / b.estimated if b.estimated > 0 else 0.0  # it had nothing to do
        if 1 / MOST_SCALED < scale < MOST_SCALED:
            found[stage] = replace(guesses[stage], seconds=b.seconds * scale, basis=f"run {b.run}")
    return found
