"""What keeping the codes costs and saves: python tests/bench/bench_codes.py [--run cache/demo] [--d-sae 163840]

Without --run: a made-up run of 2,000 images in two languages, 300 tokens a caption, 64 features a token; told are the
bytes of its codes, and the time of what pages ask of them, at the median, as shares of working the same tokens' codes
out with an SAE of that width and d_model 2,560. With --run: processor seconds of the passes of the stages codes,
features and pool over one layer of a finished run, encoding and reading.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from core.features.firing import compare, firing, strongest, usual  # noqa: E402
from core.features.groups import group_contrast, view_means  # noqa: E402
from core.features.token_codes import (  # noqa: E402
    ROWS_PER_PART,
    Coder,
    RowCodes,
    TokenCodes,
    encode_part,
    part_path,
    write_part,
)
from core.features.usual import VIEWS  # noqa: E402
from core.run import Manifest, Run, atomic_path, write_table  # noqa: E402

LAYER, SAE, D_MODEL = 14, "0123456789abcdef", 2560
KINDS = ["bos"] + ["prompt"] * 6 + ["image"] * 256 + ["prompt"] * 7 + ["caption"] * 30
N_LAYERS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--layer", type=int, default=5)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--d-sae", type=int, default=163_840)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.run:
            stages(Run(asked.run), asked.layer, Path(folder))
        else:
            pages(Path(folder), asked.images, asked.k, asked.d_sae)


def pages(folder: Path, n: int, k: int, d_sae: int) -> None:
    """A made-up run, and what pages ask of it."""
    run, rng = Run(folder / "made-up"), np.random.default_rng(0)
    make_run(run, rng, n, k, d_sae)
    size = sum(path.stat().st_size for path in run.path("codes").rglob("*.safetensors"))
    print(f"{n:,} images x 2 languages x {len(KINDS)} tokens, k {k}, {d_sae:,} features")
    print(f"codes: {size / 1e9:.2f} GB a layer, {N_LAYERS * size / 1e9:.1f} GB of {N_LAYERS} layers; ", end="")
    print(f"{size / (2 * n * len(KINDS) * D_MODEL * 2):.2f} of the activations (d_model {D_MODEL:,}, bfloat16)")
    began = time.perf_counter()
    known = usual(run, LAYER)
    print(f"what is usual of each feature, once a layer: {1e3 * (time.perf_counter() - began):.0f} ms")
    ids = rng.permutation(n)
    first, spread = np.arange(200) < 100, known["spread_image"].to_numpy()
    base = encoding(rng, d_sae)

    def both(i: int) -> list:
        return [firing(run, LAYER, i, lang) for lang in ("en", "ar")]

    word = [row for row, kind in enumerate(KINDS[1:]) if kind == "caption"][5]
    asked: dict[str, Callable[[int], object]] = {
        "features of a word": lambda i: strongest(firing(run, LAYER, i, "en"), known, tokens=[word]),
        "features of a patch": lambda i: strongest(firing(run, LAYER, i, "en"), known, tokens=[100]),
        "features of an image and both captions": lambda i: strongest(both(i), known),
        "heat map, both captions by 20 features": lambda i: [one.dense(range(20)) for one in both(i)],
        "four images against four": lambda i: compare(
            run, LAYER, ids[i % n : i % n + 4].tolist(), ids[(i + 9) % n : (i + 9) % n + 4].tolist(), "image", known
        ),
        "100 captions against 100": lambda i: group_contrast(
            view_means(run, LAYER, ids[i : i + 200].tolist(), "caption_en"), first, spread
        ),
        "100 images against 100": lambda i: group_contrast(
            view_means(run, LAYER, ids[i : i + 200].tolist(), "image"), first, spread
        ),
    }
    print("| asked | median ms | slowest of 20 | share of encoding one caption's tokens |\n|---|---|---|---|")
    for name, ask in asked.items():
        times = []
        for i in range(21):
            began = time.perf_counter()
            ask(int(ids[i]) if "against" not in name else i * 20 % (n - 200))
            times.append(time.perf_counter() - began)
        times = times[1:]
        middle = float(np.median(times))
        print(f"| {name} | {1e3 * middle:.0f} | {1e3 * max(times):.0f} | {middle / base:.3f} |")
    print(f"encoding one caption's tokens: {1e3 * base:.0f} ms")


def make_run(run: Run, rng: np.random.Generator, n: int, k: int, d_sae: int) -> None:
    """Tokens, codes of one layer, features of all."""
    length, n_rows = len(KINDS), 2 * n * len(KINDS)
    rows = np.arange(n_rows)
    sequence, position = np.divmod(rows, length)
    kind = np.array(KINDS)[position]
    patch = np.where(kind == "image", position - 7, -1).astype(np.int16)
    tokens = pa.table(
        {
            "row": rows,
            "sample_id": (sequence // 2).astype(np.int32),
            "lang": pa.array(np.array(["en", "ar"])[sequence % 2]).dictionary_encode(),
            "position": position.astype(np.int32),
            "kind": pa.array(kind).dictionary_encode(),
            "token_id": (rows % 1000).astype(np.int32),
            "patch": patch,
        }
    ).replace_schema_metadata({"n_patches": "256", "n_image_tokens": "256"})
    path = run.path("activations", "tokens.parquet")
    with atomic_path(path) as temporary:
        pq.write_table(tokens, temporary, row_group_size=65_536, compression="zstd")
    write_table(
        run.path("saes.parquet"), pa.table({"layer": pa.array([LAYER], pa.int32()), "sae_id": [SAE], "d_sae": [d_sae]})
    )
    pieces = {"sample_id": np.repeat(np.arange(n, dtype=np.int32), 2), "lang": ["en", "ar"] * n}
    write_table(run.path("pieces.parquet"), pa.table({**pieces, "pieces": [["piece"] * 30] * (2 * n)}))
    run.write_manifest(Manifest(run.name, "gemma-3-4b", {"samples": {"n": n}}, {}))
    for number, start in enumerate(range(0, n_rows, ROWS_PER_PART)):
        stop = min(start + ROWS_PER_PART, n_rows)
        firing_rows = np.flatnonzero(kind[start:stop] != "bos")
        # few features fire often, most seldom: uniform in the logarithm of their rank
        feature = (d_sae ** rng.random((len(firing_rows), k)) - 1).astype(np.int64)
        feature.sort(axis=1)
        value = rng.gamma(2, 1, feature.size).astype(np.float32)
        codes = RowCodes(np.repeat(firing_rows, k), feature.ravel(), value)
        write_part(part_path(run.dir, LAYER, number), codes, stop - start, d_sae, SAE)
    made = {f"{what}_{v}": rng.gamma(1, 0.1, d_sae) for what in ("usual", "spread", "token_spread") for v in VIEWS}
    for name in ("n_active", "mean", "std", "density"):
        made[name] = rng.random(d_sae)
    layers = [
        pa.table(
            {
                "layer": pa.array(np.full(d_sae, layer), pa.int32()),
                "feature": pa.array(np.arange(d_sae), pa.int32()),
                "sae_id": pa.array([SAE] * d_sae),
                **made,
            }
        )
        for layer in range(LAYER, LAYER + N_LAYERS)
    ]
    write_table(run.path("features.parquet"), pa.concat_tables(layers), row_group_size=2_000)


def encoding(rng: np.random.Generator, d_sae: int) -> float:
    """Seconds of one caption's tokens through an encoder of that width, best of three."""
    x = rng.standard_normal((len(KINDS), D_MODEL), dtype=np.float32)
    part = rng.standard_normal((D_MODEL, 4096), dtype=np.float32)  # a slice of it, which fits into any memory
    times = []
    for _ in range(4):
        began = time.perf_counter()
        np.maximum(x @ part, 0)
        times.append(time.perf_counter() - began)
    return min(times[1:]) * d_sae / part.shape[1]


