"""Time and peak memory on a device: of any piece of work, of a loaded captioner, of sparse autoencoders.

Of a captioner whose weights are not here, a few real layers are measured: random ones on the device, and lines drawn
through them. The time of a whole pass, and of the vision tower, is that of one layer and of three, extended to as many
as the config.json names. Embeddings, final norm and unembedding have their full size.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor, nn

from core.config import Config, TrainConfig
from core.gender.contrast import Contrast, LogOdds
from core.sae.modules import SAEConfig
from core.sae.trainer import Trainer
from core.vlm.gradients import resid_gradients
from core.vlm.loading import DTYPES
from precompute.forecast.work import Lengths

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

LOOK_EVERY = 0.005  # seconds between two looks at the memory of the process
MOST = 3  # times that a piece of work is done, of which the quickest counts
T = TypeVar("T")


@dataclass
class Clock:
    """Knows the device and when the whole probe has to be over."""

    device: str
    ends: float  # time.monotonic()
    timer: Callable[[], float] = time.perf_counter  # time.process_time on one thread tells nothing of who else computes

    @property
    def left(self) -> float:
        """Seconds that are left, 0 at least."""
        return max(0.0, self.ends - time.monotonic())

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        elif self.device == "mps":
            torch.mps.synchronize()

    def time(self, work: Callable[[], T]) -> tuple[float, T]:
        """Seconds of one go, and what came of it."""
        self.wait()
        began = self.timer()
        found = work()
        self.wait()
        return self.timer() - began, found

    def best(self, work: Callable[[], object], share: float = 0.1) -> float:
        """Seconds of the quickest of a few goes, the first of which warms up; fewer where they take long.

        ``share`` is what part of the time left the further goes may take.
        """
        until = time.monotonic() + share * self.left
        first, _ = self.time(work)
        found = [first]
        while len(found) <= MOST and time.monotonic() + min(found) < until:
            found.append(self.time(work)[0])
        return min(found[1:] or found)


class Peak:
    """The most memory that is taken within the block, beyond what was taken before: ``bytes``.

    That of the device where it is CUDA, else of the process, looked at every 5 ms.
    """

    def __init__(self, device: str):
        self.device, self.bytes = device, 0

    def __enter__(self) -> Peak:
        if self.device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
            return self
        self._process, self._over = psutil.Process(), threading.Event()
        self._before = self._most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            self._most = max(self._most, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
            self.bytes = torch.cuda.max_memory_allocated() - self._before
            return
        self._over.set()
        self._thread.join()
        self.bytes = max(self._most, self._process.memory_info().rss) - self._before


def halve_until_it_fits(work: Callable[[int], T], n: int) -> tuple[int, T]:
    """``work(n)`` of the largest of n, n/2, ... that the device's memory holds; its error where 1 is too many."""
    while True:
        try:
            return n, work(n)
        except torch.OutOfMemoryError:
            if n <= 1:
                raise
            n //= 2
            torch.cuda.empty_cache()


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
    score = LogOdds([Contrast(0, 0, 0, 1)] * n, torch.zeros(0, dtype=torch.bool))
    with Peak(clock.device) as peak:
        took = clock.best(lambda: resid_gradients(vlm, rows, seen, layers, score))
    seconds["gradients"], held["gradients_held"] = took / (n * len(row)), peak.bytes / (n * len(row))


FEW, MORE = 1, 3  # layers
DEPTHS = ("num_hidden_layers", "depth", "num_layers")  # what configs of vision towers call their number of layers
SLICE_STEPS = 8  # of decoding
SLICE_LONGEST_GO = 10.0


