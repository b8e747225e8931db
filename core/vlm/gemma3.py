"""Gemma 3 (google/gemma-3-4b-it and its kin), by the names of transformers' Gemma3ForConditionalGeneration."""

from __future__ import annotations

from typing import Any

from PIL.Image import Image

from core.vlm.adapter import VLM
from core.vlm.batch import Batch, Features


class Gemma3VLM(VLM):
    """Image tokens see each other in both directions: ``token_type_ids`` tells the model where they are.

    Without them the model raises nothing and gives other logits. The processor brings images to its own square.
    """

    def set_side(self, image_side: int) -> None:
        super().set_side(image_side)
        self.side = 0

    def image_features(self, images: list[Image]) -> Features:
        pixels = self.processor.image_processor(images=images, return_tensors="pt", do_pan_and_scan=False).pixel_values
        return self.model.get_image_features(pixels.to(self.device).to(self.dtype)).pooler_output

    def extra_inputs(self, batch: Batch | None) -> dict[str, Any]:
        return {"token_type_ids": None if batch is None else batch.is_image.long()}
