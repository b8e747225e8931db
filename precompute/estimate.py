"""What a run would take, from its settings and the model's shape: rough by nature, and said to be.

Time is arithmetic (floating-point operations over the machine's speed) plus a cost per call, which is most of it for
small models. Where a run of the preset has a record of the stage, its measured time is scaled by the amount of work.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.config import PROJECT_ROOT, Config
from core.interventions.designs import planned
from core.runs import Run

# Sustained operations a second of small and mid-sized layers; a CPU is measured instead.
SPEED = {"cuda": 30e12, "mps": 2e12}
CPU_SHARE = 0.4  # of a plain matrix product's speed that a model reaches
CALL = {"cpu": 0.006, "cuda": 0.02, "mps": 0.03}  # seconds a decoding step costs whatever its size
TEXT_TOKENS = 30  # chat marks and prompt
CAPTION_SHARE = 0.5  # of max_new_tokens that a caption usually takes
BASE_MEMORY = 0.7e9  # Python, torch and transformers
LOAD_SECONDS, LOAD_RATE = 3.0, 1e9  # imports, and bytes of weights a second
GUESS = "rough guess"
N_VIEWS, REFERENCES = 4, 6  # sets of positions that are pooled; texts an image and language, its own caption with them
N_SEPARATE = 4  # SAEs of single languages a layer: two languages, two seeds
MOST_SCALED = 5  # a run of quite another size says little about this one
UMAP_SECONDS = 8.0  # to compile it, whatever the number of features


@dataclass(frozen=True)
class ModelShape:
    """What costs: sizes of the language model and the vision tower; ``known`` is False where they are assumed."""

    d_model: int
    n_layers: int
    vocab: int
    image_tokens: int
    text_params: float
    vision_params: float
    vision_patches: int
    image_side: int
    known: bool


@dataclass(frozen=True)
class Estimate:
    """Seconds, bytes on disk and bytes of memory of one stage, and on what the time rests."""

    seconds: float
    disk: float
    memory: float
    basis: str


def model_shape(config: Config) -> ModelShape:
    """Read the shape from a ``config.json`` on this machine; without one, that of Gemma 3 4B is assumed."""
    path = _config_json(config)
    if path is None:
        return ModelShape(2560, 34, 262_208, 256, 3.9e9, 0.42e9, 4096, 896, known=False)
    tree = json.loads(path.read_text(encoding="utf-8"))
    text, vision = tree.get("text_config", tree), tree.get("vision_config", {})
    d, n, mlp = text.get("hidden_size", 2560), text.get("num_hidden_layers", 34), text.get("intermediate_size", 10240)
    heads, kv = text.get("num_attention_heads", 8), text.get("num_key_value_heads", 4)
    d_head = text.get("head_dim") or d // heads
    vocab = text.get("vocab_size", 262_208)
    text_params = n * (3 * d * mlp + d * d_head * (2 * heads + 2 * kv)) + d * vocab
    v, v_n, v_mlp = (vision.get(k, default) for k, default in (("hidden_size", 1152), ("num_hidden_layers", 27),
                                                              ("intermediate_size", 4304)))  # fmt: skip
    side, patch = vision.get("image_size", 896), vision.get("patch_size", 14)
    image_tokens = tree.get("mm_tokens_per_image", 256)
    return ModelShape(d, n, vocab, image_tokens, text_params, v_n * (4 * v * v + 2 * v * v_mlp), (side // patch) ** 2,
                      side, known=True)  # fmt: skip


def _config_json(config: Config) -> Path | None:
    path = PROJECT_ROOT / config.model.name / "config.json"  # an absolute name stays as it is
    if path.is_file():
        return path
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(config.model.name, "config.json", revision=config.model.revision or None)
    except HFValidationError:  # a path that does not exist; the run itself will say so
        return None
    return Path(found) if isinstance(found, str) else None


def count_samples(config: Config) -> int | None:
    """How many images there will be at most; None when they cannot be counted from here."""
    from core.samples.sources import count

    return count(config.samples)


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


def estimate(config: Config, device: str, n: int, shape: ModelShape) -> dict[str, Estimate]:
    """Time, disk and memory of every stage for ``n`` images on ``device``, by arithmetic alone."""
    speed = SPEED.get(device) or CPU_SHARE * measure_cpu()
    work = amounts(config, n, shape)
    item = 2 if config.model.dtype == "bfloat16" else 4
    weights = item * (shape.text_params + shape.vision_params)
    found = {}
    for stage, amount in work.items():
        seconds = amount["flops"] / speed + amount["calls"] * CALL[device] + amount["plain_seconds"]
        if amount["model"]:
            seconds += LOAD_SECONDS + weights / LOAD_RATE
        memory = BASE_MEMORY + amount["memory"] + (weights if amount["model"] else 0)
        found[stage] = Estimate(seconds, amount["disk"], memory, GUESS)
    return found


def measured(guesses: dict[str, Estimate], device: str, preset: str, runs: Sequence[Run]) -> dict[str, Estimate]:
    """The same with times from records of the preset on this kind of device, scaled by the guessed amount of work.

    The first run in ``runs`` that has a record of a stage, of about the same size, is believed.
    """
    found = dict(guesses)
    for run in reversed(runs):
        manifest = run.manifest()
        if manifest.preset != preset:
            continue
        config = run.config()
        before = estimate(config, device, count_samples(config) or 1, model_shape(config))
        for stage, record in manifest.stages.items():
            if record.device == device and stage in guesses:
                scale = guesses[stage].seconds / before[stage].seconds
                if 1 / MOST_SCALED < scale < MOST_SCALED:
                    found[stage] = replace(guesses[stage], seconds=record.seconds * scale, basis=f"run {run.name}")
    return found


def amounts(config: Config, n: int, shape: ModelShape) -> dict[str, dict[str, Any]]:
    """The work of each stage: operations, calls, bytes on disk, bytes of memory beside the model."""
    c, a, t = config.caption, config.activations, config.train
    new = CAPTION_SHARE * c.max_new_tokens
    length = shape.image_tokens + TEXT_TOKENS + new
    rows = len(config.samples.languages) * n
    tokens = rows * length
    vision = n * 2 * shape.vision_params * shape.vision_patches
    body = 2 * (shape.text_params - shape.d_model * shape.vocab)
    bytes_a_value = 2 if a.dtype == "bfloat16" else 4
    n_layers, sae_flops = len(a.layers), 2 * shape.d_model * t.d_sae
    # An image file: the demo's PNGs are small and flat; photographs are kept as JPEG of the model's size.
    image_bytes = 6e3 if config.samples.source == "demo-world" else 0.25 * min(config.samples.max_side, 896) ** 2
    pixels = min(config.samples.max_side, shape.image_side) ** 2
    sae_bytes = 4 * 2 * shape.d_model * t.d_sae
    logits = 4 * c.batch_size * shape.vocab
    return {
        "prepare": _amount(plain_seconds=n * (0.002 + 2e-8 * pixels), disk=n * (image_bytes + 6e3), memory=2e8),
        "caption": _amount(flops=vision + tokens * body + rows * new * 2 * shape.d_model * shape.vocab,
                           calls=new * 1.5 * rows / c.batch_size * shape.n_layers / 8, disk=rows * 120,
                           memory=4 * logits + 3e8, model=True),
        "activations": _amount(flops=vision + tokens * body, calls=tokens / a.batch_tokens,
                               disk=tokens * (shape.d_model * bytes_a_value * n_layers + 8),
                               memory=a.batch_tokens * shape.d_model * 4 * (n_layers + 8), model=True),
        "train": _amount(flops=n_layers * t.steps * t.batch_tokens * sae_flops * 2,
                         calls=n_layers * t.steps, disk=n_layers * sae_bytes,
                         memory=5 * sae_bytes + 4 * t.batch_tokens * t.d_sae * 2, model=True),
        "features": _amount(flops=tokens * n_layers * sae_flops, calls=tokens / 4096,
                            plain_seconds=UMAP_SECONDS + n_layers * t.d_sae * 0.004, disk=n_layers * t.d_sae * 12e3,
                            memory=2 * sae_bytes + 6e8, model=True),
    } | analyses(config, n, shape, length, body)  # fmt: skip


def analyses(config: Config, n: int, shape: ModelShape, length: float, body: float) -> dict[str, dict[str, Any]]:
    """The same of the stages that come after the features; ``length`` tokens a caption, ``body`` operations a token."""
    g, x, b, d_sae = config.gender, config.crosslingual, config.bias, config.train.d_sae
    n_languages = len(config.samples.languages)
    n_layers, rows, d_model = len(config.activations.layers), n_languages * n, shape.d_model
    fired = min(d_sae, 25 * config.train.k)  # features that fire somewhere in a caption
    pooled = rows * (N_VIEWS * d_model * 4 + N_VIEWS * fired * 8)
    separate = N_SEPARATE * max(1, len(x.layers)) * x.steps if n_languages > 1 else 0
    sampled = n_languages * b.n_sampled * min(b.max_images, n * config.samples.test_share / 3)
    new = CAPTION_SHARE * config.caption.max_new_tokens
    changed = planned(config, n).n_captions
    e, m = config.explain, config.mechanisms
    ablated = m.n_ablated * (2 * m.n_patched + m.n_features + 2 * 3 * m.n_pairs)  # captions with features off
    passes = 3 * m.n_images + n_layers * (ablated + 3 * m.n_ablated * (1 + m.n_steps))
    doses = 2 * len(e.dose_strengths) * e.n_dose_images
    told = n_languages * n_layers * ((e.n_features or d_sae) * len(e.strengths) + doses)
    return {
        "words": _amount(plain_seconds=rows * REFERENCES * 3e-4, disk=rows * REFERENCES * 60, memory=2e8),
        "pool": _amount(flops=rows * length * n_layers * 2 * d_model * d_sae, calls=rows * length * n_layers / 8192,
                        disk=n_layers * pooled, memory=3 * pooled, model=True),
        "gender": _amount(flops=n_languages * g.n_attributed * length * 3 * body,
                          plain_seconds=n_layers * (2 + rows * fired * 2e-6), calls=n_layers * g.n_attributed,
                          disk=n_layers * d_sae * 800, memory=2 * pooled, model=True),
        "crosslingual": _amount(flops=separate * config.train.batch_tokens * 4 * d_model * x.d_sae, calls=separate,
                                plain_seconds=n_layers * (2 + rows * fired * 1e-6), disk=n_layers * d_sae * 200,
                                memory=2 * pooled + 6 * x.d_sae * d_model * 4),
        "layers": _amount(plain_seconds=n_layers * (2 + rows * d_model * 1e-5), calls=config.layers.n_lens * n_layers,
                          disk=1e6, memory=3 * rows * d_model * 4, model=True),
        "bias": _amount(flops=sampled * length * body, calls=new * 4 * shape.n_layers / 8, disk=sampled * 120,
                        plain_seconds=sampled * 4e-3, memory=1e9, model=True),
        "explain": _amount(flops=told * 2 * length * body, disk=told * 250, memory=1e9, plain_seconds=told * 1e-2,
                           calls=2.5 * new * told / config.caption.batch_size * shape.n_layers / 8, model=True),
        "interventions": _amount(flops=changed * 1.7 * length * body,
                                 calls=new * 1.5 * changed / (4 * config.caption.batch_size) * shape.n_layers / 8,
                                 plain_seconds=changed * 1.5e-3, disk=changed * 150,
                                 memory=1e9 + n_layers * 8 * d_model * d_sae, model=True),
        "mechanisms": _amount(flops=n_languages * passes * length * body, calls=passes * shape.n_layers / 32,
                              plain_seconds=shape.n_layers * 0.2, disk=2e6 + n_languages * m.n_maps * 1e5,
                              memory=1e9 + m.cache_mib * 2**20 + n_layers * 8 * d_model * d_sae, model=True),
    }  # fmt: skip


def _amount(**given: Any) -> dict[str, Any]:
    return {"flops": 0.0, "calls": 0.0, "plain_seconds": 0.0, "model": False, **given}
