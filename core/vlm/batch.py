"""What goes into a pass through the model and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.vlm.hooks import EditFn

KINDS = ("bos", "image", "prompt", "caption")
BOS, IMAGE, PROMPT, CAPTION = range(4)
SPECIAL, PAD = 4, 5
"""Codes in the ``kinds`` that hooks get: special tokens (turn and image borders) and padding are never edited."""


Features = Float[Tensor, "rows n_features width"]
"""By row what ``encode_images`` makes of its image: whatever the family's decoder takes, (rows, *feature_shape)."""
Hidden = Float[Tensor, "rows positions d_model"]
"""The residual stream, or what stands for it, at the positions of a padded batch."""
Ids = Int[Tensor, "rows positions"]
"""A number for each position of a padded batch: token ids, or places in the row."""


@dataclass(frozen=True)
class Captured:
    """One forward pass: residuals, and which positions are real."""

    resid: dict[int, Tensor]  # layer -> (batch, positions, d_model)
    mask: Tensor  # (batch, positions) bool, False on padding
    kinds: Tensor  # (batch, positions) int8 codes
    logits: Tensor | None  # (batch, positions, vocab)


@dataclass(frozen=True)
class Batch:
    """Left-padded rows, each tensor (batch, positions) but for embeds (batch, positions, d_model) and features."""

    embeds: Tensor
    mask: Tensor  # int64, 0 on padding
    position: Tensor
    kinds: Tensor
    is_image: Tensor  # image tokens of the prompt
    is_prompt: Tensor  # padding and prompt
    ids: Tensor
    features: Tensor  # of the rows' images, (batch, *feature_shape)


@dataclass
class Decoding:
    """State of a generation between two steps."""

    cache: Any
    mask: Tensor  # (batch, prompt + max_new_tokens), ones from the prompt on
    width: int  # columns of the mask in use
    position: Tensor  # (batch, 1) of the token to be fed next
    scores: Tensor  # (batch, vocab) float32 logits of the last pass, -inf at what is never written
    next_ids: Tensor  # (batch,) the best of them; who samples puts others in their place before the next step
    edits: Mapping[int, EditFn] = field(default_factory=dict)

    def drop_to(self, rows: Sequence[int]) -> bool:
        """Go on with these rows of the batch alone; False, and nothing is done, where an edit cannot be parted."""
        at = torch.tensor(list(rows), device=self.mask.device)
        if not all(getattr(fn, "can_part", True) for fn in self.edits.values()):
            return False
        self.cache.batch_select_indices(at)
        self.mask, self.position, self.next_ids = self.mask[at], self.position[at], self.next_ids[at]
        self.edits = {layer: fn.at_rows(at) if hasattr(fn, "at_rows") else fn for layer, fn in self.edits.items()}
        return True
