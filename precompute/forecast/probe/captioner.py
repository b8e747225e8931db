"""What a loaded captioner costs, in seconds and bytes: an image seen, a token passed, a step of writing, a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from core.config import Config
from core.vlm.gradients import resid_gradients
from precompute.forecast.probe.stopwatch import Clock, Peak, halve_until_it_fits
from precompute.forecast.work import Lengths

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

N_STEPS = 12  # of decoding
FEW_IMAGES = 4
LONGEST_GO = 20.0  # seconds that one go may be expected to take


def measure_captioner(vlm: VLM, config: Config, clock: Clock) -> tuple[dict, dict, Lengths]:
    """(seconds a unit, bytes a unit) by the names of ``Work``, and lengths; what there was no time for is left out.

    Raises torch.OutOfMemoryError where the model cannot pass one row.
    """
    prompts = [vlm.prompt_ids(text) for text in config.prompts.values()]
    features, seconds = _images(vlm, clock)
    lengths = _lengths(vlm, config, clock, prompts, features)
    row = [*prompts[0], *(vlm.caption_ids("a ") or [vlm.pad_id])[:1] * max(1, round(lengths.caption))]
    held: dict[str, float] = {}

    def passing(n: int) -> Callable[[], object]:
        seen = features[:1].expand(n, -1, -1)
        return lambda: vlm.forward([row] * n, seen, config.activations.layers)

    one, _ = clock.time(passing(1))
    n = max(1, min(config.activations.batch_tokens // len(row), int(min(LONGEST_GO, clock.left / 6) / max(one, 1e-9))))
    with Peak(clock.device) as peak:
        n, took = halve_until_it_fits(lambda n: clock.best(passing(n)), n)
    reached = (max(config.activations.layers) + 1) / vlm.n_layers
    seconds["tokens"], held["tokens_held"] = took / (n * len(row) * reached), peak.bytes / (n * len(row))
    _writing(vlm, config, clock, prompts[0], features, seconds, held)
    if clock.left > 12 * took / n:  # two rows, there and back
        _gradients(vlm, config, clock, row, features, seconds, held)
    return seconds, held, lengths


def _lengths(vlm: VLM, config: Config, clock: Clock, prompts: list[list[int]], features: torch.Tensor) -> Lengths:
    """Tokens of the prompts and of the captions that the model writes of noise, both on average."""
    seen = features.repeat_interleave(len(prompts), 0)
    found = [0] * len(seen)
    for step in vlm.stream(prompts * len(features), seen, config.caption.max_new_tokens):
        found = [n + (token is not None) for n, token in zip(found, step, strict=True)]
        if not clock.left:
            break
    return Lengths(float(np.mean([len(p) for p in prompts])), max(1.0, float(np.mean(found))))


def _images(vlm: VLM, clock: Clock) -> tuple[torch.Tensor, dict[str, float]]:
    """Features of noise, and the seconds an image takes from pixels to features."""
    noise = np.random.default_rng(0).integers(0, 256, (FEW_IMAGES, 448, 448, 3), dtype=np.uint8)
    images = [Image.fromarray(pixels) for pixels in noise]
    first, features = clock.time(lambda: vlm.encode_images(images[:1]))
    if FEW_IMAGES * first > min(LONGEST_GO, clock.left / 6):
        return features, {"images": first}
    _, features = clock.time(lambda: vlm.encode_images(images))
    return features, {"images": clock.best(lambda: vlm.encode_images(images)) / FEW_IMAGES}


def _writing(
    vlm: VLM, config: Config, clock: Clock, prompt: list[int], features: torch.Tensor, seconds: dict, held: dict
) -> None:
    """Steps of writing at two sizes of batch: what a step costs, and what each of its rows adds."""

    def steps(n: int) -> float:
        """Seconds of one step, the first of which, over the prompt, does not count."""
        marks = []
        for _ in vlm.stream([prompt] * n, features[:1].expand(n, -1, -1), N_STEPS):
            marks.append(clock.timer())
            if len(marks) > 3 and clock.left < 5 * (marks[-1] - marks[-2]):
                break
        gaps = np.diff(marks)
        return float(np.median(gaps)) if len(gaps) else float("nan")

    budget = min(LONGEST_GO, clock.left / 6)
    most = max(1, int(budget / max(seconds["tokens"] * len(prompt), 1e-9)))
    with Peak(clock.device) as peak:
        many, slow = halve_until_it_fits(steps, min(config.caption.batch_size, most))
    held["rows_held"] = peak.bytes / many
    few = max(1, many // 4)
    quick = steps(few) if few < many else slow
    if np.isfinite([quick, slow]).all():
        each = max(0.0, (slow - quick) / (many - few)) if few < many else 0.0
        seconds["step_rows"], seconds["steps"] = each, max(slow - each * many, 0.0)


def _gradients(
    vlm: VLM, config: Config, clock: Clock, row: list[int], features: torch.Tensor, seconds: dict, held: dict
) -> None:
    """Passes forward and back, as stage gender takes them."""
    layers, n = config.activations.layers, 2
    rows, seen = [row] * n, features[:1].expand(n, -1, -1)
    with Peak(clock.device) as peak:
        took = clock.best(lambda: resid_gradients(vlm, rows, seen, layers, lambda logits: logits.float().amax(-1)))
    seconds["gradients"], held["gradients_held"] = took / (n * len(row)), peak.bytes / (n * len(row))
