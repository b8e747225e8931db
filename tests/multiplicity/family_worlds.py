"""Simulated families: parts of a model that add to the words for a gender, and designs beside their controls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.intervals import shuffled_within
from core.multiplicity import among_sets, step_down, two_samples

Floats = NDArray[np.float64]


def parts_world(
    rng: np.random.Generator, n_images: int, n_parts: int, n_true: int, strength: float = 2.0, shared: float = 0.5
) -> tuple[Floats, NDArray[np.bool_]]:
    """Shares (n_images, n_parts) of parts of very different size, and who is a woman; the first ``n_true`` parts add
    ``strength`` of their own spread where the image shows one. ``shared`` of the noise is common to all parts."""
    female = np.arange(n_images) % 2 == 0
    size = np.exp(rng.normal(size=n_parts))
    common = rng.normal(size=(n_images, 1)) * rng.choice([-1, 1], n_parts)
    shares = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.standard_t(4, size=(n_images, n_parts)) / np.sqrt(2)
    shares[:, :n_true] += strength * female[:, None]
    return shares * size, female


def adjusted_parts(shares: Floats, female: NDArray[np.bool_], n_permutations: int, rng: np.random.Generator) -> Floats:
    """Adjusted p (n_parts,), as heads and MLPs get it."""
    stratum = np.zeros(len(female), int)
    dealt = np.stack([shuffled_within(female, stratum, rng) for _ in range(n_permutations)])
    size = two_samples(shares, female, dealt, stratum)
    return step_down(size[0], size[1:])


def designs_world(
    rng: np.random.Generator, n_designs: int, n_true: int, nested: float = 0.5, spread: float = 0.6
) -> Floats:
    """Shares of 100 captions (26, n_designs) under targets (first) and 25 controls; controls change about 5 %, sets
    differ by ``spread`` logits; the first ``n_true`` targets change 60 %. ``nested`` of a draw is common to designs."""
    draws, own = rng.normal(size=(26, 1)), rng.normal(size=(26, n_designs))
    logit = -3 + spread * (np.sqrt(nested) * draws + np.sqrt(1 - nested) * own)
    logit[0, :n_true] = 0.4
    return rng.binomial(100, 1 / (1 + np.exp(-logit))) / 100


def adjusted_designs(shares: Floats, n_images: int = 100) -> Floats:
    """Adjusted p (n_designs,), as designs with controls of their own get it."""
    size = among_sets(shares, np.full(shares.shape[1], 1 / n_images))
    return step_down(size[0], size[1:])
