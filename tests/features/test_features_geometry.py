"""Neighbours are the brute-force ones, and the map is fixed by its seed, never crashes and keeps groups together."""

import numpy as np
import pytest
import torch

from core.features import statistics as geometry
from core.features.statistics import feature_map, neighbours


def random_directions(n: int, d: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("block_elements", [1, 50, 1 << 24])
def test_neighbours_equal_brute_force(monkeypatch, block_elements):
    monkeypatch.setattr(geometry, "BLOCK_ELEMENTS", block_elements)
    W_dec = random_directions(23)
    near = neighbours(W_dec, 5)
    unit = W_dec / W_dec.norm(dim=1, keepdim=True)
    cosine = (unit @ unit.T).fill_diagonal_(-2).numpy()
    expected = np.argsort(-cosine, axis=1)[:, :5]
    assert np.array_equal(near.index, expected)
    assert np.allclose(near.cosine, np.take_along_axis(cosine, expected, 1), atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 2, 9, 10, 40])
def test_every_size_has_a_map(n):
    W_dec = random_directions(n)
    place = feature_map(W_dec, neighbours(W_dec, 14), seed=0)
    assert place.shape == (n, 2)
    assert np.isfinite(place).all() if n > 1 else np.isnan(place).all()


def test_identical_directions_have_a_map():
    W_dec = torch.ones(12, 4)
    assert np.isfinite(feature_map(W_dec, neighbours(W_dec, 14), seed=0)).all()
    assert np.isfinite(feature_map(W_dec[:4], neighbours(W_dec[:4], 14), seed=0)).all()


def test_the_map_is_fixed_by_its_seed_and_keeps_groups_together():
    centres = 10 * torch.eye(8)[:3]
    group = np.arange(90) % 3
    W_dec = centres[group] + random_directions(90)
    near = neighbours(W_dec, 14)
    place = feature_map(W_dec, near, seed=1)
    assert np.array_equal(place, feature_map(W_dec, near, seed=1))
    distance = np.linalg.norm(place[:, None] - place[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (group[distance.argmin(1)] == group).mean() > 0.95


def test_a_map_leaves_the_number_of_threads_as_it_was():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        unit = torch.nn.functional.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), dim=1)
        feature_map(unit, neighbours(unit, 14), 0)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
