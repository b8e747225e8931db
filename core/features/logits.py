"""Words of a feature: those it pushes up or down when it fires, and those on which it fires."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from core.features.codes import Codes
from core.features.tokens import TokenIndex

CHUNK_ELEMENTS = 1 << 24  # features x vocabulary at once (64 MiB in float32)


class Unembedding(Protocol):
    """The part of core.vlm's VLM that is used here."""

    tokenizer: Any
    special_ids: frozenset[int]
    image_token_id: int

    def logits(self, resid: Tensor, capped: bool = True) -> Tensor: ...

    def token_strings(self, ids: Sequence[int]) -> list[str]: ...


@dataclass(frozen=True)
class FeatureWords:
    """Token ids and values (n_features, n) of each feature, strongest first."""

    up_ids: np.ndarray
    up: np.ndarray
    down_ids: np.ndarray
    down: np.ndarray


@torch.no_grad()
def feature_logits(
    vlm: Unembedding, directions: Tensor, n: int, rms: float, progress: Callable[[int, int], None] | None = None
) -> FeatureWords:
    """The n tokens whose logits a unit of activation raises and lowers most, read off directly at the feature's layer.

    ``directions`` (n_features, d_model) are decoder rows d. The final norm is held fixed at the scale ``rms`` of the
    layer's residuals on caption tokens, so that it is linear: logits = W_U (gain * d) / rms, what d adds to the logit
    lens (nostalgebraist 2020; frozen norm as in Elhage et al. 2021). It is had from the model's own final norm, which
    leaves the direction of d / rms(d) as it is up to the gain. Layers above are not passed through. The mean over the
    vocabulary is taken off, which changes no probability; special tokens and ids without a token are left out. A soft
    cap is left out. Assumes an RMS norm without bias, as all families of docs/models.md have.
    """
    readable = readable_ids(vlm)
    n = min(n, len(readable))
    chunk = max(1, CHUNK_ELEMENTS // len(vlm.tokenizer))
    parts = []
    for start in range(0, len(directions), chunk):
        d = directions[start : start + chunk].float()
        scale = d.square().mean(1, keepdim=True).sqrt().clamp(min=torch.finfo(torch.float32).tiny)
        logits = vlm.logits(d / scale, capped=False).float()
        logits = (logits - logits.mean(1, keepdim=True)) * (scale / rms).to(logits.device)
        logits = logits[:, torch.from_numpy(readable).to(logits.device)]
        up, down = logits.topk(n, dim=1), logits.topk(n, dim=1, largest=False)
        parts.append([t.cpu().numpy() for t in (up.indices, up.values, down.indices, down.values)])
        if progress:
            progress(min(start + chunk, len(directions)), len(directions))
    if not parts:
        return FeatureWords(*(np.zeros((0, n), t) for t in (np.int64, np.float32, np.int64, np.float32)))
    up_ids, up, down_ids, down = (np.concatenate(c) for c in zip(*parts, strict=True))
    return FeatureWords(readable[up_ids], up, readable[down_ids], down)


def readable_ids(vlm: Unembedding) -> np.ndarray:
    """Ids that stand for text: no special or image token, unused slot, padding of the vocabulary, part of a letter."""
    special = set(vlm.special_ids) | {vlm.image_token_id}
    pieces = {i: vlm.token_strings([i])[0] for i in range(len(vlm.tokenizer)) if i not in special}
    return np.array([i for i, piece in pieces.items() if _is_text(piece)], np.int64)


def _is_text(piece: str) -> bool:
    if not piece or piece.startswith("<unused"):
        return False
    # a byte token alone is a replacement mark or a control character; joiners (Cf) belong to Arabic words
    return not any(c == "\ufffd" or (unicodedata.category(c) == "Cc" and not c.isspace()) for c in piece)


def top_tokens(codes: Codes, tokens: TokenIndex, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The n tokens of prompts and captions on which each feature is strongest on average: (feature, token_id, mean).

    The mean is over all occurrences of the token, those on which the feature is silent included, so that one lucky
    occurrence does not outrank a word on which it always fires. Sorted by feature and falling mean; equal means by
    token id. Only tokens on which the feature fires at least once.
    """
    text = tokens.is_text
    occurrences = np.bincount(tokens.token_id[text], minlength=tokens.n_token_ids)
    hit = text[codes.row]
    key = codes.feature[hit] * tokens.n_token_ids + tokens.token_id[codes.row[hit]]
    pair, inverse = np.unique(key, return_inverse=True)
    feature, token = np.divmod(pair, max(1, tokens.n_token_ids))
    mean = np.bincount(inverse, codes.value[hit].astype(np.float64), len(pair)) / occurrences[token]
    order = np.lexsort((token, -mean, feature))
    feature, token, mean = feature[order], token[order], mean[order]
    start = np.flatnonzero(np.diff(feature, prepend=-1))
    rank = np.arange(len(feature)) - np.repeat(start, np.diff(start, append=len(feature)))
    return feature[rank < n], token[rank < n], mean[rank < n].astype(np.float32)
