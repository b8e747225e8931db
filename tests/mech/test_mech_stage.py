"""Stage mechanisms on a small run of the real pipeline: the same bytes again, also after a stop half way."""

import math

import pyarrow.parquet as pq

from core.mech.tables import TABLES
from precompute.stages import mechanisms
from tests.toy_stages import file_bytes, stopped_half_way

NAMES = tuple(f"{name}.parquet" for name in TABLES)


def test_a_stop_half_way_ends_in_the_same_bytes(small_run, tmp_path):
    again = stopped_half_way(mechanisms, small_run, tmp_path, NAMES)
    assert file_bytes(again, *NAMES) == file_bytes(small_run, *NAMES)


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


def test_exchanged_image_tokens_are_the_whole_effect_where_they_enter(small_run):
    rows = pq.read_table(small_run / "image_exchange.parquet").to_pylist()
    assert {r["lang"] for r in rows} == {"en", "ar"}
    assert all((r["share"] is None) == bool(r["why"]) for r in rows)
    for row in rows:
        if row["site"] == "projector" and row["change"] == "all" and not row["why"]:
            assert math.isclose(row["share"], 1, abs_tol=1e-9)
