"""Stage layers on a small run of the real pipeline: the same bytes again, also after a stop half way."""

import shutil

import pyarrow.parquet as pq
import pytest

from core.run import Run
from precompute.context import StageContext
from precompute.stages import layers

NAMES = ("probes.parquet", "lens.parquet", "emergence.parquet")


@pytest.fixture(scope="module")
def copy(small_run, tmp_path_factory):
    target = tmp_path_factory.mktemp("layers") / "small"
    shutil.copytree(small_run, target, ignore=shutil.ignore_patterns("saes", "thumbs", *NAMES))
    return Run(target)


def bytes_of(dir):
    return [(dir / name).read_bytes() for name in NAMES]


def test_a_stop_half_way_ends_in_the_same_bytes(small_run, copy, tmp_path):
    class Stopped(Exception):
        pass

    def stop(done, total, unit, message):
        if done == total // 2:
            raise Stopped

    ctx = StageContext(copy, copy.config(), tmp_path / "work", on_progress=stop)
    ctx.work_dir.mkdir()
    with pytest.raises(Stopped):
        layers.run(ctx)
    made = sorted(p.name for p in ctx.work_dir.glob("*.parquet"))
    assert made and not any((copy.dir / name).exists() for name in NAMES)
    times = {p.name: p.stat().st_mtime_ns for p in ctx.work_dir.glob("*.parquet")}
    layers.run(StageContext(copy, copy.config(), ctx.work_dir))
    assert all((ctx.work_dir / name).stat().st_mtime_ns == times[name] for name in made)  # nothing twice
    assert bytes_of(copy.dir) == bytes_of(small_run)


def test_it_says_something_or_why_not_for_every_place_and_language(small_run):
    probes = pq.read_table(small_run / "probes.parquet").to_pylist()
    lens = pq.read_table(small_run / "lens.parquet").to_pylist()
    assert {(r["view"], r["lang"]) for r in probes} >= {(v, c) for v in ("image", "before") for c in ("en", "ar")}
    for row, value in [(r, r["value"]) for r in probes] + [(r, r["auc"]) for r in lens]:
        assert (value == value) != bool(row["why"]), row  # NaN is not equal to itself
    assert {r["layer"] for r in lens} == {3, 5, 7} and all(r["recorded"] == (r["layer"] < 7) for r in lens)
