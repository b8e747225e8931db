"""A batch that the device's memory cannot hold is run in halves, and what fits is remembered.

Parts of a batch are padded to their own width, so that results may differ from those of the whole batch in the last
bits, as they do between devices. Every halving is a line in the stage's log.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor

from core.errors import UserError
from core.vlm.batch import PAD, Captured

if TYPE_CHECKING:
    from core.vlm.hooks import EditFn

R = TypeVar("R")
LOG = logging.getLogger("captionscope.model")


class Halving:
    """Runs work on rows of a batch; the largest number that fitted is kept for each kind of work."""

    def __init__(self) -> None:
        self._most: dict[str, int] = {}

    def __call__(self, what: str, work: Callable[[int, int], R], n_rows: int) -> list[R]:
        """Results of ``work(start, stop)`` over consecutive parts of the rows: one part, where memory suffices.

        ``what`` names the work in the log. Raises UserError where not even one row fits.
        """
        found: list[R] = []
        start, step = 0, min(n_rows, self._most.get(what, n_rows))
        while start < n_rows or not found:
            stop = min(n_rows, start + step)
            why = ""
            try:
                found.append(work(start, stop))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                why = str(error).strip().splitlines()[0]
            if not why:
                start = stop
                if start >= n_rows:
                    break
                continue
            # Here, not in the handler: the error's traceback would hold the tensors of the failed pass.
            free()
            if stop - start <= 1:
                raise _too_small(what, why)
            step = self._most[what] = (stop - start + 1) // 2
            LOG.warning(
                "The device's memory does not hold %d rows of %s; going on with %d. (%s)", stop - start, what, step, why
            )
        return found


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device, or this machine, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error)
    return any(
        words in text
        for words in (
            "MPS backend out of memory",
            "CUBLAS_STATUS_ALLOC_FAILED",
            "DefaultCPUAllocator: can't allocate memory",
        )
    )


def free() -> None:
    """Give memory that no tensor needs any more back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def edits_of(edits: Mapping[int, EditFn], start: int, stop: int, n_rows: int) -> Mapping[int, EditFn]:
    """The edits for a part of ``n_rows`` rows: a function that knows rows of the batch says so by ``of_rows``."""
    if stop - start == n_rows:
        return edits
    return {layer: fn.of_rows(start, stop) if hasattr(fn, "of_rows") else fn for layer, fn in edits.items()}


def join_captured(parts: list[Captured]) -> Captured:
    """Parts of a batch as one, padded on the left to the widest."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.mask.shape[1] for part in parts)
    resid = {layer: join_rows([part.resid[layer] for part in parts], width) for layer in parts[0].resid}
    logits = None if parts[0].logits is None else join_rows([p.logits for p in parts if p.logits is not None], width)
    return Captured(
        resid, join_rows([p.mask for p in parts], width), join_rows([p.kinds for p in parts], width, PAD), logits
    )


def join_rows(parts: list[Tensor], width: int, fill: int = 0) -> Shaped[Tensor, "rows {width} ..."]:
    """Rows of several parts (n, positions, ..) as one tensor, padded on the left to ``width`` with ``fill``."""
    joined = parts[0].new_full((sum(len(p) for p in parts), width, *parts[0].shape[2:]), fill)
    first = 0
    for part in parts:
        joined[first : first + len(part), width - part.shape[1] :] = part
        first += len(part)
    return joined


def _too_small(what: str, why: str) -> UserError:
    return UserError(
        f"The device's memory does not suffice for one row of {what}.",
        why,
        "Set model.quantize to 8bit or 4bit, model.dtype to bfloat16, or use a smaller model or a larger device.",
    )
