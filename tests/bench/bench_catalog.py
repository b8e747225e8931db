"""Time of the catalogue's queries at the demo's size: python tests/bench/bench_catalog.py [--features N] [--layers N]

Made-up tables of the documented schemas. Medians of wall time; ratios are to reading the same rows straight from the
Parquet file with pyarrow in the same process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from core.run import Run, write_table
from core.run.reader import Catalog
from core.run.schema.features import EXAMPLES, FEATURES

N_SAMPLES, N_EXAMPLES, N_PATCHES, N_WORDS = 1500, 54, 16, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=1536)
    parser.add_argument("--layers", type=int, default=4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder)
        write_run(run_dir, given.layers, given.features)
        sizes = {p.name: p.stat().st_size // 1024 for p in sorted(run_dir.glob("*.parquet"))}
        print(f"{given.layers} layers x {given.features} features; kB: {sizes}")
        catalog = Catalog(run_dir)
        start = time.perf_counter()
        catalog.features(0)
        print(f"{'first list, table made':<36}{(time.perf_counter() - start) * 1e3:8.1f} ms")
        compare(catalog, run_dir, given.features)


def compare(catalog: Catalog, run_dir: Path, n_features: int) -> None:
    scalars = [c for c in catalog.features(0, limit=1).columns if c in FEATURES.names]
    one = [("layer", "=", 1), ("feature", "=", n_features // 2)]
    path = run_dir / "features.parquet"
    listed = median(lambda: pq.read_table(path, columns=scalars).to_pandas())
    looked_up = median(lambda: pq.read_table(run_dir / "examples.parquet", filters=one).to_pandas())
    view = f"SELECT {', '.join(scalars)} FROM features WHERE alive ORDER BY density"
    table = view.replace("FROM features", "FROM features_table")
    f = n_features // 2
    for name, call, reference in (
        ("features, all layers", lambda: catalog.features(sort="density"), listed),
        ("the same columns: in-memory table", lambda: catalog._query(table), listed),
        ("the same columns: Parquet view", lambda: catalog._query(view), listed),
        ("features, one layer", lambda: catalog.features(1, sort="density"), listed),
        ("features, word search", lambda: catalog.features(text="word 77"), listed),
        ("one feature", lambda: catalog.feature(1, f), looked_up),
        ("examples of one feature, top", lambda: catalog.examples(1, f), looked_up),
        ("examples of one feature, all bins", lambda: catalog.examples(1, f, bin=None), looked_up),
        ("neighbours", lambda: catalog.neighbours(1, f), looked_up),
        ("samples, text search", lambda: catalog.samples(text="word 7"), looked_up),
    ):
        seconds = median(call)
        print(f"{name:<36}{seconds * 1e3:8.1f} ms {seconds / reference:8.2f} x")


def median(call: Callable[[], object], n: int = 15) -> float:
    times = []
    for _ in range(n):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def write_run(run_dir: Path, n_layers: int, n: int) -> None:
    ids = {layer: f"{layer:016x}" for layer in range(n_layers)}
    saes = {"layer": pa.array(list(ids), pa.int32()), "sae_id": list(ids.values())}
    write_table(run_dir / "saes.parquet", pa.table(saes))
    rng = np.random.default_rng(0)
    FEATURES.write_parts(Run(run_dir), (features(k, i, n, rng) for k, i in ids.items()))
    EXAMPLES.write_parts(Run(run_dir), (examples(k, i, n, rng) for k, i in ids.items()))
    numbers = np.arange(N_SAMPLES)
    write_table(
        run_dir / "samples.parquet",
        pa.table(
            {
                "sample_id": pa.array(numbers, pa.int32()),
                "image_id": [f"demo-{n}" for n in numbers],
                "split": ["train"] * N_SAMPLES,
                "gender": ["female"] * N_SAMPLES,
                "thumb_file": [f"thumbs/{n}.jpg" for n in numbers],
                "image_file": [f"images/{n}.png" for n in numbers],
            }
        ),
    )
    for name, copies in (("captions", 1), ("references", 5)):
        write_table(
            run_dir / f"{name}.parquet",
            pa.table(
                {
                    "sample_id": pa.array(np.repeat(numbers, 2 * copies), pa.int32()),
                    "lang": ["en", "ar"] * N_SAMPLES * copies,
                    "n": pa.array(np.tile(np.repeat(np.arange(copies), 2), N_SAMPLES), pa.int16()),
                    "text": [f"a caption with word {i} in it" for i in range(2 * copies * N_SAMPLES)],
                }
            ),
        )


def features(layer: int, sae_id: str, n: int, rng: np.random.Generator) -> pa.Table:
    words = [[f"word {i}" for i in row] for row in rng.integers(0, 3000, (n, 12))]
    columns = {}
    for field in FEATURES.arrow:
        if pa.types.is_list(field.type):
            is_text = pa.types.is_string(field.type.value_type)
            columns[field.name] = words if is_text else rng.integers(0, 99, (n, 12)).tolist()
        else:
            columns[field.name] = rng.random(n) if pa.types.is_floating(field.type) else np.ones(n, int)
    columns |= {"layer": [layer] * n, "feature": np.arange(n), "sae_id": [sae_id] * n, "alive": [True] * n}
    return pa.table({f.name: pa.array(columns[f.name], f.type) for f in FEATURES.arrow})


def examples(layer: int, sae_id: str, n: int, rng: np.random.Generator) -> pa.Table:
    m = n * N_EXAMPLES
    bins = np.repeat(["q1", "q2", "q3", "q4", "q5", "top"], [6, 6, 6, 6, 6, 24])
    ranks = np.concatenate([*[np.arange(6)] * 5, np.arange(24)])

    def halves(width: int) -> pa.ListArray:
        values = np.where(rng.random(m * width) < 0.2, rng.random(m * width), 0).astype(np.float16)
        return pa.ListArray.from_arrays(pa.array(np.arange(m + 1) * width, pa.int32()), pa.array(values))

    pieces = pa.array([f"piece {i}" for i in rng.integers(0, 400, 4096)] * (m * N_WORDS // 4096 + 1))
    columns = {
        "layer": np.full(m, layer),
        "feature": np.repeat(np.arange(n), N_EXAMPLES),
        "sae_id": [sae_id] * m,
        "bin": np.tile(bins, n),
        "rank": np.tile(ranks, n),
        "sample_id": rng.integers(0, N_SAMPLES, m),
        "lang": np.where(rng.random(m) < 0.5, "en", "ar"),
        "activation": rng.random(m),
        "position": np.full(m, 9),
        "kind": ["image"] * m,
        "patch_map": halves(N_PATCHES),
        "token_values": halves(N_WORDS),
        "pieces": pa.ListArray.from_arrays(pa.array(np.arange(m + 1) * N_WORDS, pa.int32()), pieces),
        "band_low": rng.random(m),
        "band_high": rng.random(m),
    }
    return pa.table({name: columns[name] for name in EXAMPLES.names}).cast(EXAMPLES.arrow)


if __name__ == "__main__":
    main()