def stages(run: Run, layer: int, folder: Path) -> None:
    """Processor seconds of the passes over one layer."""
    from core.activations.store import ActivationReader
    from core.features.codes import write_codes
    from core.features.tokens import read_token_index
    from core.sae.files import load_sae, sae_id

    tokens, reader = read_token_index(run), ActivationReader(run.dir, layer)
    sae = load_sae(run.path("saes", f"layer_{layer:02d}"))
    name, borders = sae_id(sae), [*range(0, tokens.n_rows, ROWS_PER_PART), tokens.n_rows]
    kept = TokenCodes(folder, layer, name)

    def pool(coder: Coder) -> None:
        for start, stop in pairwise(borders):
            encode_part(coder, reader, start, stop) if coder.kept is None else coder.kept.read(start, stop)

    def codes() -> None:
        for number, (start, stop) in enumerate(pairwise(borders)):
            found = encode_part(Coder(sae, tokens.group), reader, start, stop)
            write_part(part_path(folder, layer, number), found, stop - start, sae.cfg.d_sae, name)

    took = {"codes": seconds(codes)}
    took["features, encoding"] = seconds(lambda: write_codes(sae, reader, tokens, folder / "one"))
    took["features, reading"] = seconds(lambda: write_codes(sae, reader, tokens, folder / "other", kept=kept))
    took["pool, encoding"] = seconds(lambda: pool(Coder(sae, tokens.group)))
    took["pool, reading"] = seconds(lambda: pool(Coder(sae, tokens.group, kept)))
    before = took["features, encoding"] + took["pool, encoding"]
    after = took["codes"] + took["features, reading"] + took["pool, reading"]
    print(f"{run.name}, layer {layer}: {tokens.n_rows:,} tokens, d_model {reader.d_model}, {sae.cfg.d_sae:,} features")
    print("\n".join(f"{what}: {value:.1f} s" for what, value in took.items()))
    print(f"all, over features and pool encoding for themselves: {after / before:.2f} ({after:.1f} of {before:.1f} s)")


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of one go."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
