"""How a number read off the next-token logits changes with the residuals before it: one pass forward, one back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from core.vlm.batch import PAD, Features
from core.vlm.halving import join_rows
from core.vlm.hooks import EditFn, capture, editing

if TYPE_CHECKING:
    from core.vlm.adapter import VLM


class Score(Protocol):
    """A number read off each row's logits (n_rows, vocab), as (n_rows,); ``[rows]`` is that of some of the rows."""

    def __call__(self, logits: Tensor) -> Tensor: ...

    def __getitem__(self, rows: slice | list[int]) -> Score: ...


@dataclass(frozen=True)
class Gradients:
    """Residuals and the gradients of each row's score with respect to them, by layer."""

    resid: dict[int, Tensor]  # (n_rows, positions, d_model)
    gradient: dict[int, Tensor]  # the same shape; 0 where nothing depends on the position
    kinds: Tensor  # (n_rows, positions) int8 codes of core.vlm.batch


def resid_gradients(
    vlm: VLM,
    rows: Sequence[Sequence[int]],
    features: Features,
    layers: Sequence[int],
    score: Score,
    shift: EditFn | None = None,
) -> Gradients:
    """Gradient of ``score`` of the logits after each row's last token, by resid_post of ``layers`` at all positions.

    ``features`` as in ``VLM.forward``. Nothing below the lowest
    layer is differentiated, and no weight. ``shift`` changes the residual of the lowest layer before the gradient is
    taken there; it knows the whole batch, which is then not run in parts. Raises ValueError for unknown layers.
    """
    if shift is not None:
        return _gradients(vlm, rows, features, layers, score, shift)

    def work(start: int, stop: int) -> Gradients:
        return _gradients(vlm, rows[start:stop], features[start:stop], layers, score[start:stop], None)

    return _joined(vlm.halving("gradients", work, len(rows)))


def _gradients(
    vlm: VLM,
    rows: Sequence[Sequence[int]],
    features: Features,
    layers: Sequence[int],
    score: Score,
    shift: EditFn | None,
) -> Gradients:
    wanted = sorted(set(layers))

    def start(h: Tensor, kinds: Tensor) -> Tensor:
        """The residual as the place where differentiation begins."""
        return (h if shift is None else shift(h.detach(), kinds)).detach().requires_grad_()

    with torch.no_grad():
        batch = vlm._lay_out(rows, features.clone())  # features made in inference mode cannot be differentiated through
    with _frozen(vlm), torch.enable_grad(), editing(vlm, {wanted[0]: start}), capture(vlm, wanted) as resid:
        hidden = vlm._whole_pass(batch, None)
        scores = score(vlm.head(hidden[:, -1]))
        found = torch.autograd.grad(scores.sum(), [resid[layer] for layer in wanted])
    return Gradients({k: v.detach() for k, v in resid.items()}, dict(zip(wanted, found, strict=True)), batch.kinds)


def _joined(parts: list[Gradients]) -> Gradients:
    """Parts of a batch as one, padded on the left to the widest."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.kinds.shape[1] for part in parts)
    resid, gradient = (
        {layer: join_rows([of[layer] for of in by_part], width) for layer in by_part[0]}
        for by_part in ([part.resid for part in parts], [part.gradient for part in parts])
    )
    return Gradients(resid, gradient, join_rows([part.kinds for part in parts], width, PAD))


@contextmanager
def _frozen(vlm: VLM) -> Iterator[None]:
    """No weight is differentiated, which would hold every layer's activations."""
    trained = [p for p in vlm.model.parameters() if p.requires_grad]
    for p in trained:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)
