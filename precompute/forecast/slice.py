"""A few real layers of a captioner whose weights are not here: random ones on the device, and lines drawn through them.

The time of a whole pass, and of the vision tower, is that of one layer and of three, extended to as many as the
config.json names. Embeddings, final norm and unembedding have their full size.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.config import Config
from core.vlm.loading import DTYPES
from precompute.forecast.measure import Clock, Peak, halve_until_it_fits

FEW, MORE = 1, 3  # layers
DEPTHS = ("num_hidden_layers", "depth", "num_layers")  # what configs of vision towers call their number of layers
N_STEPS = 8
LONGEST_GO = 10.0  # seconds that one go may be expected to take


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
        for _ in range(N_STEPS):
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
    budget = min(LONGEST_GO, clock.left / 8)
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
