"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL (Qwen/Qwen2.5-VL-3B-Instruct and its kin): positions in three dimensions."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from PIL.Image import Image
from torch import Tensor

from core.vlm.adapter import VLM
from core.vlm.batch import Batch, Features, Hidden, Ids
from core.vlm.family import unfit_side

SIDE = 448  # pixels: 256 image tokens with patches of 14 pixels merged two by two, 196 with 16


class QwenVLM(VLM):
    """M-RoPE: image tokens stand at (start, start + row, start + column), and text goes on after the larger side.

    With one image on a fixed grid in each row this is a closed form; ``rope_deltas``, which the model keeps from pass
    to pass, are not used.
    """

    def set_side(self, image_side: int) -> None:
        images = self.processor.image_processor
        step, side = images.patch_size * images.merge_size, image_side or SIDE
        low, high = images.size["shortest_edge"], images.size["longest_edge"]
        if not image_side:  # small models for tests take less
            side = min(SIDE, int(high**0.5)) // step * step
        if side % step or not low <= side * side <= high:
            why = f"Sides are multiples of {step} pixels, and the area is between {low} and {high} pixels."
            raise unfit_side(image_side, why, f"a multiple of {step}")
        self.side, self.n_pixels = side, side * side

    @property
    def patch_grid(self) -> tuple[int, int]:
        images = self.processor.image_processor
        return (self.side // images.patch_size // images.merge_size,) * 2

    def image_features(self, images: list[Image]) -> Features:
        return torch.stack(tuple(self.model.get_image_features(**self.image_inputs(images)).pooler_output))

    def position_ids(self, position: Ids, batch: Batch | None) -> Int[Tensor, "*axes rows positions"]:
        rows, columns = self.patch_grid
        skipped = self.n_image_tokens - max(rows, columns)  # positions that the image's tokens share
        if batch is None:
            return (position - skipped)[None].expand(3, -1, -1)
        number = batch.is_image.cumsum(1) - 1  # of the last image token so far, row-major
        after = (number == self.n_image_tokens - 1) & ~batch.is_image
        text = torch.where(after, position - skipped, position)
        start = position - number
        image = [start, start + number // columns, start + number % columns]
        return torch.stack([torch.where(batch.is_image, place, text) for place in image])


class Qwen3VLM(QwenVLM):
    """Features hold an image token's embedding and, behind it, what is added to it after each of the first layers.

    resid_post of these layers is what the layer itself gives; the addition ("deepstack") comes between it and the next.
    """

    @property
    def n_deep(self) -> int:
        """How many of the first layers add features of the image."""
        return len(self.model.config.vision_config.deepstack_visual_indexes)

    @property
    def feature_shape(self) -> tuple[int, int]:
        return self.n_image_tokens, self.d_model * (1 + self.n_deep)

    def image_features(self, images: list[Image]) -> Features:
        found: Any = self.model.get_image_features(**self.image_inputs(images))
        deep = [torch.stack(tuple(layer)) for layer in found.deepstack_features]
        return torch.cat([torch.stack(tuple(found.pooler_output)), *deep], -1)

    def image_tokens(self, features: Features) -> Tensor:
        return features[..., : self.d_model]

    def embed(self, ids: Ids, is_image: Tensor, features: Features) -> Hidden:
        return super().embed(ids, is_image, self.image_tokens(features).contiguous())

    def extra_inputs(self, batch: Batch | None) -> dict[str, Any]:
        if batch is None:
            return {}
        deep = batch.features.split(self.d_model, -1)[1:]
        return {"visual_pos_masks": batch.is_image, "deepstack_visual_embeds": [d.flatten(0, 1) for d in deep]}

    def run_decoder(self, embeds: Hidden, mask: Tensor, position: Ids, batch: Batch | None, cache: Any) -> Hidden:
        return self.model.get_decoder()(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=self.position_ids(position, batch),
            past_key_values=cache,
            use_cache=cache is not None,
            **self.extra_inputs(batch),
        ).last_hidden_state
