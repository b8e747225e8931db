"""Train and test, split by image: a function of what the images are and of the seed, not of their order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence


def ranked(contents: Iterable[str], seed: int, salt: str) -> list[str]:
    """The distinct contents in an order that is random but fixed by seed and salt."""
    return sorted(set(contents), key=lambda c: (hashlib.sha256(f"{salt}\0{seed}\0{c}".encode()).digest(), c))


def split(contents: Sequence[str], seed: int, test_share: float) -> list[str]:
    """Train or test for each content hash; equal contents always get the same side.

    ``test_share`` of the distinct contents are test, rounded, and at least one on each side where there are two.
    """
    order = ranked(contents, seed, "split")
    n_test = min(max(round(len(order) * test_share), 1), len(order) - 1)
    test = set(order[:n_test])
    return ["test" if c in test else "train" for c in contents]
