"""A family without a file of its own: tried by what most have in common, and refused where that is not enough."""

from __future__ import annotations

from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from core.vlm.adapter import VLM
from core.vlm.batch import Batch, Features, Hidden, Ids
from core.vlm.family import unknown_family
from core.vlm.prompts import PROBES

SIDE = 448  # pixels, where the vision tower names none


class GenericVLM(VLM):
    """Image features stand in the places of image tokens, and the decoder needs nothing beside them.

    Whether that is so is measured when the model is loaded: its own pass over one picture must give the same logits.
    There is no map of patches, for nothing says how image tokens lie over the image.
    """

    @property
    def patch_grid(self) -> None:
        return None

    def __init__(self, name: str, model: Any, processor: Any, image_side: int = 0):
        wants = {
            "a decoder with layers and a norm": lambda: (model.get_decoder().layers, model.get_decoder().norm),
            "image_token_id in its config": lambda: int(model.config.image_token_id),
            "get_image_features": lambda: model.get_image_features,
            "a tokenizer in its processor": lambda: processor.tokenizer,
        }
        for what, get in wants.items():
            try:
                get()
            except (AttributeError, TypeError, NotImplementedError) as error:
                raise unknown_family(model.config.model_type, f"It lacks {what}.") from error
        try:
            super().__init__(name, model, processor, image_side)
            self._prove()
        except (AttributeError, TypeError, ValueError, KeyError, IndexError, RuntimeError) as error:
            why = f"It is not used as most are: {str(error).strip().splitlines()[0] if str(error) else error!r}"
            raise unknown_family(model.config.model_type, why) from error

    def set_side(self, image_side: int) -> None:
        own = getattr(getattr(self.model.config, "vision_config", None), "image_size", None)
        self.side = image_side or (own if isinstance(own, int) else SIDE)
        self.n_pixels = self.side**2

    def image_features(self, images: list[Image]) -> Features:
        made = []
        for image in images:
            inputs = {k: v.to(self.device) for k, v in self.ask(PROBES[0], image).items() if k in self._image_inputs}
            found = self.model.get_image_features(**{k: self._as_pixels(v) for k, v in inputs.items()})
            found = getattr(found, "pooler_output", found)
            tokens = torch.cat([part.reshape(-1, self.d_model) for part in found])
            if len(tokens) != self.n_image_tokens:
                raise ValueError(f"{self.n_image_tokens} image tokens in its text, {len(tokens)} from its image")
            made.append(tokens)
        return torch.stack(made)

    @property
    def _image_inputs(self) -> set[str]:
        return set(self.processor.image_processor.model_input_names)

    def _as_pixels(self, value: Tensor) -> Tensor:
        return value.to(self.dtype) if value.is_floating_point() else value

    def run_decoder(self, embeds: Hidden, mask: Tensor, position: Ids, batch: Batch | None, cache: Any) -> Hidden:
        return self.model.get_decoder()(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state

    def _prove(self) -> None:
        from core.vlm.conformance import Conformance

        check = Conformance(self, PROBES[:2]).reuse()
        if not check.passed:
            raise ValueError(f"logits differ by {check.measured:.2g} of the largest from its own pass over a picture")
