"""Other ways that rows of a decoding might go on, tried without touching the decoding itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from core.vlm.batch import Decoding
from core.vlm.prefix import selected

if TYPE_CHECKING:
    from core.vlm.adapter import VLM


@torch.inference_mode()
def branch(vlm: VLM, state: Decoding, rows: Int[Tensor, " n"], tokens: Int[Tensor, " n"]) -> Decoding:
    """The decoding after each of ``tokens`` in its row of ``state``, a row of the batch each; edits act as in the row.

    ``state`` can go on as if nothing had been tried: keys and values are copied, and edits are not recorded. Memory:
    n rows of the cache.
    """
    rows = rows.to(state.mask.device)
    room = state.mask.new_ones(len(rows), 1)  # a branch may be longer than the caption is allowed to be
    found = Decoding(
        selected(state.cache, rows),
        torch.cat([state.mask[rows], room], 1),
        state.width,
        state.position[rows],
        state.scores[:0],
        tokens.to(state.mask.device),
        {n: fn.at_rows(rows) if hasattr(fn, "at_rows") else fn for n, fn in state.edits.items()},
    )
    vlm._step(found)
    return found
