"""How long the pages of what fires take: python tests/bench/bench_firing.py [--features 163840]

A made-up run: 2,000 images with a caption in each language, 256 image tokens, 64 features of each token, stored codes;
beside it the same with 1,536 features. Told are medians over places and images that were not visited before: the page
of an image opened, a patch and a word chosen on it, two images compared, women and men of a word compared; and the
features of a word alone, ranked. In milliseconds of this machine, and as shares of the small run's.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from core.features.firing import firing, strongest, usual  # noqa: E402
from core.features.token_codes import ROWS_PER_PART, RowCodes, part_path, write_part  # noqa: E402
from core.run import Run  # noqa: E402
from core.run.tables import TABLES  # noqa: E402
from tests.toy_run import add_record, make_toy_run  # noqa: E402

LAYER, N_IMAGES, SHOWN, K, GRID, WORDS = 1, 2000, 120, 64, 16, 24
LENGTH = 1 + GRID * GRID + 14 + WORDS  # BOS, patches, question, caption


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=163_840)
    n_features = parser.parse_args().features
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CAPTIONSCOPE_CACHE"] = cache
        small, large = (measured(make(Path(cache) / f"run{n}", n)) for n in (1536, n_features))
    print(f"\n{N_IMAGES:,} images x 2 captions, {K} features of each token; medians\n")
    print(f"| what | {n_features:,} features, ms | over 1,536 features |\n|---|---|---|")
    for what in small:
        print(f"| {what} | {1000 * large[what]:.0f} | {large[what] / small[what]:.2f} |")


def make(folder: Path, n_features: int) -> Run:
    """The run; codes are written for the first SHOWN images, which are the ones visited."""
    rng = np.random.default_rng(0)
    run = make_toy_run(folder, n_samples=SHOWN, layers=(LAYER,))
    sae_id = run.table("saes", ["sae_id"])["sae_id"][0].as_py()
    widen(run, rng, n_features, sae_id)
    n_rows = 2 * SHOWN * LENGTH
    for number, first in enumerate(range(0, n_rows, ROWS_PER_PART)):
        rows = min(ROWS_PER_PART, n_rows - first)
        feature = np.sort(popular(rng, n_features, rows * K).reshape(rows, K), 1)
        value = rng.gamma(2, 1, rows * K).astype(np.float32)
        path = part_path(run.dir, LAYER, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_part(path, RowCodes(np.repeat(np.arange(rows), K), feature.ravel(), value), rows, n_features, sae_id)
    pool(run, rng, n_features, sae_id)
    add_record(run, "pool", 1)
    return run


def popular(rng: np.random.Generator, n_features: int, n: int) -> np.ndarray:
    """Features by Zipf's law, as those of SAEs are: few fire often."""
    return (n_features ** rng.random(n)).astype(np.int32) - 1


def widen(run: Run, rng: np.random.Generator, n: int, sae_id: str) -> None:
    """Tables of the size that is asked for."""
    kinds = ["bos", *["image"] * GRID**2, *["prompt"] * 14, *["caption"] * WORDS]
    patches = [-1, *range(GRID**2), *[-1] * (14 + WORDS)]
    n_sequences = 2 * N_IMAGES
    tokens = pd.DataFrame(
        {
            "row": np.arange(n_sequences * LENGTH),
            "sample_id": np.repeat(np.arange(N_IMAGES), 2 * LENGTH),
            "lang": np.tile(np.repeat(["en", "ar"], LENGTH), N_IMAGES),
            "position": np.tile(np.arange(LENGTH), n_sequences),
            "kind": np.tile(kinds, n_sequences),
            "token_id": 5,
            "patch": np.tile(patches, n_sequences),
            "split": "train",
        }
    )
    write(run, "tokens", tokens)
    features = pd.DataFrame({"layer": LAYER, "feature": np.arange(n), "sae_id": sae_id, "alive": True, "n_active": 50})
    for name in run.table("features").schema.names:
        if name.startswith(("usual", "spread", "token_spread", "density", "mean", "std", "max", "p999", "explained")):
            features[name] = rng.gamma(1, 0.01, n)
    features["max"] = rng.gamma(9, 1, n)
    features["top_tokens"] = [["▁woman", "▁امرأة"]] * n
    write(run, "features", features)
    saes = run.table("saes").to_pandas().assign(d_sae=n)
    write(run, "saes", saes)
    words = ["▁word"] * WORDS
    pieces = pd.DataFrame([{"sample_id": i, "lang": g, "pieces": words} for i in range(N_IMAGES) for g in ("en", "ar")])
    write(run, "pieces", pieces)


