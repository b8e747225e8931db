"""How many tokens an image takes in each family, from the model's config.json alone: for plans, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
QWEN_SIDE = 448  # pixels, where model.image_side names none


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
