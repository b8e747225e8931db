"""How a number read off the next-token logits changes with the residuals before it: one pass forward, one back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from core.vlm.batch import PAD, Features
from core.vlm.halving import join_rows
from core.vlm.hooks import EditFn, LastLayerReached, capture, editing

if TYPE_CHECKING:
    from core.vlm.adapter import VLM
    from core.vlm.prefix import Prefix

INPUT = -1  # in the place of a layer: the image's features, as they enter the language model


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


def path_gradients(
    vlm: VLM,
    row: Sequence[int],
    features: Tensor,
    layer: int,
    start: Tensor,
    end: Tensor,
    read: Callable[[Tensor], Tensor],
    upper: int | None = None,
    n_steps: int = 8,
    at_once: int = 16,
    prefix: Prefix | None = None,
) -> Tensor:
    """Mean gradient (n_values, *state) of values on the straight way from ``start`` to ``end``, float32.

    The state is resid_post (positions, d_model) of ``layer`` of one row, or for INPUT the image's ``features``
    (n_features, width). ``read`` gives values (n, n_values) of resid_post (n, positions, d_model) of ``upper``, or of
    the logits (n, vocab) behind the row where that is None. Times end - start the mean gradient adds up to what the
    values change on the way, if they are smooth (integrated gradients: Sundararajan et al. 2017, arXiv 1703.01365,
    proposition 1); taken at ``n_steps`` points (Gauss and Legendre), ``at_once`` in a pass. ``prefix`` of the row
    begins at ``layer``.
    """
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    places = torch.tensor((nodes + 1) / 2, dtype=torch.float32, device=vlm.device)
    shares = torch.tensor(weights / 2, dtype=torch.float32, device=vlm.device)
    total: Tensor | None = None
    for place, share in zip(places.split(at_once), shares.split(at_once), strict=True):
        way = place.view(-1, *[1] * start.dim())
        states = (start.float() + way * (end.float() - start.float())).to(vlm.dtype).detach().clone().requires_grad_()
        with torch.enable_grad(), _frozen(vlm):
            values = read(_reached(vlm, row, features, layer, states, upper, prefix))
            wanted = (share[:, None] * values).sum(0)
            parts = [torch.autograd.grad(one, states, retain_graph=True)[0].float().sum(0) for one in wanted]
        found = torch.stack(parts).detach()
        total = found if total is None else total + found
    assert total is not None
    return total


def _reached(
    vlm: VLM,
    row: Sequence[int],
    features: Tensor,
    layer: int,
    states: Tensor,
    upper: int | None,
    prefix: Prefix | None,
) -> Tensor:
    """resid_post of ``upper``, or the logits behind the row, with the states (n, ...) in their place."""
    n = len(states)
    if layer == INPUT:
        batch, edits = vlm._lay_out([row] * n, states), {}
    else:
        with torch.no_grad():
            batch = vlm._lay_out([row] * n, features.clone()[None].expand(n, *features.shape))
        edits = {layer: lambda _h, _kinds: states}
    behind = prefix.take([0] * n) if prefix else None
    wanted = [] if upper is None else [upper]
    hidden = None
    with editing(vlm, edits), capture(vlm, wanted, then_stop=bool(wanted)) as found, suppress(LastLayerReached):
        hidden = vlm._whole_pass(batch, None, behind)
    if upper is not None:
        return found[upper]
    assert hidden is not None
    return vlm.head(hidden[:, -1])


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
