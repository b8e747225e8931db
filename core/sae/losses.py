"""Training losses of every architecture: TopK by hand with its gradients, the others through autograd.

All losses are in the trainer's units: tokens are scaled so that their mean squared distance from the mean is d_model,
and the reconstruction term is the mean squared error per dimension, so 1 is as good as the mean and 0 is perfect.

A step of TopK is one dense matrix product, all else is on a token's k active features. Autograd through a dense code
costs four products of batch x d_model x d_sae and holds two tables of batch x d_sae. A token has k active features, so
the decoder's output and all gradients are sums over batch x k pairs, which embedding_bag does without a dense table.
The gradients equal autograd's (tests/sae/test_sae_gradients.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from core.config import TrainConfig

Parameters = dict[str, Tensor]  # encoder (d_sae, d_model), b_enc (d_sae), decoder (d_sae, d_model), b_dec (d_model)

KERNEL_DEVICES = ("cpu", "cuda")  # where embedding_bag has a backward kernel for its weights
JUMPRELU_BANDWIDTH = 0.2  # width of the kernel that estimates the threshold's gradient, in the trainer's units


class Step(NamedTuple):
    """Outcome of one batch: losses (scalars), gradients by parameter name, and which features fired (d_sae, bool)."""

    loss: Tensor
    aux_loss: Tensor
    gradients: Parameters
    fired: Tensor


def topk_step(p: Parameters, x: Tensor, k: int, dead: Tensor, auxk: int, aux_coefficient: float) -> Step:
    """Loss and gradients for a batch x (n, d_model); dead (d_sae, bool) says which features AuxK may use.

    Loss = mean over tokens of |x - x_hat|^2 / d_model + aux_coefficient * the same for the residual error as told by
    the auxk strongest dead features (Gao et al. 2024, arXiv 2406.04093, appendix A.2). Per batch:

    1. pre = (x - b_dec) encoder^T + b_enc, the one dense product;
    2. the k largest of each row, negative ones set to 0: n x k pairs (token, feature) with a value;
    3. x_hat = sum of value * decoder[feature] + b_dec;
    4. pair_gradients() sends dL/dx_hat = 2 (x_hat - x) / (n d_model) back along the pairs;
    5. where features are dead: steps 2 to 4 once more among the dead alone, with x - x_hat as the target;
    6. b_dec is in x_hat and, negated, in every pre-activation: dL/db_dec = sum dL/dx_hat - dL/db_enc encoder.
    """
    centred = x - p["b_dec"]
    pre = torch.addmm(p["b_enc"], centred, p["encoder"].t())
    values, features = pre.topk(k, dim=-1, sorted=False)
    values = values.relu_()
    error = embedding_bag(features, p["decoder"], per_sample_weights=values, mode="sum").sub_(centred)
    loss = error.square().mean()
    out_gradient = error * (2 / error.numel())
    gradients = pair_gradients(p, centred, out_gradient, features, values, values > 0)
    gradients["b_dec"] = out_gradient.sum(0)

    aux_loss = torch.zeros_like(loss)
    dead_features = dead.nonzero().squeeze(1) if auxk else dead.new_empty(0, dtype=torch.long)
    if len(dead_features):
        aux_loss, aux_gradients = _aux_step(p, centred, -error, pre, dead_features, auxk, aux_coefficient)
        for name, gradient in aux_gradients.items():
            gradients[name] += gradient
    gradients["b_dec"] -= gradients["b_enc"] @ p["encoder"]

    fired = torch.zeros_like(dead)
    fired[features[values > 0]] = True
    return Step(loss, aux_loss, gradients, fired)


def _aux_step(
    p: Parameters, centred: Tensor, residual: Tensor, pre: Tensor, dead_features: Tensor, auxk: int, coefficient: float
) -> tuple[Tensor, Parameters]:
    """AuxK: the strongest dead features tell the residual error, which is taken as given (no gradient through it).

    The gradient passes the ReLU straight through. With the ReLU's own gradient a feature whose pre-activations are
    negative everywhere stays dead; with no ReLU such features learn to tell the error by negative values and stay dead.
    """
    values, chosen = pre[:, dead_features].topk(min(auxk, len(dead_features)), dim=-1, sorted=False)
    features = dead_features[chosen]
    values = values.relu_()
    error = embedding_bag(features, p["decoder"], per_sample_weights=values, mode="sum").sub_(residual)
    out_gradient = error * (2 * coefficient / error.numel())
    everywhere = torch.ones_like(values, dtype=torch.bool)
    return coefficient * error.square().mean(), pair_gradients(p, centred, out_gradient, features, values, everywhere)


def pair_gradients(
    p: Parameters, centred: Tensor, out_gradient: Tensor, features: Tensor, values: Tensor, passes: Tensor
) -> Parameters:
    """Gradients of encoder, b_enc and decoder from n x k pairs; passes (n, k) is where the activation lets them by.

    1. dL/dvalue of each pair = <out_gradient[token], decoder[feature]>;
    2. the pairs sorted by feature, so that each feature's pairs are one segment;
    3. per feature, over its segment: dL/ddecoder = sum value * out_gradient[token],
       dL/dencoder = sum dvalue * centred[token], dL/db_enc = sum dvalue.
    """
    n, k = features.shape
    value_gradient = pair_products(out_gradient, p["decoder"], features) * passes
    flat, order = features.reshape(-1).sort(stable=True)
    token = order.div(k, rounding_mode="floor")
    first = torch.searchsorted(flat, torch.arange(len(p["b_enc"]), device=flat.device))
    value_sorted, gradient_sorted = values.reshape(-1)[order], value_gradient.reshape(-1)[order]
    positions = torch.arange(n * k, device=flat.device)
    return {
        "decoder": embedding_bag(token, out_gradient, first, per_sample_weights=value_sorted, mode="sum"),
        "encoder": embedding_bag(token, centred, first, per_sample_weights=gradient_sorted, mode="sum"),
        # a bag over single numbers rather than index_add, whose order of summation on CUDA is not fixed
        "b_enc": embedding_bag(positions, gradient_sorted[:, None], first, mode="sum").squeeze(1),
    }


def pair_products(rows: Tensor, table: Tensor, features: Tensor) -> Tensor:
    """<rows[i], table[features[i, j]]> for all i, j: (n, d), (d_sae, d), (n, k) -> (n, k).

    CPU and CUDA have this as the backward pass of embedding_bag, with no table of n x k x d; elsewhere it is gathered.
    """
    n, k = features.shape
    if rows.device.type not in KERNEL_DEVICES:
        return torch.einsum("nd,nkd->nk", rows, table[features])
    flat = features.reshape(-1)
    first = torch.arange(0, n * k, k, device=rows.device)
    bag = torch.arange(n, device=rows.device).repeat_interleave(k)
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(rows, table, flat, first, bag, 0).view(n, k)


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
    """AuxK loss of topk_step, dense; the gradient passes the ReLU straight through here too."""
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
