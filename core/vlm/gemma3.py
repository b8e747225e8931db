"""Gemma 3 (google/gemma-3-4b-it and its kin), by the names of transformers' Gemma3ForConditionalGeneration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers import DynamicCache

from core.vlm.adapter import VLM

if TYPE_CHECKING:
    from PIL.Image import Image


class Gemma3VLM(VLM):
    """Image tokens see each other in both directions: ``token_type_ids`` tells the model where they are.

    Without them the model raises nothing and gives other logits.
    """

    def __init__(self, name: str, model: Any, processor: Any):
        super().__init__(name, model, processor)
        decoder = model.get_decoder()
        self.decoder_layers, self.final_norm = decoder.layers, decoder.norm
        self.image_token_id = model.config.image_token_id
        self.n_image_tokens = model.config.mm_tokens_per_image

    def render(self, prompt: str) -> tuple[str, str]:
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        messages = [{"role": "user", "content": content}]
        asked = self.processor.apply_chat_template(messages, add_generation_prompt=False)
        text = self.processor.apply_chat_template(messages, add_generation_prompt=True)
        opening = text.removeprefix(asked)
        return text.replace(self.processor.boi_token, self.processor.full_image_sequence), opening

    def pixel_values(self, images: list[Image]) -> Tensor:
        pixels = self.processor.image_processor(images=images, return_tensors="pt", do_pan_and_scan=False).pixel_values
        return pixels.to(self.device)

    def image_features(self, pixel_values: Tensor) -> Tensor:
        return self.model.get_image_features(pixel_values).pooler_output

    def new_cache(self) -> DynamicCache:
        return DynamicCache(config=self.model.config.get_text_config(decoder=True))

    def run_decoder(
        self, embeds: Tensor, mask: Tensor, position: Tensor, is_image: Tensor | None, cache: Any
    ) -> Tensor:
        return self.model.model(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=position,
            token_type_ids=None if is_image is None else is_image.long(),
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
