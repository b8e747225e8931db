"""Queries of what the model says of features, and of the grid: exact settings only, turns of whole captions."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import UserError
from core.run import write_table
from core.run.reader import Catalog
from tests.toy_explain import add_toy_explain, write_doses
from tests.toy_run import make_toy_run

BEFORE, AFTER = {"en": "A man here.", "ar": "رجل هنا"}, {"en": "A woman here.", "ar": "رجل هنا"}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    run = make_toy_run(tmp_path_factory.mktemp("explain") / "demo", n_samples=12, d_sae=16)
    add_toy_explain(run.dir)
    write_doses(run.dir, 4, ["3:0:2", "1:2:1"], BEFORE, AFTER)
    return run.dir


def test_explanations_of_one_feature_english_first_and_the_chosen_ones_alone(run_dir):
    cat = Catalog(run_dir)
    rows = cat.explanations(3, 0)
    assert rows[["lang", "strength"]].to_numpy().tolist() == [["en", 1.0], ["en", 2.0], ["ar", 1.0], ["ar", 2.0]]
    chosen = cat.explanations(3, chosen=True)
    assert set(chosen["strength"]) == {1.0} and chosen["feature"].nunique() * 2 == len(chosen)
    assert cat.explanations(3, 15).empty, "a dead feature is not asked about"


def test_only_exactly_the_setting_is_answered(run_dir):
    cat = Catalog(run_dir)
    assert cat.doses(4, "3:0:2")["text"].tolist() == list(AFTER.values())
    assert cat.doses(4, "")["text"].tolist() == list(BEFORE.values())
    assert cat.doses(4, "3:0:1.9").empty and cat.doses(5, "3:0:2").empty and cat.doses(4, "3:0:2' OR '1'='1").empty


def test_turns_are_of_finished_captions_that_name_the_other_gender(run_dir):
    turns = Catalog(run_dir).dose_turns().set_index("layer")
    assert turns["turned"].to_dict() == {1: 0.5, 3: 0.5} and turns["n"].to_dict() == {1: 2, 3: 2}
    table = pq.read_table(run_dir / "doses.parquet")
    unfinished = table.set_column(table.schema.get_field_index("finished"), "finished", pa.array([False] * len(table)))
    write_table(run_dir / "doses.parquet", unfinished)
    assert Catalog(run_dir).dose_turns()["turned"].tolist() == [0, 0]


def test_a_table_of_another_sae_is_refused(run_dir):
    table = pq.read_table(run_dir / "explanations.parquet")
    other = table.set_column(2, "sae_id", pa.array(["f" * 16] * len(table)))
    write_table(run_dir / "explanations.parquet", other)
    with pytest.raises(UserError, match="other SAEs"):
        Catalog(run_dir).explanations(3, 0)
