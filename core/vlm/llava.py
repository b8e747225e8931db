"""LLaVA 1.5 (llava-hf/llava-1.5-7b-hf and its kin), and LLaVA-NeXT with its tiles."""

from __future__ import annotations

from typing import Any

import torch
from PIL.Image import Image
from torch import nn

from core.vlm.adapter import VLM
from core.vlm.batch import Features
from core.vlm.family import unfit_side


class LlavaVLM(VLM):
    """Images are squared to the vision tower's side first: the family's own processor would crop what is longer."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        if self.model.config.vision_feature_select_strategy == "full":
            self.first_patch = 1  # after the vision tower's class token

    @property
    def patch_grid(self) -> tuple[int, int]:
        vision = self.model.config.vision_config
        return (vision.image_size // vision.patch_size,) * 2

    @property
    def vision_layers(self) -> list[nn.Module]:
        """Up to the one whose states the projector takes, which is not the tower's last."""
        found, taken = super().vision_layers, self.model.config.vision_feature_layer
        at = max((n if n < 0 else n - len(found) - 1) for n in (taken if isinstance(taken, list | tuple) else [taken]))
        return found[: len(found) + 1 + at]

    def image_features(self, images: list[Image]) -> Features:
        return torch.stack(tuple(self.model.get_image_features(**self.image_inputs(images)).pooler_output))


class LlavaNextVLM(LlavaVLM):
    """The base view of the square first, then its tiles with a newline token after each row of patches.

    Default side: the vision tower's, so that the tiles say little that the base view does not; twice of it is what the
    family makes of most photographs, at two and a half times the tokens. The map of patches is the base view's.
    """

    def set_side(self, image_side: int) -> None:
        own = self.model.config.vision_config.image_size
        if image_side % own:
            raise unfit_side(image_side, f"Its tiles are {own} pixels wide.", f"a multiple of {own}")
        self.side = image_side or own
        self.n_pixels = self.side**2 + own**2
