"""Explained variance is 0 and 1 where it must be, whatever the batches."""

import pytest
import torch

from core.sae.trainer import VarianceSums, explained_variance
from tests.sae.sae_toys import D_MODEL, TEST_ROWS


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
