"""The metrics are 0 and 1 where they must be."""

import numpy as np
import pytest
import torch

from core.sae.metrics import VarianceSums, explained_variance, held_out_metrics
from core.sae.modules import SAE, SAEConfig
from tests.sae.sae_toys import D_MODEL, TEST_ROWS


def mean_sae(mean):
    """An SAE that says the mean of everything: its features never fire."""
    zeros = torch.zeros(D_MODEL, 8)
    cfg = SAEConfig("standard", D_MODEL, 8)
    return SAE(cfg, {"W_enc": zeros, "b_enc": torch.zeros(8), "W_dec": zeros.T.contiguous(), "b_dec": mean})


def perfect_sae():
    """An SAE with a feature for each direction of each axis: |x| = x_plus - x_minus is rebuilt exactly."""
    axes = torch.cat([torch.eye(D_MODEL), -torch.eye(D_MODEL)])
    cfg = SAEConfig("standard", D_MODEL, 2 * D_MODEL)
    tensors = {"W_enc": axes.T.contiguous(), "W_dec": axes, "b_enc": torch.zeros(2 * D_MODEL)}
    return SAE(cfg, tensors | {"b_dec": torch.zeros(D_MODEL)})


def test_the_mean_explains_nothing(planted):
    x = planted.reader.read(TEST_ROWS)
    metrics = held_out_metrics(mean_sae(x.mean(0)), planted.reader, TEST_ROWS, np.full(len(TEST_ROWS), "image"))
    assert metrics["explained_variance"] == pytest.approx(0, abs=1e-6)
    assert metrics["l0"] == 0 and metrics["dead_share"] == 1


def test_a_perfect_reconstruction_explains_everything(planted):
    kinds = np.where(TEST_ROWS % 3 == 0, "image", "caption")
    metrics = held_out_metrics(perfect_sae(), planted.reader, TEST_ROWS, kinds)
    for name in ("explained_variance", "explained_variance_image", "explained_variance_caption", "cosine"):
        assert metrics[name] == pytest.approx(1, abs=1e-6)
    assert metrics["l0"] == pytest.approx(D_MODEL, rel=0.01)
    assert metrics["dead_share"] == 0
    assert metrics["n_test_tokens"] == len(TEST_ROWS)


def test_a_kind_is_measured_against_its_own_mean(planted):
    """Knowing the kind alone explains nothing of a kind, though it explains much of the whole."""
    x = planted.reader.read(TEST_ROWS)
    sums = VarianceSums(D_MODEL)
    shifted = torch.cat([x, x + 100])
    sums.add(shifted, torch.cat([x * 0 + x.mean(0), x * 0 + x.mean(0) + 100]))
    assert sums.explained_variance > 0.9
    half = VarianceSums(D_MODEL)
    half.add(x, x * 0 + x.mean(0))
    assert half.explained_variance == pytest.approx(0, abs=1e-6)


def test_explained_variance_does_not_depend_on_batches_or_offset(planted):
    x = planted.reader.read(TEST_ROWS).double()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()
    expected = 1 - float(noise.square().sum() / (x - x.mean(0)).square().sum())
    assert explained_variance(planted.reader, TEST_ROWS, lambda t: t + noise.float()) == pytest.approx(
        expected, abs=1e-6
    )
    sums = VarianceSums(D_MODEL)
    for part, error in zip(x.split(7), noise.split(7), strict=True):
        sums.add(part + 1000, part + 1000 + error)
    assert sums.explained_variance == pytest.approx(expected, abs=1e-6)
