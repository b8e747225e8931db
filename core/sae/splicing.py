"""What the model loses when an SAE's reconstruction takes the place of its residual stream.

The scale has two ends: the model as it is (1) and the layer's residuals replaced by their mean (0). Both edits act on
the same positions: all but BOS and padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from core.runs import Run
from core.sae.modules import SAE
from core.samples.gather import open_image
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


def own_captions(run: Run, vlm: VLM, prompts: Mapping[str, str], n_images: int, batch_rows: int) -> Iterator[Passages]:
    """The model's captions, in all languages of prompts, of n_images test images evenly spread over the run."""
    captions = pq.read_table(run.path("captions.parquet"), columns=["sample_id", "lang", "token_ids"]).to_pylist()
    samples = pq.read_table(run.path("samples.parquet"), columns=["sample_id", "split"]).to_pylist()
    test = np.array(sorted(s["sample_id"] for s in samples if s["split"] == "test"), dtype=np.int64)
    chosen = test[np.unique(np.linspace(0, len(test) - 1, min(len(test), n_images)).astype(np.int64))].tolist()
    opening = {lang: vlm.prompt_ids(prompt) for lang, prompt in prompts.items()}
    n_together = max(1, batch_rows // len(prompts))
    for start in range(0, len(chosen), n_together):
        place = {sample_id: i for i, sample_id in enumerate(chosen[start : start + n_together])}
        part = [c for c in captions if c["sample_id"] in place and c["lang"] in opening and c["token_ids"]]
        if part:
            features = vlm.encode_images([open_image(run, sample_id) for sample_id in place])
            rows = [opening[c["lang"]] + c["token_ids"] for c in part]
            yield Passages(rows, features[[place[c["sample_id"]] for c in part]])


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
