"""Stage mechanisms on a small run of the real pipeline: the same bytes again, also after a stop half way."""

import math
import shutil

import pyarrow.parquet as pq
import pytest

from core.mech.tables import TABLES
from core.run import Run
from precompute.context import StageContext
from precompute.stages import mechanisms

NAMES = tuple(f"{name}.parquet" for name in TABLES)


@pytest.fixture(scope="module")
def copy(small_run, tmp_path_factory):
    target = tmp_path_factory.mktemp("mechanisms") / "small"
    shutil.copytree(small_run, target, ignore=shutil.ignore_patterns("thumbs", *NAMES))
    return Run(target)


def test_a_stop_half_way_ends_in_the_same_bytes(small_run, copy, tmp_path):
    class Stopped(Exception):
        pass

    def stop(done, total, unit, message):
        if done == total // 2:
            raise Stopped

    ctx = StageContext(copy, copy.config(), tmp_path / "work", on_progress=stop)
    ctx.work_dir.mkdir()
    with pytest.raises(Stopped):
        mechanisms.run(ctx)
    made = sorted(p.name for p in ctx.work_dir.glob("*.parquet"))
    assert made and not any((copy.dir / name).exists() for name in NAMES)
    times = {p.name: p.stat().st_mtime_ns for p in ctx.work_dir.glob("*.parquet")}
    mechanisms.run(StageContext(copy, copy.config(), ctx.work_dir))
    assert all((ctx.work_dir / name).stat().st_mtime_ns == times[name] for name in made)  # nothing twice
    for name in NAMES:
        assert (copy.dir / name).read_bytes() == (small_run / name).read_bytes(), name


def test_shares_add_up_and_every_number_is_there_or_has_a_reason(small_run):
    rows = pq.read_table(small_run / "head_effects.parquet").to_pylist()
    for lang in ("en", "ar"):
        mine = [r for r in rows if r["lang"] == lang]
        assert all((r["effect"] is None) == bool(r["why"]) for r in mine)
        if not mine[0]["why"]:
            whole = next(r["effect"] for r in mine if r["part"] == "all")
            assert math.isclose(sum(r["effect"] for r in mine if r["part"] != "all"), whole, abs_tol=1e-3)
    checks = pq.read_table(small_run / "patching_checks.parquet").to_pylist()
    assert all((r["r"] is None) == bool(r["why"]) for r in checks)
