"""What the model loses when an SAE's reconstruction takes the place of its residual stream.

The scale has two ends: the model as it is (1) and the layer's residuals replaced by their mean (0). Both edits act on
the same positions: all but BOS and padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from core.sae.modules import SAE
from core.vlm.adapter import BOS, PAD, VLM
from core.vlm.hooks import EditFn


@dataclass(frozen=True)
class Passages:
    """A batch of prompt + caption rows (token ids), and each row's image tokens (n_rows, n_image_tokens, d_model)."""

    rows: list[list[int]]
    features: Tensor


def splice(sae: SAE) -> EditFn:
    """The edit that puts the SAE's reconstruction at every position but BOS and padding."""

    def edit(h: Tensor, kinds: Tensor) -> Tensor:
        chosen = _spliced_positions(kinds)
        out = h.clone()
        out[chosen] = sae(h[chosen])
        return out

    return edit


def mean_ablation(mean: Tensor) -> EditFn:
    """The edit that puts mean (d_model) at every position but BOS and padding."""

    def edit(h: Tensor, kinds: Tensor) -> Tensor:
        return torch.where(_spliced_positions(kinds)[..., None], mean.to(h.device, h.dtype), h)

    return edit


def identity(h: Tensor, kinds: Tensor) -> Tensor:
    """The edit that changes nothing: the control that must recover the whole loss."""
    return h


def caption_losses(
    vlm: VLM, batches: Iterable[Passages], variants: Mapping[str, Mapping[int, EditFn]]
) -> dict[str, float]:
    """Cross-entropy (nats a token) of the rows' caption tokens under each variant of edits; NaN without any token."""
    total, n_tokens = dict.fromkeys(variants, 0.0), 0
    for batch in batches:
        for name, edits in variants.items():
            scores = torch.cat(vlm.caption_log_probs(batch.rows, batch.features, edits))
            total[name] -= float(scores.double().sum())
        n_tokens += len(scores)
    return {name: value / n_tokens if n_tokens else float("nan") for name, value in total.items()}


def loss_recovered(ce_clean: float, ce_spliced: float, ce_ablated: float) -> float:
    """(ce_ablated - ce_spliced) / (ce_ablated - ce_clean): 1 as good as no edit, 0 as bad as the mean.

    NaN where mean ablation does no harm, so that there is nothing to recover.
    """
    lost = ce_ablated - ce_clean
    return (ce_ablated - ce_spliced) / lost if lost > 0 else float("nan")


def _spliced_positions(kinds: Tensor) -> Tensor:
    return (kinds != BOS) & (kinds != PAD)