class Slice:
    """The model of a config.json cut to ``MORE`` layers; ``keep(n)`` leaves the first n of them.

    Raises ValueError where transformers does not know the model, torch.OutOfMemoryError where it does not fit.
    """

    def __init__(self, config_json: Path, config: Config, device: str):
        from transformers import AutoConfig, AutoModelForImageTextToText
        from transformers.initialization import no_init_weights

        tree = AutoConfig.from_pretrained(str(config_json.parent), local_files_only=True)
        text = tree.get_text_config()
        self.n_layers = int(text.num_hidden_layers)
        text.num_hidden_layers = MORE
        for name in ("layer_types", "cross_attention_layers", "no_rope_layers"):
            if getattr(text, name, None):
                setattr(
                    text,
                    name,
                    [v for i, v in enumerate(getattr(text, name)) if name == "cross_attention_layers" or i < MORE],
                )
        self.vision = getattr(tree, "vision_config", None)
        self.depth_name = next((n for n in DEPTHS if hasattr(self.vision, n)), "")
        self.n_vision = int(getattr(self.vision, self.depth_name)) if self.depth_name else 0
        if self.depth_name:
            setattr(self.vision, self.depth_name, MORE)
        dtype = DTYPES[config.model.dtype]
        with torch.device(device), no_init_weights():
            model = AutoModelForImageTextToText.from_config(tree, dtype=dtype)
        self.model: Any = model.eval().requires_grad_(False)
        for p in self.model.parameters():
            p.fill_(0.01)  # any ordinary number; what memory held before may be slow to work with
        self.device, self.dtype, self.d_model = device, dtype, int(text.hidden_size)
        self.side = int(getattr(self.vision, "image_size", 0) or 0)
        self.decoder, self.head = self.model.get_decoder(), self.model.get_output_embeddings()
        self._text_layers = list(self.decoder.layers)
        self._lists = [
            m
            for m in self.model.modules()
            if isinstance(m, nn.ModuleList) and len(m) == MORE and m is not self.decoder.layers
        ]
        self._kept = [list(m) for m in self._lists]

    def keep(self, n: int) -> None:
        """Leave the first ``n`` layers of both towers."""
        self.decoder.layers = nn.ModuleList(self._text_layers[:n])
        self.decoder.config.num_hidden_layers = n
        for module, kept in zip(self._lists, self._kept, strict=True):
            del module[:]
            module.extend(kept[:n])

    @torch.inference_mode()
    def passes(self, n: int, length: int, cache: Any = None, embeds: Tensor | None = None) -> Tensor:
        """A pass of ``n`` rows of noise, as far as the scores of the last position."""
        if embeds is None:
            embeds = torch.randn(n, length, self.d_model, device=self.device, dtype=self.dtype)
        past = cache.get_seq_length() if cache is not None else 0
        mask = torch.ones(n, past + length, dtype=torch.long, device=self.device)
        found = self.decoder(
            inputs_embeds=embeds, attention_mask=mask, past_key_values=cache, use_cache=cache is not None
        )
        return self.head(found.last_hidden_state[:, -1]).float()

    @torch.inference_mode()
    def step(self, n: int, length: int, timer: Callable[[], float]) -> float:
        """Seconds of a decoding step of ``n`` rows after ``length`` positions, the quickest of a few."""
        from transformers import DynamicCache

        cache, found = DynamicCache(), []
        self.passes(n, length, cache)
        for _ in range(SLICE_STEPS):
            began = timer()
            self.passes(n, 1, cache).argmax(-1).tolist()
            found.append(timer() - began)
        return min(found)

    @torch.inference_mode()
    def sees(self) -> None:
        """One image of noise through the vision tower; TypeError or ValueError where a family asks for more."""
        pixels = torch.randn(1, 3, self.side, self.side, device=self.device, dtype=self.dtype)
        self.model.get_image_features(pixel_values=pixels)


def measure_slice(model: Slice, config: Config, clock: Clock, length: int) -> tuple[dict, dict]:
    """(seconds a unit, bytes a unit) of the whole model by the names of ``Work``; ``length`` positions a row.

    What there was no time for, or what this family does not allow, is left out.
    """
    least, most = (_at(model, n, config, clock, length) for n in (FEW, MORE))
    beyond = {"images": model.n_vision}

    def whole(name: str) -> float:
        each = max(0.0, (most[name] - least[name]) / (MORE - FEW))
        return least[name] + each * (beyond.get(name, model.n_layers) - FEW)

    seconds = {
        name: whole(name) for name in ("images", "tokens", "steps", "step_rows") if name in most and name in least
    }
    return seconds, {name: whole(name) for name in ("tokens_held", "rows_held") if name in most and name in least}


