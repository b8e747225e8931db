"""Time and memory of stage gender at full size: python tests/bench/bench_gender.py [--layers N]

Made-up pooled codes in the format of stage pool, 20,480 features and 10,000 images by default, written layer by layer;
each layer goes through ``describe_layer``, as in the stage, and its tables to disk. What is left out is the gradient
pass, which depends on the model. The limit set for it is 6 GB.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csc_array

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core.config import GenderConfig
from core.features.labels import candidates
from core.features.pooled import FOLDER
from core.gender.findings import World, count_findings, describe_layer, finish, shuffled_labels
from tests.gender.gender_toys import write_pooled

RATES = {"image": 0.05, "before": 0.02, "caption": 0.04}  # mean share of captions on which a feature fires
N_WORDS, WORDS_A_CAPTION = 2_000, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("layers", 8), ("features", 20_480), ("samples", 10_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--shuffles", type=int, default=1, help="runs of the negative control on the last layer")
    args = parser.parse_args()
    world = _world(args.samples)
    print(f"{args.features} features x {args.layers} layers, {args.samples} images, {N_WORDS} words a language")
    with tempfile.TemporaryDirectory() as folder:
        parts = [_layer(Path(folder), layer, args.features, world) for layer in range(args.layers)]
        clock = time.perf_counter()
        found = finish([pq.read_table(part) for part in parts], world.config.fdr)
        n = sum(int(np.count_nonzero(table["finding"].to_numpy(zero_copy_only=False))) for table in found)
        print(
            f"all layers together      {time.perf_counter() - clock:6.1f} s  {_peak()}  {n} findings (nothing planted)"
        )
        del found
        pooled = write_pooled(Path(folder), 0, _codes(0, args.features, args.samples))
        for seed in range(args.shuffles):
            clock, labels = time.perf_counter(), shuffled_labels(world.gender, world.is_train, seed)
            n = count_findings({0: pooled}, labels, world.is_train, world.config)
            print(f"one shuffle, one layer   {time.perf_counter() - clock:6.1f} s  {_peak()}  {n} findings")


def _layer(folder: Path, layer: int, n_features: int, world: World) -> Path:
    pooled = write_pooled(folder, layer, _codes(layer, n_features, len(world.gender)))
    clock, work = time.perf_counter(), time.process_time()
    found = describe_layer(pooled, world, {})
    seconds, busy = time.perf_counter() - clock, time.process_time() - work
    path = folder / f"features_{layer}.parquet"
    pq.write_table(found.features, path)
    sizes = ", ".join(str(len(table)) for table in found)
    print(f"layer {layer}: {seconds:6.1f} s ({busy:.1f} s of processor)  {_peak()}  rows {sizes}", flush=True)
    shutil.rmtree(folder / FOLDER)
    pa.default_memory_pool().release_unused()
    return path


def _world(n_samples: int) -> World:
    rng = np.random.default_rng(0)
    gender = rng.choice(["female", "male", "neutral", "unknown"], n_samples, p=[0.3, 0.3, 0.3, 0.1])
    is_train = rng.random(n_samples) < 0.8
    names = np.array([f"{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}{chr(97 + i // 676)}" for i in range(N_WORDS)])
    often = 1 / (10 + np.arange(N_WORDS))
    named = []
    for lang in ("ar", "en"):
        words = rng.choice(names, (n_samples, WORDS_A_CAPTION), p=often / often.sum())
        named.append(candidates(lang, {s: " ".join(words[s]) for s in range(n_samples)}, {}, is_train))
    return World(gender, is_train, named, GenderConfig(), 0)


def _codes(layer: int, n_features: int, n_samples: int) -> dict[str, csc_array]:
    """Features fire at random, at rates from a hundredth to several times the mean, as those of SAEs do."""
    rng, n_captions, found = np.random.default_rng(layer), 2 * n_samples, {}
    for view, mean in RATES.items():
        rates = np.minimum(mean * rng.lognormal(-0.72, 1.2, n_features), 0.9)
        counts = rng.binomial(n_captions, rates)
        indices = np.empty(counts.sum(), np.int32)
        ends = np.cumsum(counts)
        for first, last in zip(ends - counts, ends, strict=True):
            indices[first:last] = np.sort(rng.choice(n_captions, last - first, replace=False, shuffle=False))
        values = rng.exponential(1, len(indices)).astype(np.float32) + np.float32(1e-3)
        found[view] = csc_array((values, indices, np.concatenate([[0], ends])), shape=(n_captions, n_features))
    return found


def _peak() -> str:
    return f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"


if __name__ == "__main__":
    main()
