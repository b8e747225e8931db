"""Training losses of the architectures that go through autograd: batchtopk, matryoshka, jumprelu, gated, standard.

All losses are in the trainer's units: tokens are scaled so that their mean squared distance from the mean is d_model,
and the reconstruction term is the mean squared error per dimension, so 1 is as good as the mean and 0 is perfect.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from core.config import TrainConfig
from core.sae.sparse_step import Parameters, Step

JUMPRELU_BANDWIDTH = 0.2  # width of the kernel that estimates the threshold's gradient, in the trainer's units


def autograd_step(
    p: Parameters, x: Tensor, config: TrainConfig, dead: Tensor, aux_coefficient: float, sparsity: float
) -> Step:
    """Loss and gradients for a batch x (n, d_model); sparsity (0 to 1) is how far the sparsity weight has warmed up."""
    names = list(p)
    leaves = {name: p[name].detach().requires_grad_() for name in names}
    loss, aux_loss, z = LOSSES[config.architecture](leaves, x, config, dead, aux_coefficient, sparsity)
    gradients = torch.autograd.grad(loss + aux_loss, [leaves[name] for name in names], allow_unused=True)
    filled = {
        name: torch.zeros_like(p[name]) if gradient is None else gradient
        for name, gradient in zip(names, gradients, strict=True)
    }
    return Step(loss.detach(), aux_loss.detach(), filled, (z > 0).any(0))


def pre_activations(p: Parameters, x: Tensor, bias: str = "b_enc") -> Tensor:
    """(x - b_dec) encoder^T + bias: (n, d_model) -> (n, d_sae)."""
    return torch.addmm(p[bias], x - p["b_dec"], p["encoder"].t())


def batch_topk(pre: Tensor, k: int) -> Tensor:
    """The n x k largest positive pre-activations of a batch, all else 0 (Bussmann et al. 2024, arXiv 2412.06410)."""
    positive = pre.relu()
    kept = positive.flatten().topk(k * len(pre), sorted=False)
    return torch.zeros_like(positive).flatten().scatter(0, kept.indices, kept.values).view_as(positive)


def default_widths(d_sae: int) -> tuple[int, ...]:
    """Nested widths d_sae/32, 3/32, 7/32, 15/32, 1, the proportions of Bussmann et al. 2025 (arXiv 2503.17547)."""
    return tuple(sorted({max(1, d_sae * part // 32) for part in (1, 3, 7, 15, 32)}))


def _batchtopk(
    p: Parameters, x: Tensor, config: TrainConfig, dead: Tensor, aux_coefficient: float, sparsity: float
) -> tuple[Tensor, Tensor, Tensor]:
    pre = pre_activations(p, x)
    z = batch_topk(pre, config.k)
    error = x - (z @ p["decoder"] + p["b_dec"])
    return error.square().mean(), _auxk(p, pre, error, dead, config.auxk, aux_coefficient), z


def _matryoshka(
    p: Parameters, x: Tensor, config: TrainConfig, dead: Tensor, aux_coefficient: float, sparsity: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum over nested prefixes of the dictionary of each prefix's own reconstruction error (2503.17547)."""
    pre = pre_activations(p, x)
    z = batch_topk(pre, config.k)
    widths = config.matryoshka_widths or default_widths(config.d_sae)
    if widths[-1] != config.d_sae:
        widths = (*widths, config.d_sae)
    error, loss, start = x - p["b_dec"], x.new_zeros(()), 0
    for width in widths:
        error = error - z[:, start:width] @ p["decoder"][start:width]
        loss, start = loss + error.square().mean(), width
    return loss, _auxk(p, pre, error, dead, config.auxk, aux_coefficient), z


def _auxk(p: Parameters, pre: Tensor, error: Tensor, dead: Tensor, auxk: int, coefficient: float) -> Tensor:
    """AuxK loss of sparse_step, dense; the gradient passes the ReLU straight through here too."""
    n_dead = int(dead.sum())
    if not (auxk and n_dead):
        return pre.new_zeros(())
    kept = pre.masked_fill(~dead, -torch.inf).topk(min(auxk, n_dead), dim=-1, sorted=False)
    values = kept.values + (kept.values.relu() - kept.values).detach()
    z = torch.zeros_like(pre).scatter(-1, kept.indices, values)
    return coefficient * (error.detach() - z @ p["decoder"]).square().mean()


class _Above(torch.autograd.Function):
    """pre, or 1, where pre > threshold, else 0; the threshold's gradient is estimated with a rectangle kernel.

    Rajamanoharan et al. 2024, arXiv 2407.14435.
    """

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, scale_by_threshold: bool) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.scale_by_threshold = scale_by_threshold
        return pre * (pre > threshold) if scale_by_threshold else (pre > threshold).to(pre)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:  # type: ignore[override]
        pre, threshold = ctx.saved_tensors
        kernel = ((pre - threshold).abs() < JUMPRELU_BANDWIDTH / 2).to(pre) / JUMPRELU_BANDWIDTH
        if ctx.scale_by_threshold:
            return gradient * (pre > threshold), -(threshold * kernel * gradient).sum(0), None
        return None, -(kernel * gradient).sum(0), None


def _jumprelu(
    p: Parameters, x: Tensor, config: TrainConfig, dead: Tensor, aux_coefficient: float, sparsity: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Reconstruction plus l1 * (L0 / k - 1)^2, which aims at k active features a token (2407.14435)."""
    pre = pre_activations(p, x).relu()
    z = _Above.apply(pre, p["threshold"], True)
    error = x - (z @ p["decoder"] + p["b_dec"])
    l0 = _Above.apply(pre, p["threshold"], False).sum(-1).mean()
    return error.square().mean() + sparsity * config.l1 * (l0 / config.k - 1).square(), x.new_zeros(()), z


def _gated(
    p: Parameters, x: Tensor, config: TrainConfig, dead: Tensor, aux_coefficient: float, sparsity: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Reconstruction, l1 on the gates, and the gates' own reconstruction by a frozen decoder (2404.16014)."""
    gate_pre = pre_activations(p, x, "b_gate")
    gate = gate_pre.relu()
    magnitude = ((gate_pre - p["b_gate"]) * p["r_mag"].exp() + p["b_mag"]).relu()
    z = magnitude * (gate_pre > 0)
    error = x - (z @ p["decoder"] + p["b_dec"])
    gate_error = x - (gate @ p["decoder"].detach() + p["b_dec"].detach())
    l1 = sparsity * config.l1 * gate.sum(-1).mean() / x.shape[1]
    return error.square().mean() + gate_error.square().mean() + l1, x.new_zeros(()), z


def _standard(
    p: Parameters, x: Tensor, config: TrainConfig, dead: Tensor, aux_coefficient: float, sparsity: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Reconstruction plus l1 * sum of activations (Bricken et al. 2023), with decoder rows of norm 1."""
    z = pre_activations(p, x).relu()
    error = x - (z @ p["decoder"] + p["b_dec"])
    return error.square().mean() + sparsity * config.l1 * z.sum(-1).mean() / x.shape[1], x.new_zeros(()), z


LOSSES = {
    "batchtopk": _batchtopk,
    "matryoshka": _matryoshka,
    "jumprelu": _jumprelu,
    "gated": _gated,
    "standard": _standard,
}
