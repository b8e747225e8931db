"""Passes that begin behind a layer: what lies at or below it is computed once for all that is changed there or above.

An edit of resid_post at layer L changes no state below it. So the rows are run up to L once, without any edit:

1. ``VLM.prefix`` keeps resid_post of L at all positions, and the keys and values of layers 0 to L.
2. In a later pass over the same rows, layers 0 to L hand on what they are given, and L gives what was kept; hooks on L,
   edits among them, see its resid_post as ever. Layers above L work as in any pass.
3. The kept keys and values are put into the cache, and decoding goes on from there as after a whole pass.

Rows may be taken several times and in any order (``Prefix.take``): many edits of one row share its states.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.cache_utils import DynamicLayer

if TYPE_CHECKING:
    from core.vlm.adapter import VLM


@dataclass(frozen=True)
class Prefix:
    """States of rows at layer ``layer`` and below, without edits; ``cache`` is None where nothing is written behind."""

    layer: int
    resid: Float[Tensor, "rows positions d_model"]
    cache: Any
    in_tuple: bool  # whether the family's layers give their residual as the first of several

    @property
    def width(self) -> int:
        """Positions of the rows, padding among them."""
        return self.resid.shape[1]

    @property
    def n_bytes(self) -> int:
        layers = [] if self.cache is None else [one for one in self.cache.layers if one.is_initialized]
        return self.resid.nbytes + sum(one.keys.nbytes + one.values.nbytes for one in layers)

    def take(self, rows: Sequence[int] | Tensor) -> Prefix:
        """The same of these rows (n,), each as often as it is named, in tensors of its own."""
        at = torch.as_tensor(rows, device=self.resid.device)
        cache = None if self.cache is None else selected(self.cache, at)
        return Prefix(self.layer, self.resid[at], cache, self.in_tuple)

    def fill(self, cache: Any) -> None:
        """Put the kept keys and values into the cache of a pass that has begun behind them."""
        cache.layers[: self.layer + 1] = _copies(self.cache.layers[: self.layer + 1])


def joined(parts: Sequence[Prefix]) -> Prefix:
    """Parts of the rows as one; all are equally wide."""
    if len(parts) == 1:
        return parts[0]
    cache = None
    if parts[0].cache is not None:
        cache = copy.copy(parts[0].cache)
        cache.layers = _copies(cache.layers)
        for i, one in enumerate(cache.layers[: parts[0].layer + 1]):
            same = [part.cache.layers[i] for part in parts]
            one.keys, one.values = (torch.cat([getattr(layer, name) for layer in same]) for name in ("keys", "values"))
    return Prefix(parts[0].layer, torch.cat([part.resid for part in parts]), cache, parts[0].in_tuple)


def selected(cache: Any, rows: Tensor) -> Any:
    """A cache of these rows, in tensors of its own."""
    found = copy.copy(cache)
    found.layers = _copies(cache.layers)
    found.batch_select_indices(rows)
    return found


def _copies(layers: Sequence[Any]) -> list[Any]:
    # A dynamic layer replaces its tensors when it grows; one of another kind may write into them.
    return [copy.copy(one) if isinstance(one, DynamicLayer) else copy.deepcopy(one) for one in layers]


@contextmanager
def begun_behind(vlm: VLM, prefix: Prefix) -> Iterator[None]:
    """In passes inside the block, layers below the prefix's do nothing but hand on, and its own gives what was kept."""

    def give(_h: Tensor, *_: Any, **__: Any) -> Any:
        return (prefix.resid,) if prefix.in_tuple else prefix.resid

    def hand_on(h: Tensor, *_: Any, **__: Any) -> Any:
        return (h,) if prefix.in_tuple else h

    skipped: list[nn.Module] = list(vlm.decoder_layers[: prefix.layer + 1])
    for module in skipped:
        module.forward = give if module is skipped[-1] else hand_on
    try:
        yield
    finally:
        for module in skipped:
            del module.forward  # the class's own is found again