def write(run: Run, name: str, frame: pd.DataFrame) -> None:
    table = TABLES[name]
    lacking = {c: pd.Series([None] * len(frame), dtype=object) for c in table.names if c not in frame}
    table.write(run, table.of_frame(frame.assign(**lacking)[table.names]))


def pool(run: Run, rng: np.random.Generator, n: int, sae_id: str) -> None:
    """Means by caption: 2,500 features of each."""
    n_captions, fires, tensors = 2 * N_IMAGES, min(2500, n // 2), {}
    for view in ("image", "caption"):
        caption = np.repeat(np.arange(n_captions, dtype=np.int32), fires)
        feature = popular(rng, n, n_captions * fires)
        pairs = np.unique(feature.astype(np.int64) * n_captions + caption)
        feature, caption = pairs // n_captions, (pairs % n_captions).astype(np.int32)
        tensors[f"n.{view}"] = np.full(n_captions, 9, np.int32)
        tensors[f"resid.{view}"] = np.zeros((n_captions, 2), np.float32)
        tensors[f"indptr.{view}"] = np.concatenate([[0], np.cumsum(np.bincount(feature, minlength=n))])
        tensors |= {f"indices.{view}": caption, f"data.{view}": rng.gamma(1, 0.1, len(pairs)).astype(np.float32)}
    run.path("pooled").mkdir(exist_ok=True)
    save_file(tensors, run.path("pooled", f"layer_{LAYER:02d}.safetensors"), metadata={"sae_id": sae_id})


def measured(run: Run) -> dict[str, float]:
    """Median seconds of each view of a run."""
    from streamlit.testing.v1 import AppTest

    def page(script: str, **state: str) -> AppTest:
        at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
        at.query_params.update({"run": run.name, **state})
        at.switch_page(script).run()
        assert not at.exception, [e.message for e in at.exception]
        return at

    def again(visit: AppTest, **state: str) -> None:
        visit.query_params.update(state)
        visit.run()
        assert not visit.exception, [e.message for e in visit.exception]

    image, by = page("pages/look/samples.py", sample="0"), page("pages/features/compare.py", these="0", those="1")
    how = "Men and women"
    word = page("pages/features/compare.py", how=how, word="with")
    known = usual(run, LAYER)
    some = [firing(run, LAYER, i, "en") for i in range(40, 50)]
    one = iter(range(1, SHOWN))
    place = iter(range(SHOWN))
    pair = iter(range(2, SHOWN))
    said = iter(["a", "and", "on", "is", "the", "his", "her", "background", "next", "to"])

    def at_word() -> None:
        fired = some[next(place) % len(some)]
        strongest(fired, known, tokens=[int(fired.of_view("caption")[3])])

    views: dict[str, Callable[[], object]] = {
        "the features of a word, ranked": at_word,
        "an image opened": lambda: again(image, sample=str(next(one))),
        "a patch of it chosen": lambda: again(image, at=f"image:{next(place)}"),
        "a word of it chosen": lambda: again(image, at=f"ar:{next(place) % WORDS}"),
        "two images compared": lambda: compared(by, next(pair)),
        "women and men of a word compared": lambda: word.text_input(key="word").set_value(next(said)).run(),
    }
    return {what: median(view) for what, view in views.items()}


def compared(at: object, first: int) -> None:
    at.text_input(key="these").set_value(str(first)).run()  # pyright: ignore[reportAttributeAccessIssue]


def median(view: Callable[[], object], n: int = 9) -> float:
    times = []
    for _ in range(n):
        began = time.perf_counter()
        view()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


if __name__ == "__main__":
    main()
