"""Several captions behind one image and prompt, in one row.

The captions stand side by side and do not see each other, each counting its positions on from the prompt. The losses
are those of one row a caption, at about half the cost, since the prompt and its image are most of a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import Gemma3ForConditionalGeneration

Row = tuple[list[int], list[list[int]]]  # ids of one prompt, ids of each caption


@dataclass(frozen=True)
class Packed:
    """Rows of one prompt and several captions as tensors; the last four list every prediction."""

    ids: torch.Tensor  # (n_rows, width)
    position: torch.Tensor  # (n_rows, width): each caption goes on counting from the prompt
    is_image: torch.Tensor  # (n_rows, width)
    allowed: torch.Tensor  # (n_rows, width, width): may query see key
    row: torch.Tensor  # (n_targets,)
    query: torch.Tensor  # (n_targets,): the position that predicts
    target: torch.Tensor  # (n_targets,): the token that it predicts
    caption: torch.Tensor  # (n_targets,): which of the row's captions


def pack(rows: list[Row], image_token_id: int) -> Packed:
    """Lay rows of (prompt ids, captions' ids) out side by side; the captions see the prompt, not each other."""
    width = max(len(p) + sum(map(len, captions)) for p, captions in rows)
    ids, position = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
    segment = torch.full_like(ids, -1)  # -1 padding, 0 prompt, 1.. captions
    targets = []
    for i, (prompt, captions) in enumerate(rows):
        ids[i, : len(prompt)] = torch.tensor(prompt)
        position[i, : len(prompt)] = torch.arange(len(prompt))
        segment[i, : len(prompt)] = 0
        start = len(prompt)
        for k, caption in enumerate(captions, 1):
            end = start + len(caption)
            ids[i, start:end] = torch.tensor(caption)
            position[i, start:end] = torch.arange(len(caption)) + len(prompt)
            segment[i, start:end] = k
            queries = [len(prompt) - 1, *range(start, end - 1)]
            targets += [(i, q, t, k - 1) for q, t in zip(queries, caption, strict=True)]
            start = end
    is_image = ids == image_token_id
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    same = segment[:, :, None] == segment[:, None, :]
    to_prompt = (segment == 0)[:, None, :] & (segment >= 0)[:, :, None]
    allowed = causal & (same | to_prompt) | (is_image[:, :, None] & is_image[:, None, :])
    row, query, target, owner = torch.tensor(targets).T
    return Packed(ids, position, is_image, allowed, row, query, target, owner)


def token_losses(model: Gemma3ForConditionalGeneration, packed: Packed, features: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of every predicted token, (n_targets,), from image tokens (n_rows, n_image_tokens, d_model)."""
    embeds = model.get_input_embeddings()(packed.ids)
    embeds = embeds.masked_scatter(packed.is_image[..., None].expand_as(embeds), features.to(embeds.dtype))
    blocked = torch.finfo(embeds.dtype).min
    mask = torch.zeros(packed.allowed.shape, dtype=embeds.dtype).masked_fill_(~packed.allowed, blocked)[:, None]
    hidden = model.model(
        inputs_embeds=embeds,
        position_ids=packed.position,
        use_cache=False,
        attention_mask={"full_attention": mask, "sliding_attention": mask},
    ).last_hidden_state
    logits = model.lm_head(hidden[packed.row, packed.query]).float()
    return F.cross_entropy(logits, packed.target, reduction="none")
