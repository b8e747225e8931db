"""A demo-size Gemma 3 with random weights, saved and loaded as any model is; made once a process."""

from __future__ import annotations

import functools
import random
import tempfile
from pathlib import Path

import torch
from PIL import Image

from core.demo.captioner import build_model, build_processor, build_tokenizer
from core.demo.world import DemoWorld
from core.vlm.adapter import VLM
from core.vlm.loading import load_vlm


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
    folder = tempfile.TemporaryDirectory(prefix="toy-model-")
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:  # random, so that nothing is the identity by accident
                parameter.add_(0.1 * torch.randn_like(parameter))
            if "post_" in name:  # strong sublayers: else tied embeddings make it repeat its last token for ever
                parameter.add_(3.0)
            if "q_norm" in name or "k_norm" in name:  # sharp attention: else it soon writes one token for ever
                parameter.add_(2.0)
    model.save_pretrained(folder.name)
    build_processor(tokenizer).save_pretrained(folder.name)
    return folder


def toy_model_dir() -> Path:
    """The folder of the random model."""
    return Path(_folder().name)


@functools.cache
def toy_vlm() -> VLM:
    """The random model, loaded in float32 on the CPU."""
    return load_vlm(str(toy_model_dir()))


@functools.cache
def toy_images(n: int = 6) -> list[Image.Image]:
    """Scenes of the demo world."""
    world, rng = DemoWorld(), random.Random(0)
    return [Image.fromarray(world.render(world.scene(rng))) for _ in range(n)]


@functools.cache
def toy_features() -> torch.Tensor:
    """Image tokens of ``toy_images``."""
    return toy_vlm().encode_images(toy_images())


class Read:
    """A score that is the same function of every row's logits."""

    def __init__(self, function):
        self.function = function

    def __call__(self, logits):
        return self.function(logits)

    def __getitem__(self, rows):
        return self


def toy_rows() -> list[list[int]]:
    """Six rows in both languages, with captions of different lengths."""
    vlm = toy_vlm()
    en, ar = vlm.prompt_ids("Describe the image."), vlm.prompt_ids("صف الصورة.")
    return [en, ar, [*en, 300, 301, 302], [*ar, *range(400, 411)], [*en, 310], [*ar, 420, 421]]
