"""Sizes of what a run computes with, read without loading it: of the captioner, and of SAEs that others trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from core.config import Config
from core.sae.pretrained import Facts, check_sources
from core.vlm.identity import settings

QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
QWEN_SIDE = 448  # pixels, where model.image_side names none


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


class ImageCost(NamedTuple):
    """What one image costs: tokens in the decoder, patches in the vision tower, pixels of its square's side."""

    tokens: int
    patches: int
    side: int


def image_cost(config: Mapping[str, Any], image_side: int = 0) -> ImageCost:
    """By the contents of config.json; an unknown family counts one token a patch of its vision tower."""
    family, vision = config.get("model_type", ""), config.get("vision_config") or {}
    own, patch = vision.get("image_size", 896), vision.get("patch_size", 16 if family == "qwen3_vl" else 14)
    if family in QWEN:
        side = image_side or QWEN_SIDE
        merge = vision.get("spatial_merge_size", 2)
        return ImageCost((side // (patch * merge)) ** 2, (side // patch) ** 2, side)
    patches = (own // patch) ** 2
    if family == "gemma3":
        return ImageCost(config.get("mm_tokens_per_image", 256), patches, own)
    if family == "llava_next":
        tiles = max(1, image_side // own)
        rows = tiles * (own // patch)  # of the tiles together, each with a newline; beside them the base view
        return ImageCost(patches + rows * (rows + 1), (1 + max(2, tiles**2)) * patches, image_side or own)
    if family == "mllama":
        return ImageCost(1, vision.get("max_num_tiles", 4) * patches, image_side or own)
    if family in ("idefics3", "smolvlm"):
        return ImageCost(patches // config.get("scale_factor", 2) ** 2, patches, own)
    return ImageCost(patches, patches, own)


def model_shape(config: Config) -> ModelShape:
    """Read the shape from a ``config.json`` on this machine; without one, that of Gemma 3 4B is assumed."""
    tree = settings(config)
    if tree is None:
        return ModelShape(2560, 34, 262_208, 256, 3.9e9, 0.42e9, 4096, 896, known=False)
    text, vision = tree.get("text_config", tree), tree.get("vision_config", {})
    d, n, mlp = text.get("hidden_size", 2560), text.get("num_hidden_layers", 34), text.get("intermediate_size", 10240)
    heads, kv = text.get("num_attention_heads", 8), text.get("num_key_value_heads", 4)
    d_head = text.get("head_dim") or d // heads
    vocab = text.get("vocab_size", 262_208)
    text_params = n * (3 * d * mlp + d * d_head * (2 * heads + 2 * kv)) + d * vocab
    v = vision.get("embed_dim") or vision.get("hidden_size", 1152)
    v_n, v_mlp = vision.get("num_hidden_layers") or vision.get("depth", 27), vision.get("intermediate_size", 4 * v)
    image = image_cost(tree, config.model.image_side)
    return ModelShape(
        d, n, vocab, image.tokens, text_params, v_n * (4 * v * v + 2 * v * v_mlp), image.patches, image.side, known=True
    )


def check_saes(config: Config, fetch: bool = False) -> list[str]:
    """What should be said of the SAEs that sae.source names; UserError for one that does not fit the model."""
    return _checked(config, fetch)[1] if config.sae.source else []


def widest(config: Config) -> int:
    """The largest d_sae of the SAEs that sae.source names, 0 where there is none or its files are not here."""
    return max((facts.d_sae for facts in _checked(config, False)[0]), default=0) if config.sae.source else 0


def as_trained(config: Config, d_sae: int) -> Config:
    """The settings as an estimate reads them: SAEs by others have their own width, and are not trained."""
    if not config.sae.source:
        return config
    return replace(config, train=replace(config.train, d_sae=d_sae or config.train.d_sae, steps=1))


def _checked(config: Config, fetch: bool) -> tuple[list[Facts], list[str]]:
    shape = model_shape(config)
    return check_sources(config, shape.d_model if shape.known else None, fetch)
