"""Llama 3.2 Vision (meta-llama/Llama-3.2-11B-Vision-Instruct): some decoder layers look at the image, none holds it."""

from __future__ import annotations

from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from core.vlm.adapter import VLM
from core.vlm.batch import Batch, Features, Hidden, Ids
from core.vlm.family import unfit_side


class MllamaVLM(VLM):
    """One <|image|> token stands for the image; cross-attention layers read the vision tower's states from outside.

    Features are these states, (tiles x patches, d_model) an image, all tiles with those that are only padding: tokens
    before <|image|> attend to them all, as they do in the model's own pass. There is no map of patches: no position of
    the residual stream belongs to a part of the image. Cross-attention layers are decoder layers like the others:
    their resid_post is the residual stream after they have added to it.
    """

    @property
    def patch_grid(self) -> None:
        return None

    def set_side(self, image_side: int) -> None:
        tile, tiles = self.processor.image_processor.size["height"], self.processor.image_processor.max_image_tiles
        most = int(tiles**0.5)
        if image_side not in (0, *(tile * n for n in range(1, most + 1))):
            why = f"Its tiles are {tile} pixels wide, {most} x {most} at most."
            raise unfit_side(image_side, why, f"{most * tile}")
        self.side = image_side or tile
        self.n_pixels = tiles * tile**2

    @property
    def feature_shape(self) -> tuple[int, int]:
        vision = self.model.model.vision_model
        return vision.max_num_tiles * vision.num_patches, self.d_model

    def image_tokens(self, features: Features) -> Tensor:
        return self.shown(features)

    def shown(self, states: Tensor) -> Tensor:
        """The states of the tiles that are not padding."""
        tiles = states.unflatten(1, (self.model.model.vision_model.max_num_tiles, -1))
        return tiles[:, : self._n_tiles].flatten(1, 2)

    def image_inputs(self, images: list[Any]) -> dict[str, Tensor]:
        found = super().image_inputs([[image] for image in images])
        return {name: found[name] for name in ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")}

    def image_features(self, images: list[Image]) -> Features:
        states = self.model.model.vision_model(**self.image_inputs(images)).last_hidden_state
        return self.model.model.multi_modal_projector(states).reshape(len(images), *self.feature_shape)

    def embed(self, ids: Ids, is_image: Tensor, features: Features) -> Hidden:
        return self.model.get_input_embeddings()(ids)

    def extra_inputs(self, batch: Batch | None) -> dict[str, Any]:
        """From <|image|> on, every token sees the tiles that are not padding."""
        tiles = (torch.arange(self.model.model.max_num_tiles, device=self.device) < self._n_tiles).long()
        if batch is None:
            n_tokens = 1 if self.kinds is None else self.kinds.shape[1]
            return {"cross_attention_mask": tiles.expand(1, n_tokens, 1, -1)}
        sees = batch.is_image.cumsum(1).clamp(max=1)
        return {"cross_attention_states": batch.features, "cross_attention_mask": sees[..., None, None] * tiles}

    @property
    def _n_tiles(self) -> int:
        return (self.side // self.processor.image_processor.size["height"]) ** 2
