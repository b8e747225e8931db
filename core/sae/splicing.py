"""What the model loses when an SAE's reconstruction takes the place of its residual stream.

The scale has two ends: the model as it is (1) and the layer's residuals replaced by their mean (0). Both edits act on
the same positions: all but BOS and padding, or those of one kind alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from core.run import Run
from core.sae.modules import SAE
from core.samples.images import open_image
from core.vlm.adapter import VLM
from core.vlm.batch import BOS, CAPTION, IMAGE, PAD, PROMPT, SPECIAL
from core.vlm.hooks import EditFn

# the chat's marks are stored as tokens of the prompt
CODES = {"image": (IMAGE,), "prompt": (PROMPT, SPECIAL), "caption": (CAPTION,)}

ENCODE_ROWS = 1024  # positions that are encoded at once


@dataclass(frozen=True)
class Passages:
    """A batch of prompt + caption rows (token ids), and each row's image tokens (n_rows, n_image_tokens, d_model).

    ``sample_ids`` and ``langs`` say which image and language each row is of, where that is asked for.
    """

    rows: list[list[int]]
    features: Tensor
    sample_ids: tuple[int, ...] = ()
    langs: tuple[str, ...] = ()


def splice(sae: SAE, kind: str = "all") -> EditFn:
    """The edit that puts the SAE's reconstruction at every position (but BOS and padding), or at those of a kind."""

    def edit(h: Tensor, kinds: Tensor) -> Tensor:
        chosen = _spliced_positions(kinds, kind)
        out = h.clone()
        out[chosen] = sae(h[chosen])
        return out

    return edit


class SpliceWithout:
    """The SAE's reconstruction with some features of each row of the batch at 0, at every position (but BOS and
    padding): the hook of published ablations. What the SAE does not explain is lost with it, whatever is turned off.
    """

    def __init__(self, sae: SAE, off: Sequence[Sequence[int]]):
        known = sorted({f for row in off for f in row})
        place = {f: i for i, f in enumerate(known)}
        self.sae, self.features = sae, torch.tensor(known, dtype=torch.int64, device=sae.W_dec.device)
        self.off = torch.zeros(len(off), len(known), device=sae.W_dec.device)
        for i, row in enumerate(off):
            self.off[i, [place[f] for f in row]] = 1.0

    def at_rows(self, rows: Tensor | slice) -> SpliceWithout:
        """The same for rows of the batch (n,), each as often as it is named."""
        found = copy.copy(self)
        found.off = self.off[rows.to(self.off.device) if isinstance(rows, Tensor) else rows]
        return found

    def of_rows(self, start: int, stop: int) -> SpliceWithout:
        """The same for a part of the batch's rows."""
        return self.at_rows(slice(start, stop))

    @torch.no_grad()
    def __call__(self, h: Tensor, kinds: Tensor) -> Tensor:
        if h.shape[0] != len(self.off):
            raise ValueError(f"There are features for {len(self.off)} rows; the batch has {h.shape[0]}.")
        chosen = _spliced_positions(kinds, "all")
        row = chosen.nonzero(as_tuple=True)[0].to(self.off.device)
        out, old, write = h.clone(), h[chosen], self.sae.W_dec[self.features].float()
        parts = []
        for mine, x in zip(row.split(ENCODE_ROWS), old.split(ENCODE_ROWS), strict=True):
            z = self.sae.encode_some(x, self.features).float() * self.off[mine]
            parts.append((self.sae(x).float() - z @ write).to(h.dtype))
        out[chosen] = torch.cat(parts) if parts else old
        return out


def mean_ablation(mean: Float[Tensor, " d_model"], kind: str = "all") -> EditFn:
    """The edit that puts mean (d_model) at the same positions."""

    def edit(h: Tensor, kinds: Tensor) -> Tensor:
        return torch.where(_spliced_positions(kinds, kind)[..., None], mean.to(h.device, h.dtype), h)

    return edit


def identity(h: Tensor, kinds: Tensor) -> Tensor:
    """The edit that changes nothing: the control that must recover the whole loss."""
    return h


def own_captions(run: Run, vlm: VLM, prompts: Mapping[str, str], n_images: int, batch_rows: int) -> Iterator[Passages]:
    """The model's captions, in all languages of prompts, of n_images test images evenly spread over the run."""
    captions = run.table("captions", ["sample_id", "lang", "token_ids"]).to_pylist()
    samples = run.table("samples", ["sample_id", "split"]).to_pylist()
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
            ids, langs = tuple(c["sample_id"] for c in part), tuple(c["lang"] for c in part)
            yield Passages(rows, features[[place[i] for i in ids]], ids, langs)


@dataclass(frozen=True)
class CaptionLosses:
    """Of each row: its image, language number of caption tokens; by variant, the sum of their losses in nats."""

    sample_id: np.ndarray
    lang: np.ndarray
    n_tokens: np.ndarray
    nats: dict[str, np.ndarray]


def row_losses(vlm: VLM, batches: Iterable[Passages], variants: Mapping[str, Mapping[int, EditFn]]) -> CaptionLosses:
    """Cross-entropy of every row's caption tokens under each variant of edits."""
    ids: list[int] = []
    langs: list[str] = []
    n_tokens: list[int] = []
    nats: dict[str, list[float]] = {name: [] for name in variants}
    edited = [layer for edits in variants.values() for layer in edits]
    for batch in batches:
        prefix = vlm.prefix(batch.rows, batch.features, min(edited), decoding=False) if edited else None
        for name, edits in variants.items():
            scores = vlm.caption_log_probs(batch.rows, batch.features, edits, prefix)
            nats[name] += [-float(row.double().sum()) for row in scores]
        ids, langs = ids + list(batch.sample_ids), langs + list(batch.langs)
        n_tokens += [len(row) for row in scores]
    found = {name: np.array(values) for name, values in nats.items()}
    return CaptionLosses(np.array(ids, np.int64), np.array(langs, dtype=object), np.array(n_tokens, np.int64), found)


def caption_losses(
    vlm: VLM, batches: Iterable[Passages], variants: Mapping[str, Mapping[int, EditFn]]
) -> dict[str, float]:
    """Cross-entropy (nats a token) of the rows' caption tokens under each variant of edits; NaN without any token."""
    found = row_losses(vlm, batches, variants)
    n = int(found.n_tokens.sum())
    return {name: float(nats.sum()) / n if n else float("nan") for name, nats in found.nats.items()}


def loss_recovered(ce_clean: float, ce_spliced: float, ce_ablated: float) -> float:
    """(ce_ablated - ce_spliced) / (ce_ablated - ce_clean): 1 as good as no edit, 0 as bad as the mean.

    NaN where mean ablation does no harm, so that there is nothing to recover.
    """
    lost = ce_ablated - ce_clean
    return (ce_ablated - ce_spliced) / lost if lost > 0 else float("nan")


def _spliced_positions(kinds: Tensor, kind: str) -> Tensor:
    if kind == "all":
        return (kinds != BOS) & (kinds != PAD)
    return torch.isin(kinds, torch.tensor(CODES[kind], dtype=kinds.dtype, device=kinds.device))
