"""What an SAE computes: sparse and dense ways agree, k is k, and residuals of another width are refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.sae import modules
from core.sae.modules import ARCHITECTURES, SAE, SAEConfig, SparseCode, tensor_shapes
from tests.sae.sae_toys import D_SAE, WIDTH, random_sae, random_tokens


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sparse_and_dense_agree(architecture, monkeypatch):
    monkeypatch.setattr(modules, "CHUNK_ELEMENTS", 7 * D_SAE)  # several blocks
    sae, x = random_sae(architecture), random_tokens(30)
    z, code = sae.encode(x), sae.sparse_code(x)
    rebuilt = torch.zeros_like(z)
    rebuilt[code.row, code.feature] = code.value
    torch.testing.assert_close(rebuilt, z)
    assert (code.value > 0).all()
    order = code.row * D_SAE + code.feature
    assert (order.diff() > 0).all()
    torch.testing.assert_close(sae.decode_sparse(code, len(x)), sae.decode(z))
    torch.testing.assert_close(sae(x), sae.decode(z))
    torch.testing.assert_close(sae(x.view(5, 6, -1)), sae.decode(z).view(5, 6, -1))


@given(seed=st.integers(0, 1000), k=st.integers(1, D_SAE))
@settings(max_examples=25, deadline=None)
def test_exactly_k_features_are_active_where_enough_are_positive(seed, k):
    cfg = SAEConfig("topk", WIDTH, D_SAE, k)
    random = torch.Generator().manual_seed(seed)
    sae = SAE(cfg, {name: torch.randn(shape, generator=random) for name, shape in tensor_shapes(cfg).items()})
    x = random_tokens(20, seed)
    positive = (sae.pre_activations(x) > 0).sum(1)
    assert torch.equal((sae.encode(x) > 0).sum(1), positive.clamp(max=k))
    values, features = sae.encode_sparse(x)
    assert values.shape == features.shape == (20, k)
    torch.testing.assert_close(sae.encode(x).gather(1, features), values)


def test_a_token_without_active_features_becomes_b_dec():
    sae = random_sae("standard")
    nothing = SparseCode(torch.tensor([1]), torch.tensor([3]), torch.tensor([2.0]))
    rebuilt = sae.decode_sparse(nothing, 3)
    torch.testing.assert_close(rebuilt[[0, 2]], sae.b_dec.expand(2, -1))
    torch.testing.assert_close(rebuilt[1], sae.b_dec + 2 * sae.W_dec[3])


def test_bfloat16_residuals_stay_bfloat16():
    assert random_sae("topk")(random_tokens(3).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("call", ["encode", "sparse_code", "forward"])
def test_residuals_of_another_model_are_refused(call):
    with pytest.raises(UserError, match="width 12, but was given width 13"):
        getattr(random_sae("topk"), call)(torch.zeros(2, WIDTH + 1))


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="no SAE architecture"):
        SAEConfig("dense", WIDTH, D_SAE)
    for k in (0, D_SAE + 1):
        with pytest.raises(UserError, match="cannot keep"):
            SAEConfig("topk", WIDTH, D_SAE, k)
    with pytest.raises(ValueError, match="sparse_code"):
        random_sae("gated").encode_sparse(random_tokens(2))


@pytest.mark.parametrize("architecture", ["topk", "jumprelu", "gated", "standard"])
def test_some_features_are_encoded_as_all_are(architecture):
    sae, x = random_sae(architecture), random_tokens(40)
    features = torch.tensor([5, 0, 7])
    torch.testing.assert_close(sae.encode_some(x, features), sae.encode(x)[:, features])
