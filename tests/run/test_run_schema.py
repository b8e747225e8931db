"""A table has one definition: it is checked when it is written, and the file itself says what its columns mean."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import UserError
from core.run import Run
from core.run.schema import FEATURE, ROW_GROUP, table
from core.run.tables import TABLES
from tests.toy_run import make_toy_run

SEEN = table(
    "seen",
    "train",
    "a thing that was seen",
    FEATURE,
    """
    weight: float32 [kg] - what it weighs,
        as it was weighed
    words: list of string - what was said of it
    """,
)
ROW = {"layer": 1, "feature": 2, "sae_id": "ab", "weight": 0.5, "words": ["a"]}


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "mine")


def test_a_line_is_a_column_with_type_unit_and_sentence():
    assert SEEN.names == ["layer", "feature", "sae_id", "weight", "words"]
    weight = SEEN["weight"]
    assert (weight.type, weight.unit, weight.meaning) == ("float32", "kg", "what it weighs, as it was weighed")
    assert weight.tooltip == "What it weighs, as it was weighed (kg)."
    assert SEEN["words"].unit == "" and SEEN["words"].arrow.type == pa.list_(pa.string())


@pytest.mark.parametrize("line", ["weight", "weight: float32", "weight float32 - what it weighs"])
def test_a_line_of_another_form_is_refused(line):
    with pytest.raises(ValueError, match="no column in"):
        table("seen", "train", "a thing", line)


def test_every_column_of_every_table_has_a_sentence_of_its_own():
    for one in TABLES.values():
        meanings = [column.meaning for column in one.columns]
        assert len(set(one.names)) == len(one.names) and one.row and one.stage
        assert all(len(meaning) > 3 for meaning in meanings) and len(set(meanings)) == len(meanings), one.name


def test_what_is_written_says_what_its_columns_mean(run):
    SEEN.write(run, SEEN.of_rows([ROW]).replace_schema_metadata({"n_patches": "16"}))
    schema = pq.read_schema(run.path("seen.parquet"))
    assert schema.metadata == {b"row": b"a thing that was seen", b"n_patches": b"16"}
    assert schema.field("weight").metadata == {b"unit": b"kg", b"meaning": b"what it weighs, as it was weighed"}
    assert run.table("seen").to_pylist() == [ROW]


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.drop_columns(["words"]),
        lambda t: t.append_column("more", [["x"]]),
        lambda t: t.set_column(3, "weight", pa.array([0.5], pa.float64())),
        lambda t: t.select(["feature", "layer", "sae_id", "weight", "words"]),
    ],
    ids=["lacking", "further", "type", "order"],
)
def test_a_table_with_other_columns_is_not_written(run, change):
    with pytest.raises(ValueError, match="differs from its schema"):
        SEEN.write(run, change(SEEN.of_rows([ROW])))
    assert not run.has("seen")


def test_rows_and_frames_become_the_table():
    assert SEEN.of_rows([{"layer": 1}]).to_pylist() == [dict.fromkeys(SEEN.names) | {"layer": 1}]
    with pytest.raises(ValueError, match="no column height"):
        SEEN.of_rows([ROW | {"height": 2.0}])
    frame = SEEN.of_rows([ROW]).to_pandas().assign(height=2.0)
    assert SEEN.of_frame(frame).schema.equals(SEEN.arrow)
    with pytest.raises(KeyError, match="words"):
        SEEN.of_frame(frame.drop(columns="words"))


def test_parts_are_one_table_in_small_row_groups(run):
    parts = [SEEN.of_rows([ROW | {"feature": i} for i in range(start, start + 1500)]) for start in (0, 1500, 3000)]
    assert SEEN.write_parts(run, parts) == 4500
    assert run.table("seen", ["feature"])["feature"].to_pylist() == list(range(4500))
    file = pq.ParquetFile(run.path("seen.parquet"))
    assert [file.metadata.row_group(i).num_rows for i in range(3)] == [ROW_GROUP, ROW_GROUP, 500]


def test_a_table_is_read_by_name_and_a_lack_is_named(tmp_path):
    run = make_toy_run(tmp_path / "half", stages=("prepare", "caption", "activations"))
    assert run.table("captions", ["lang", "sample_id"]).column_names == ["lang", "sample_id"]
    assert len(run.table("tokens")) and run.has("tokens") and not run.has("features")
    with pytest.raises(UserError, match="no table features"):
        run.table("features")
    with pytest.raises(UserError, match="no column colour"):
        run.table("captions", ["colour"])
    run.path("captions.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        run.table("captions")


def test_an_image_has_the_gender_that_its_words_tell_and_keeps_its_annotation(tmp_path):
    run = make_toy_run(tmp_path / "toy", n_samples=4, stages=("prepare",))
    annotated = run.table("samples")["gender"].to_pylist()
    rows = [{"sample_id": i, "gender": gender} for i, gender in ((2, "male"), (0, "female"), (1, "neutral"))]
    TABLES["genders"].write(run, TABLES["genders"].of_rows(rows))
    images = run.images()
    assert images["sample_id"].tolist() == [0, 1, 2, 3]
    assert images["gender"].tolist() == ["female", "neutral", "male", "unknown"]
    assert images["gender_annotated"].tolist() == annotated


def test_a_table_without_the_sentences_is_read_as_well(run):
    run.dir.mkdir()
    pq.write_table(SEEN.of_rows([ROW]).replace_schema_metadata(None), run.path("seen.parquet"))
    assert run.table("seen").to_pylist() == [ROW]
