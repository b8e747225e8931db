"""The sizes of a captioner, read from its config.json without loading it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from core.config import PROJECT_ROOT, Config
from core.vlm.image_tokens import image_cost


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


def model_shape(config: Config) -> ModelShape:
    """Read the shape from a ``config.json`` on this machine; without one, that of Gemma 3 4B is assumed."""
    path = find_file(config, "config.json")
    if path is None:
        return ModelShape(2560, 34, 262_208, 256, 3.9e9, 0.42e9, 4096, 896, known=False)
    tree = json.loads(path.read_text(encoding="utf-8"))
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


def find_file(config: Config, name: str) -> Path | None:
    """A file of the captioner on this machine, in its folder or in the hub's cache; never fetched."""
    path = PROJECT_ROOT / config.model.name / name  # an absolute name stays as it is
    if path.is_file():
        return path
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(config.model.name, name, revision=config.model.revision or None)
    except HFValidationError:  # a path that does not exist; the run itself will say so
        return None
    return Path(found) if isinstance(found, str) else None
