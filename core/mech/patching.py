"""Attribution patching of features, and the ablations that it stands for: one gradient against many passes.

Predicted: what the log-odds of the next gendered word would lose without a feature, to first order, -sum z (W_dec . g)
(Nanda 2023; Syed et al. 2023, arXiv 2310.10348), with the gradient g at the residual as it is, or its mean on the way
to the residual without any of the layer's features (integrated gradients: Sundararajan et al. 2017, arXiv 1703.01365;
Marks et al. 2024, arXiv 2403.19647, eq. 4). Direct: the same with the gradient of last norm and unembedding alone,
at the last position: what a feature's own words say. True: the feature ablated at every image, prompt and
caption token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.stats import rankdata
from torch import Tensor

from core.intervals import percentile_interval, resampled_counts
from core.steering.apply import edit_hooks
from core.steering.edits import Edit
from core.vlm.batch import CAPTION, IMAGE, PROMPT
from core.vlm.gradients import Gradients, Score, resid_gradients

if TYPE_CHECKING:
    from core.sae.modules import SAE
    from core.vlm.adapter import VLM

METHODS = ("gradient", "integrated", "direct")
EDITED = (IMAGE, PROMPT, CAPTION)
Predicted = dict[str, csr_array]
CHUNK_ELEMENTS = 1 << 24


class _Fired(NamedTuple):
    """Where which features fire: row of the batch, place among the edited positions, feature, activation."""

    row: Tensor
    place: Tensor
    feature: Tensor
    value: Tensor


def predict(
    vlm: VLM,
    saes: Mapping[int, SAE],
    rows: Sequence[Sequence[int]],
    features: Tensor,
    score: Score,
    n_steps: int = 0,
    normed: Callable[[Tensor], Tensor] | None = None,
) -> dict[int, Predicted]:
    """By layer and method, the predicted change of ``score`` by ablating each feature, (n_rows, d_sae) sparse.

    "fires" holds each feature's summed activation. ``n_steps`` of integrated gradients, 0 for none; "direct" is there
    where ``normed``, residuals (n, d_model) of the last layer to their logits, is given.
    """
    base = resid_gradients(vlm, rows, features, sorted({*saes, vlm.n_layers - 1}), score)
    member = _edited(base.kinds)
    found = {}
    for layer, sae in saes.items():
        fired = _fired(sae, base, layer, member)
        shape = (len(rows), sae.cfg.d_sae)
        out = {"fires": _sum(fired, fired.value, shape)}
        out["gradient"] = _pushed(sae, fired, base.gradient[layer][member].float(), shape)
        if n_steps:
            out["integrated"] = _integrated(vlm, sae, layer, rows, features, score, fired, member, n_steps, shape)
        if normed is not None:
            out["direct"] = _direct(sae, base, layer, fired, member, score, normed, shape)
        found[layer] = out
    return found


def _edited(kinds: Tensor) -> Tensor:
    return torch.isin(kinds, torch.tensor(EDITED, device=kinds.device))


def _fired(sae: SAE, base: Gradients, layer: int, member: Tensor) -> _Fired:
    code = sae.sparse_code(base.resid[layer][member].float())
    return _Fired(member.nonzero()[:, 0][code.row], code.row, code.feature, code.value.detach())


def _pushed(sae: SAE, fired: _Fired, gradient: Tensor, shape: tuple[int, int]) -> csr_array:
    """-sum over positions of z (W_dec . gradient); ``gradient`` (n_positions, d_model) of the edited positions."""
    pushes, step = [fired.value.new_zeros(0)], max(1, CHUNK_ELEMENTS // gradient.shape[1])
    for start in range(0, len(fired.row), step):
        part = slice(start, start + step)
        pushes.append((gradient[fired.place[part]] * sae.W_dec.detach()[fired.feature[part]]).sum(1))
    return _sum(fired, -fired.value * torch.cat(pushes), shape)


def _sum(fired: _Fired, value: Tensor, shape: tuple[int, int]) -> csr_array:
    places = fired.row.cpu().numpy(), fired.feature.cpu().numpy()
    return coo_array((value.double().cpu().numpy(), places), shape=shape).tocsr()


def _integrated(
    vlm: VLM,
    sae: SAE,
    layer: int,
    rows: Sequence[Sequence[int]],
    features: Tensor,
    score: Score,
    fired: _Fired,
    member: Tensor,
    n_steps: int,
    shape: tuple[int, int],
) -> csr_array:
    said = torch.zeros(int(member.sum()), sae.W_dec.shape[1], device=fired.value.device)
    said.index_add_(0, fired.place, fired.value[:, None] * sae.W_dec.detach()[fired.feature])
    total: Any = 0
    for step in range(n_steps):
        left_out = 1 - (step + 0.5) / n_steps  # midpoints

        def shift(h: Tensor, _kinds: Tensor, left_out: float = left_out) -> Tensor:
            moved = h.clone()
            moved[member] -= (left_out * said).to(h.dtype)
            return moved

        there = resid_gradients(vlm, rows, features, [layer], score, shift)
        part = _pushed(sae, fired, there.gradient[layer][member].float(), shape)
        total = part + total if step else part
    return csr_array(total / n_steps)


def _direct(
    sae: SAE,
    base: Gradients,
    layer: int,
    fired: _Fired,
    member: Tensor,
    score: Score,
    normed: Callable[[Tensor], Tensor],
    shape: tuple[int, int],
) -> csr_array:
    last = base.resid[max(base.resid)][:, -1].detach().float().requires_grad_()
    with torch.enable_grad():
        gradient = torch.autograd.grad(score(normed(last)).sum(), last)[0]
    row, column = member.nonzero(as_tuple=True)
    at_end = (column == member.shape[1] - 1)[fired.place]
    chosen = _Fired(*(x[at_end] for x in fired))
    return _pushed(sae, chosen, gradient[row], shape)


@torch.no_grad()
def ablate(
    vlm: VLM,
    saes: Mapping[int, SAE],
    sae_ids: Mapping[int, str],
    rows: Sequence[Sequence[int]],
    features: Tensor,
    score: Score,
    changes: Sequence[tuple[int, Sequence[tuple[int, int]]]],
    batch: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float64]:
    """The score (n_changes,) of row i without the features [(layer, feature), ..], for each change (i, features).

    Rows of one batch have each their own features. The SAE's error is kept, and no cap is set.
    """
    last, scores = vlm.n_layers - 1, []
    order = sorted(range(len(changes)), key=lambda i: len(rows[changes[i][0]]))  # rows of like length together
    edited = [n for _, which in changes for n, _ in which]
    prefix = vlm.prefix(rows, features, min(edited), decoding=False) if edited else None
    for start in range(0, len(order), batch):
        now = [changes[i] for i in order[start : start + batch]]
        edits = [[Edit(n, f, sae_ids[n], "ablate") for n, f in which] for _, which in now]
        at = [row for row, _ in now]
        hooks = edit_hooks(edits, saes, {}, cap=math.inf)
        behind = prefix.take(at) if prefix else None
        resid = vlm.forward([rows[i] for i in at], features[at], [last], edits=hooks, prefix=behind).resid[last]
        scores.append(score[at](vlm.logits(resid[:, -1])).double().cpu().numpy())
        if progress is not None:
            progress(start + len(now), len(order))
    found = np.zeros(len(order))
    found[order] = np.concatenate(scores) if scores else 0.0
    return found


def agreement(
    predicted: NDArray[np.float64], true: NDArray[np.float64], n_draws: int, seed: list[int], min_features: int = 8
) -> dict[str, Any]:
    """How well predicted effects (n_images, n_features) agree with true ones, over the features' means.

    r with the interval over images and features drawn again together, spearman, slope of true on predicted; control:
    the central 95 % of r where predictions are dealt out anew over the features. NaN with the reason in ``why``.
    """
    names = ("r", "low", "high", "spearman", "slope", "control_low", "control_high")
    row: dict[str, Any] = {**dict.fromkeys(names, float("nan")), "n": predicted.shape[1], "n_images": len(predicted)}
    x, y = predicted.mean(0), true.mean(0)
    if predicted.shape[1] < min_features:
        return {**row, "why": f"{predicted.shape[1]} features; at least {min_features} are needed"}
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return {**row, "why": "one side does not vary"}
    n, rng = len(predicted), np.random.default_rng([*seed, 1])
    counts = resampled_counts(n, n_draws, seed)
    means = counts @ predicted / n, counts @ true / n
    drawn = rng.integers(0, len(x), (n_draws, len(x)))
    at = np.arange(n_draws)[:, None]
    low, high = percentile_interval(_correlations(means[0][at, drawn], means[1][at, drawn]))
    dealt = np.stack([rng.permutation(x) for _ in range(n_draws)])
    control = percentile_interval(_correlations(dealt, np.broadcast_to(y, dealt.shape)))
    r, rho = (float(_correlations(a[None], b[None])[0]) for a, b in ((x, y), (rankdata(x), rankdata(y))))
    slope = float(np.polyfit(x, y, 1)[0])
    return {
        **row,
        "r": r,
        "low": float(low),
        "high": float(high),
        "spearman": rho,
        "slope": slope,
        "control_low": float(control[0]),
        "control_high": float(control[1]),
        "why": "",
    }


def _correlations(x: NDArray, y: NDArray) -> NDArray[np.float64]:
    """Pearson's r of each row pair; NaN where one does not vary."""
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    size = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.divide((x * y).sum(1), size, out=np.full(len(x), np.nan), where=size > 1e-30)