def _at(model: Slice, n_layers: int, config: Config, clock: Clock, length: int) -> dict[str, float]:
    """What a unit costs with the first ``n_layers`` layers of both towers."""
    model.keep(n_layers)
    one, _ = clock.time(lambda: model.passes(1, length))
    budget = min(SLICE_LONGEST_GO, clock.left / 8)
    n = max(1, min(config.activations.batch_tokens // length, int(budget / max(one, 1e-9))))
    with Peak(clock.device) as peak:
        n, took = halve_until_it_fits(lambda n: clock.best(lambda: model.passes(n, length)), n)
    found = {"tokens": took / (n * length), "tokens_held": peak.bytes / (n * length)}
    with Peak(clock.device) as peak:
        most = min(config.caption.batch_size, max(1, int(budget / max(took / n, 1e-9))))
        many, slow = halve_until_it_fits(lambda n: model.step(n, length, clock.timer), most)
    found["rows_held"] = peak.bytes / many
    quick = model.step(1, length, clock.timer) if many > 1 else slow
    found["step_rows"] = max(0.0, (slow - quick) / (many - 1)) if many > 1 else 0.0
    found["steps"] = max(0.0, slow - found["step_rows"] * many)
    if model.side and model.n_vision:
        try:
            found["images"] = clock.best(model.sees)
        except (TypeError, ValueError):  # a family whose vision tower asks for more than pixels
            return found
    return found


WINDOW = 16_384  # tokens of which batches are drawn
ENCODED = 4_096
WARM, STEPS = 1, 5


class _Tokens:
    """Random tokens where training expects those of a layer; a batch is gathered from a window, as there."""

    def __init__(self, d_model: int, batch_tokens: int):
        self.batch_tokens = batch_tokens
        self.window = torch.randn(WINDOW, d_model, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)

    def __len__(self) -> int:
        return WINDOW

    def __call__(self, step: int) -> Tensor:
        chosen = torch.randint(WINDOW, (self.batch_tokens,), generator=torch.Generator().manual_seed(step))
        return self.window[chosen].float()

    def statistics(self) -> tuple[Tensor, float]:
        return torch.zeros(self.window.shape[1]), 1.0


def measure_dictionaries(config: Config, d_model: int, clock: Clock) -> tuple[dict, dict]:
    """(seconds a unit, bytes a unit) by the names of ``Work``, from the two sizes that a run trains."""
    x = config.crosslingual
    small = replace(config.train, architecture="topk", d_sae=x.d_sae, k=x.k, batch_tokens=x.batch_tokens)
    large, encoded, held = _train(config.train, d_model, clock)
    cells = config.train.d_sae * config.train.batch_tokens
    seconds = {"encoded": encoded}
    if clock.left > 10 and x.d_sae * x.batch_tokens < cells:
        little, _, _ = _train(small, d_model, clock)
        each = max(0.0, (large - little) / (cells - x.d_sae * x.batch_tokens))
        seconds |= {"trained": each, "train_steps": max(0.0, large - each * cells)}
    else:
        seconds |= {"trained": large / cells, "train_steps": 0.0}
    return seconds, held


def _train(config: TrainConfig, d_model: int, clock: Clock) -> tuple[float, float, dict]:
    """Seconds of a step; seconds a token and feature encoded; bytes held."""
    with Peak(clock.device) as fixed:
        place = SAEConfig(config.architecture, d_model, config.d_sae, config.k, 0)
        trainer = Trainer(config, _Tokens(d_model, config.batch_tokens), place, 0, clock.device)  # type: ignore[arg-type]
    found = []
    with Peak(clock.device) as moving:
        for i in range(WARM + STEPS):
            took, _ = clock.time(trainer.advance)
            found.append(took)
            if i >= WARM and time.monotonic() + 2 * took > clock.ends - 0.5 * clock.left:
                break
    sae = trainer.finished_sae().to(clock.device)
    x = trainer.batches(0)[:ENCODED].to(clock.device)
    with torch.no_grad():
        encoded = clock.best(lambda: sae.encode(x)) / (len(x) * config.d_sae)
    held = {"trained_held": fixed.bytes / config.d_sae, "cells_held": moving.bytes / (config.d_sae * len(x))}
    return min(found[WARM:] or found), encoded, held
