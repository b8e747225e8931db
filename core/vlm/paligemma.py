"""PaliGemma 1 and 2 (google/paligemma2-3b-mix-224 and its kin): a task prompt such as "caption en", no chat."""

from __future__ import annotations

from typing import Any

from jaxtyping import Int
from PIL.Image import Image
from torch import Tensor

from core.vlm.adapter import VLM
from core.vlm.batch import Batch, Features, Ids


class PaliGemmaVLM(VLM):
    """Image and task prompt see each other in both directions (``token_type_ids`` 0), the caption looks back (1).

    Row: image tokens, <bos>, the prompt, a newline that opens the answer. Positions count from 1. PaliGemma 2 caps its
    logits. The processor brings images to its own square.
    """

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.softcap = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)

    def set_side(self, image_side: int) -> None:
        super().set_side(image_side)
        self.side = 0

    def render(self, prompt: str) -> str:
        return f"{self.processor.image_token}{prompt}"

    def image_features(self, images: list[Image]) -> Features:
        return self.model.get_image_features(**self.image_inputs(images)).pooler_output

    def extra_inputs(self, batch: Batch | None) -> dict[str, Any]:
        return {"token_type_ids": None if batch is None else (~batch.is_prompt).long()}

    def position_ids(self, position: Ids, batch: Batch | None) -> Int[Tensor, "*axes rows positions"]:
        return position + 1
