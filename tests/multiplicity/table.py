"""Prints how often families of parts and designs claim something where nothing is, and how much of the truth they find.

python -m tests.multiplicity.table [WORLDS]
"""

from __future__ import annotations

import sys

import numpy as np

from tests.multiplicity.family_worlds import adjusted_designs, adjusted_parts, designs_world, parts_world

LEVEL, N_PERMUTATIONS = 0.05, 1000
PARTS = ((34 * 9, 1), (34 * 9, 3), (34 * 9, 5), (34 * 9, 20), (32 * 33, 20))


def main(n_worlds: int) -> None:
    print("family | true | found of the true | worlds with a false finding")
    for n_parts, n_true in (*PARTS, (34 * 9, 0), (32 * 33, 0)):
        rng = np.random.default_rng([n_parts, n_true])
        n = n_worlds if n_true == 0 else max(10, n_worlds // 20)
        p = [adjusted_parts(*parts_world(rng, 100, n_parts, n_true, 2.5), N_PERMUTATIONS, rng) for _ in range(n)]
        tell(f"{n_parts} parts", n_true, np.array(p), n)
    for n_designs, n_true in ((14, 1), (28, 1), (28, 14), (14, 0), (28, 0)):
        rng = np.random.default_rng([1, n_designs, n_true])
        p = [adjusted_designs(designs_world(rng, n_designs, n_true)) for _ in range(n_worlds)]
        tell(f"{n_designs} designs", n_true, np.array(p), n_worlds)


def tell(family: str, n_true: int, p: np.ndarray, n: int) -> None:
    found = f"{(p[:, :n_true] <= LEVEL).mean():.2f}" if n_true else "-"
    print(f"{family} | {n_true} | {found} | {(p[:, n_true:] <= LEVEL).any(1).sum()} of {n}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
