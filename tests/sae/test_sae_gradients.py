"""The hand-made gradients of the sparse step are those of autograd through the dense formula."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.sae import losses
from core.sae.losses import pair_products, topk_step

N, D, F = 12, 5, 20


def parameters(seed):
    random = torch.Generator().manual_seed(seed)
    shapes = {"encoder": (F, D), "b_enc": (F,), "decoder": (F, D), "b_dec": (D,)}
    return {name: torch.randn(shape, generator=random, dtype=torch.float64) for name, shape in shapes.items()}


def dense_reference(p, x, k, dead, auxk, coefficient):
    """The same losses as a reader of the paper would write them down."""
    p = {name: t.clone().requires_grad_() for name, t in p.items()}
    pre = (x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]
    kept = pre.topk(k, dim=-1)
    z = torch.zeros_like(pre).scatter(-1, kept.indices, kept.values.relu())
    error = x - (z @ p["decoder"] + p["b_dec"])
    loss, aux_loss = error.square().mean(), torch.zeros(())
    if auxk and dead.any():
        kept = pre.masked_fill(~dead, -torch.inf).topk(min(auxk, int(dead.sum())), dim=-1)
        straight_through = kept.values + (kept.values.relu() - kept.values).detach()
        z_aux = torch.zeros_like(pre).scatter(-1, kept.indices, straight_through)
        aux_loss = coefficient * (error.detach() - z_aux @ p["decoder"]).square().mean()
    (loss + aux_loss).backward()
    return loss, aux_loss, {name: t.grad for name, t in p.items()}, (z > 0).any(0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, F), n_dead=st.integers(0, F), auxk=st.integers(0, F))
def test_gradients_equal_autograd(seed, k, n_dead, auxk):
    p = parameters(seed)
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64) * 2
    dead = torch.arange(F) < n_dead
    loss, aux_loss, gradients, fired = dense_reference(p, x, k, dead, auxk, 0.3)
    ours = topk_step(p, x, k, dead, auxk, 0.3)
    torch.testing.assert_close(ours.loss, loss.detach())
    torch.testing.assert_close(ours.aux_loss, aux_loss.detach(), check_dtype=False)
    assert ours.gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(ours.gradients[name], gradient, msg=lambda m, name=name: f"{name}: {m}")
    assert torch.equal(ours.fired, fired)


def test_the_way_without_a_backward_kernel_gives_the_same(monkeypatch):
    random = torch.Generator().manual_seed(0)
    rows, table = torch.randn(N, D, generator=random), torch.randn(F, D, generator=random)
    features = torch.randint(F, (N, 4), generator=random)
    with_kernel = pair_products(rows, table, features)
    monkeypatch.setattr(losses, "KERNEL_DEVICES", ())
    torch.testing.assert_close(pair_products(rows, table, features), with_kernel)


def test_without_dead_features_there_is_no_aux_loss():
    x = torch.randn(N, D, dtype=torch.float64)
    nobody = torch.zeros(F, dtype=torch.bool)
    assert topk_step(parameters(0), x, 3, nobody, 8, 1.0).aux_loss == 0
    assert topk_step(parameters(0), x, 3, ~nobody, 8, 1.0).aux_loss > 0
    assert topk_step(parameters(0), x, 3, ~nobody, 0, 1.0).aux_loss == 0


@pytest.mark.parametrize("k", [1, 3, F])
def test_at_most_k_features_of_a_token_count(k):
    """A single token: exactly the k chosen features with a positive pre-activation get an encoder gradient."""
    p = parameters(3)
    x = torch.randn(1, D, dtype=torch.float64)
    pre = (x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]
    chosen = set(pre[0].topk(k).indices[pre[0].topk(k).values > 0].tolist())
    step = topk_step(p, x, k, torch.zeros(F, dtype=torch.bool), 0, 0.0)
    assert set(step.gradients["b_enc"].nonzero().flatten().tolist()) == chosen
    assert set(step.fired.nonzero().flatten().tolist()) == chosen
