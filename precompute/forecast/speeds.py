"""What a unit of work costs on a device, in seconds and in bytes: by arithmetic, until a probe has measured it."""

from __future__ import annotations

import functools
import time
from dataclasses import asdict, dataclass, fields

import numpy as np

from core.config import Config
from precompute.forecast.shape import ModelShape
from precompute.forecast.work import Work

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
