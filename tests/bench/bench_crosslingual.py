"""Time and memory of the crosslingual stage's comparisons at full width: python tests/bench/bench_crosslingual.py

Made-up pooled codes and residuals of one layer after another (default: 20,480 features, 10,000 samples, one layer of
eight), then the matching of two made-up dictionaries of that width. Seconds are of the processor; the bounds that the
design asks for are 6 GB for the layers and 4 GB for the matching. ``--layers 8`` measures all layers.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.sparse import csc_array, csr_array

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core.config import CrosslingualConfig
from core.crosslingual.matching import candidates, correlation_blocks, mutual_nearest, optimal_assignment
from core.crosslingual.shared_dictionary import SharedDictionary
from core.features.pooled import VIEWS, Pooled
from tests.gender.gender_toys import write_pooled

D_MODEL, N_WORDS, FIRING = 512, 40, 300  # features that fire in a caption


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=20_480)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--layers", type=int, default=1)
    given = parser.parse_args()
    print(f"{given.features} features, {given.samples} samples, {FIRING} features a caption, d_model {D_MODEL}")
    for layer in range(given.layers):
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            pooled = layer_codes(Path(folder), layer, given.samples, given.features)
            lap(f"layer {layer}: writing made-up codes", start)
            one_layer(pooled, layer, given.samples)
    rng = np.random.default_rng(1)
    a, b = (made_up(rng, given.samples // 4, given.features) for _ in "ab")
    start = time.process_time()
    found = candidates(correlation_blocks(a, b), given.features, given.features)
    start = lap("matching: candidates", start)
    pairs, bound = optimal_assignment(found)
    start = lap(f"matching: assignment of {len(pairs.a)} pairs, bound {bound:.3f}", start)
    lap(f"matching: {len(mutual_nearest(found).a)} mutual neighbours", start)


def one_layer(pooled: Pooled, layer: int, n: int) -> None:
    rng = np.random.default_rng(0)
    gender = np.array(["female", "male", "neutral"], dtype=object)[rng.integers(0, 3, n)]
    config = replace(CrosslingualConfig(), n_permutations=500, n_bootstrap=500)
    compared = SharedDictionary(pooled, gender, rng.random(n) < 0.8, config, 0)
    word = rng.integers(0, N_WORDS, n)
    stands = csr_array((np.ones(n), (np.arange(n), word)), shape=(n, N_WORDS))
    for name, work in (
        ("languages", compared.languages),
        ("residuals", compared.residuals),
        ("gender", compared.gender_scores),
        ("words", lambda: compared.words(stands, np.arange(N_WORDS) % 2 == 0)),
    ):
        start = time.process_time()
        work()
        lap(f"layer {layer}: {name}", start)


def layer_codes(folder: Path, layer: int, n: int, n_features: int) -> Pooled:
    """The same codes in every view, and residuals that have nothing in common."""
    rng = np.random.default_rng(layer)
    codes = made_up(rng, 2 * n, n_features)
    resid = {view: rng.standard_normal((2 * n, D_MODEL), dtype=np.float32) for view in VIEWS}
    return write_pooled(folder, layer, dict.fromkeys(VIEWS, codes), **resid)


def made_up(rng: np.random.Generator, n: int, n_features: int) -> csc_array:
    """Codes in which some features fire often and most seldom, FIRING a row on average."""
    rate = np.minimum(0.9, (1 + np.arange(n_features)) ** -0.7)
    rate *= FIRING / rate.sum()
    counts = rng.binomial(n, np.minimum(rate, 0.9))
    rows = [np.sort(rng.choice(n, count, replace=False)).astype(np.int32) for count in counts]
    indices = np.concatenate(rows)
    values = rng.random(len(indices), dtype=np.float32) + np.float32(0.1)
    return csc_array((values, indices, np.concatenate([[0], np.cumsum(counts)])), shape=(n, n_features))


def lap(name: str, start: float) -> float:
    now, most = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name:<58} {now - start:8.1f} s   peak {most:5.2f} GB", flush=True)
    return time.process_time()


if __name__ == "__main__":
    main()
