"""Stage layers on a small run of the real pipeline: the same bytes again, also after a stop half way."""

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pyarrow.parquet as pq

from core.config import load_config
from core.run import Run
from precompute.stages import layers
from tests.toy_stages import file_bytes, stopped_half_way

NAMES = ("probes.parquet", "lens.parquet", "emergence.parquet", "caption_lens.parquet", "lens_fit.parquet")


def test_a_stop_half_way_ends_in_the_same_bytes(small_run, tmp_path):
    again = stopped_half_way(layers, small_run, tmp_path, NAMES, "saes")
    assert file_bytes(again, *NAMES) == file_bytes(small_run, *NAMES)


def test_it_says_something_or_why_not_for_every_place_and_language(small_run):
    probes = pq.read_table(small_run / "probes.parquet").to_pylist()
    lens = pq.read_table(small_run / "lens.parquet").to_pylist()
    assert {(r["view"], r["lang"]) for r in probes} >= {
        (v, c) for v in ("tower", "projector", "image", "before") for c in ("en", "ar")
    }
    for row, value in [(r, r["value"]) for r in probes] + [(r, r["auc"]) for r in lens]:
        assert (value == value) != bool(row["why"]), row  # NaN is not equal to itself
    assert {r["layer"] for r in lens} == {3, 5, 7} and all(r["recorded"] == (r["layer"] < 7) for r in lens)


def test_a_run_without_annotations_has_a_control_task_with_shared_types(small_run):
    run = Run(small_run)
    images = [row | {"attributes": ""} for row in run.images().to_dict("records") if row["gender"] != "neutral"]
    types = layers.control_types(cast(Any, SimpleNamespace(run=run, config=load_config("demo"))), images)
    counts = Counter(types.names)
    assert types.source == "words" and len(counts) >= 10 and max(counts.values()) < len(images) / 3
    assert min(n for name, n in counts.items() if name) >= 5
