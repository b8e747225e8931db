"""Images that share what fires are alike; what fires everywhere, or how strongly, makes no two of them so."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from core.picture.alike import ImageCodes


def kinds(n: int = 60, n_kinds: int = 6, seed: int = 0, everywhere: float = 50.0):
    """Images of ``n_kinds``, each with ten features of its own, random others, and one feature that always fires."""
    rng, kind = np.random.default_rng(seed), np.arange(n) % n_kinds
    own = np.kron(np.eye(n_kinds), np.ones(10))[kind] * rng.uniform(1, 3, (n, 10 * n_kinds))
    noise = rng.random((n, 40)) * (rng.random((n, 40)) < 0.2)
    return kind, np.hstack([np.full((n, 1), everywhere), own, noise])


def test_the_nearest_images_are_those_of_the_same_kind():
    kind, codes = kinds()
    images = ImageCodes(np.arange(len(codes)), csr_array(codes))
    for i in range(len(codes)):
        found, likeness = images.nearest(codes[i], 5, without=i)
        assert (kind[found] == kind[i]).all() and i not in found
        assert (np.diff(likeness) <= 0).all()


def test_it_is_the_cosine_of_centred_roots():
    _, codes = kinds()
    images, roots = ImageCodes(np.arange(len(codes)), csr_array(codes)), np.sqrt(codes)
    centred = roots - roots.mean(0)
    own = np.sqrt(codes[3] * 2) - roots.mean(0)
    wanted = centred @ own / np.linalg.norm(centred, axis=1) / np.linalg.norm(own)
    np.testing.assert_allclose(images.likeness(codes[3] * 2), wanted, atol=1e-6)
    assert images.likeness(codes[3])[3] == pytest.approx(1)


@pytest.mark.parametrize("everywhere", [1.0, 1000.0])
def test_images_that_share_only_what_fires_everywhere_are_not_alike(everywhere: float):
    rng = np.random.default_rng(1)
    codes = np.hstack([np.full((80, 3), everywhere), rng.random((80, 400)) * (rng.random((80, 400)) < 0.1)])
    images = ImageCodes(np.arange(80), csr_array(codes))
    usual = images.usual()
    assert abs(usual.pairs) < 0.05 and usual.nearest < 0.3
    other = np.hstack([np.full(3, everywhere), rng.random(400) * (rng.random(400) < 0.1)])
    assert images.nearest(other)[1][0] < 0.3


def test_the_usual_nearest_is_high_where_images_come_in_kinds_and_an_image_is_not_its_own_neighbour():
    _, codes = kinds(n_kinds=6)
    usual = ImageCodes(np.arange(len(codes)), csr_array(codes)).usual()
    assert usual.low > 0.7 and abs(usual.pairs) < 0.05 and usual.n == len(codes) and usual.high < 0.999


def test_where_there_is_nothing_to_compare_nothing_is_said():
    assert ImageCodes(np.arange(1), csr_array(np.ones((1, 4)))).usual() is None
    same = ImageCodes(np.arange(5), csr_array(np.ones((5, 4))))
    assert same.likeness(np.ones(4)).tolist() == [0] * 5 and same.usual().nearest == 0
    nothing = ImageCodes(np.zeros(0, int), csr_array((0, 4)))
    assert len(nothing.nearest(np.ones(4))[0]) == 0
