"""Idefics3 and SmolVLM (HuggingFaceTB/SmolVLM-256M-Instruct and its kin): one global view of the image, no tiles."""

from __future__ import annotations

from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from core.vlm.adapter import VLM
from core.vlm.batch import Features


class Idefics3VLM(VLM):
    """The family's own splitting into tiles is turned off, for it makes more tokens of some images than of others."""

    def __init__(self, name: str, model: Any, processor: Any, image_side: int = 0):
        images, side = processor.image_processor, model.config.vision_config.image_size
        images.do_image_splitting = False
        images.size = {"longest_edge": side}  # the square as it is, instead of a detour over a larger one
        images.max_image_size = {"longest_edge": side}
        super().__init__(name, model, processor, image_side)
        tag = self.tokenizer.convert_tokens_to_ids("<global-img>")  # not special in every checkpoint, but no word
        self.special_ids |= {tag}
        self._is_special[tag] = self.never_written[tag] = True

    def image_inputs(self, images: list[Any]) -> dict[str, Tensor]:
        found = super().image_inputs([[image] for image in images])
        return {name: found[name] for name in ("pixel_values", "pixel_attention_mask")}

    def image_features(self, images: list[Image]) -> Features:
        return torch.stack(tuple(self.model.get_image_features(**self.image_inputs(images)).pooler_output))
