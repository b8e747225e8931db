"""Loss and gradients of a TopK SAE by hand: one dense matrix product a step, all else on a token's k active features.

Autograd through a dense code costs four products of batch x d_model x d_sae and holds two tables of batch x d_sae.
A token has k active features, so the decoder's output and all gradients are sums over batch x k pairs, which
embedding_bag does without a dense table. The gradients equal autograd's (tests/sae/test_sae_gradients.py).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

Parameters = dict[str, Tensor]  # encoder (d_sae, d_model), b_enc (d_sae), decoder (d_sae, d_model), b_dec (d_model)

KERNEL_DEVICES = ("cpu", "cuda")  # where embedding_bag has a backward kernel for its weights


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
