"""One set in every form that data comes in: the same captions, the same faults named, the same content known."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.config import load_config
from core.errors import UserError
from core.run import Run
from core.samples.checks import Dropped
from core.samples.sources import count, digest, load
from precompute.context import StageContext
from precompute.stages import prepare
from tests.own_data import FORMS, GOOD, make_set, rows


def settings(own, *more):
    return load_config("demo", [*own.sets(), *more])


def prepared(tmp_path: Path, config) -> tuple[list[dict], list[dict], dict]:
    work = tmp_path / "run" / ".work" / "prepare"
    work.mkdir(parents=True)
    prepare.run(StageContext(Run(tmp_path / "run"), config, work))
    tables = [pq.read_table(tmp_path / "run" / f"{n}.parquet").to_pylist() for n in ("samples", "references")]
    return *tables, json.loads((tmp_path / "run" / "prepare_report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_samples_and_names_the_same_faults(tmp_path, form, caplog):
    caplog.set_level(logging.ERROR)
    own = make_set(tmp_path / "set", form)
    samples, references, report = prepared(tmp_path, settings(own))
    assert len(samples) == GOOD
    dropped = {reason: [n["image"] for n in x["named"]] for reason, x in report["images_dropped"].items()}
    assert dropped == own.faults
    texts = [(r["lang"], r["text"]) for r in references if r["sample_id"] == 4]
    if form == "visogender":
        assert texts == [("en", "The teacher and her desk."), ("ar", "معلمة في الخارج")]
    else:
        own_rows = [r for r in rows() if r.image == "part/04.png"]
        assert texts == [("en", r.en) for r in own_rows] + [("ar", r.ar) for r in own_rows]
    assert report["captions_dropped"]["encoding"]["count"] == 1
    if "gender_column" in own.settings or form == "visogender":
        assert [s["gender"] for s in samples] == (["male"] * 3 + ["female"] * 3) * 2
        assert [json.loads(s["attributes"])["role"] for s in samples] == ["doctor", "teacher", "farmer"] * 4


@pytest.mark.parametrize("form", FORMS)
def test_the_digest_knows_the_content_of_every_form_and_not_its_place(tmp_path, form):
    first, second = (make_set(tmp_path / name, form) for name in ("a", "b"))
    before = digest(settings(first))
    assert digest(settings(second)) == before
    change_caption(table_of(first))
    other_caption = digest(settings(first))
    change_image(image_of(second))
    assert len({before, other_caption, digest(settings(second))}) == 3


def table_of(own) -> Path:
    """The file that holds English captions, or what they are made of."""
    path = Path(str(own.settings.get("captions") or own.settings["dataset"]))
    files = [path] if path.is_file() else sorted(path.rglob("*.*"))
    return next(
        p
        for p in files
        if p.suffix == ".parquet" or b"works" in p.read_bytes().replace(b"\0", b"") or b"\tdesk" in p.read_bytes()
    )


def change_caption(file: Path) -> None:
    if file.suffix == ".parquet":
        table = pq.read_table(file)
        other = pa.array(["Another." if i == 4 else x for i, x in enumerate(table["en_caption"].to_pylist())])
        pq.write_table(table.set_column(table.schema.get_field_index("en_caption"), "en_caption", other), file)
        return
    data = file.read_bytes().replace("works".encode("utf-16-le"), "walks".encode("utf-16-le"))
    file.write_bytes(data.replace(b"works", b"walks").replace(b"desk", b"task"))


def image_of(own) -> Path:
    """The file that holds the bytes of a good image."""
    path = Path(str(own.settings.get("images") or own.settings.get("captions") or own.settings["dataset"]))
    files = [path] if path.is_file() else sorted(path.rglob("*.*"))
    return next(p for p in files if p.suffix != ".json" and p.name not in ("broken.png", "thin.png"))


def change_image(file: Path) -> None:
    if file.suffix == ".parquet":
        table = pq.read_table(file)
        pq.write_table(table.slice(1), file)
        return
    data = bytearray(file.read_bytes())
    data[data.index(b"IHDR") if b"IHDR" in data else len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("form", FORMS)
def test_images_are_counted_before_they_are_read(tmp_path, form):
    own = make_set(tmp_path, form)
    n, listed = count(settings(own).samples), len(load(settings(own).samples, 0))
    in_table = form in ("parquet-bytes", "parquet-struct", "dataset")
    assert n == listed or (in_table and n == len(rows()) - 1), "at most: equal images are not known yet"
    assert count(settings(own, "samples.n=3").samples) == 3 == len(load(settings(own, "samples.n=3").samples, 0))


def test_images_in_a_table_are_read_in_any_order(tmp_path):
    own = make_set(tmp_path, "parquet-bytes")
    samples = load(settings(own).samples, 0)
    order = [7, 2, 11, 0, 0, 5, 9, 1, 10, 3]
    seen = [samples[i].open().tobytes() for i in order]
    assert seen == [load(settings(own).samples, 0)[i].open().tobytes() for i in order]
    assert len(set(seen)) == len(set(order))


def test_equal_paths_with_different_bytes_are_different_images(tmp_path):
    own = make_set(tmp_path, "parquet-struct")
    path = Path(own.settings["captions"])
    table = pq.read_table(path)
    images = [{"bytes": x["bytes"], "path": "same.png"} for x in table["image"].to_pylist()]
    field = table.schema.field("image")
    pq.write_table(table.set_column(0, field, pa.array(images, field.type)), path)
    samples = load(settings(own).samples, 0)
    assert len({s.image_id for s in samples}) == len(samples) > GOOD and samples[1].open() != samples[2].open()


def test_columns_may_be_named_by_a_pattern_and_one_language_may_be_absent(tmp_path):
    own = make_set(tmp_path / "own", "csv")
    table = tmp_path / "own" / "many.csv"
    table.write_text("image,caption_0,caption_1\n01.png,A man.,He stands.\n", encoding="utf-8")
    named = replace(
        settings(own).samples,
        captions=str(table),
        en_column="caption_*",
        ar_column="",
        gender_column="",
        attribute_columns=(),
    )
    (sample,) = load(named, 0)
    assert sample.captions == {"en": ["A man.", "He stands."], "ar": []} and sample.attributes == ""


def test_rows_that_are_too_wide_are_left_out_and_said(tmp_path):
    own = make_set(tmp_path / "own", "csv")
    table = tmp_path / "own" / "wide.csv"
    table.write_text("image,en_caption,ar_caption\n01.png,A man, outside,رجل\n03.png,A man,رجل,,\n", encoding="utf-8")
    named = replace(settings(own).samples, captions=str(table), gender_column="", attribute_columns=())
    listing = load(named, 0)
    assert [s.image_id for s in listing] == ["03"]
    assert [(row.line, row.reason) for row in listing.odd] == [(2, "too_many_cells")]


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("c.jsonl", '{"image": "a.png"\n', "line 1"),
        ("c.jsonl", '["a", "b"]', "no JSON object"),
        ("c.json", '{"images": [], "annotations": []}', "COCO"),
        ("c.xlsx", "PK", "no format"),
        ("c.parquet", "PAR1 but no more", "no Parquet"),
        ("c.csv", "image,en_caption\n", "no column ar_caption"),
        ("c.jsonl", '{"image": "a.png", "en_caption": {"a": 1}, "ar_caption": "س"}', "no column en_caption"),
    ],
)
def test_tables_that_cannot_be_read_are_refused_in_three_lines(tmp_path, name, content, says):
    own = make_set(tmp_path / "own", "csv")
    (tmp_path / name).write_text(content, encoding="utf-8")
    bad = replace(settings(own).samples, captions=str(tmp_path / name), gender_column="", attribute_columns=())
    with pytest.raises(UserError, match=says) as e:
        load(bad, 0)
    assert e.value.what and e.value.why and e.value.do


def test_images_neither_in_the_table_nor_beside_it_are_asked_for(tmp_path):
    own = make_set(tmp_path, "parquet")
    with pytest.raises(UserError, match=r"samples\.images is empty"):
        load(replace(settings(own).samples, images=""), 0)
    with pytest.raises(UserError, match="no image folder"):
        load(replace(settings(own).samples, images="no/such"), 0)


def test_an_image_is_only_ever_read_by_a_name_of_the_set(tmp_path):
    own = make_set(tmp_path, "parquet-struct")
    path = Path(own.settings["captions"])
    table = pq.read_table(path)
    field = table.schema.field("image")
    images = [{"bytes": None, "path": "/etc/hostname"}] * len(table)
    pq.write_table(table.set_column(0, field, pa.array(images, field.type)), path)
    with pytest.raises(Dropped, match="missing"):
        load(settings(own).samples, 0)[0].open()


BAD = [("9.png", None), (None, "A man."), ("nan", "A man."), ("1.png", "A dog.")]


@pytest.mark.parametrize("form", ["jsonl", "json", "json-list-that-is-broken", "parquet", "csv"])
def test_a_bad_row_costs_itself_in_every_form(tmp_path, form):
    """Two rows without an image, and, in JSON, one that is no object and one that is cut off."""
    rows = [{"image": name, "en_caption": text} for name, text in BAD]
    lines = [json.dumps(row) for row in rows]
    path = tmp_path / f"c.{form.partition('-')[0]}"
    if form == "parquet":
        texts = pa.array([b"A \xff man", b"A man.", b"A man.", b"A dog."], pa.binary())
        raw = pa.Array.from_buffers(pa.string(), 4, texts.buffers())
        pq.write_table(pa.table({"image": [name for name, _ in BAD], "en_caption": raw}), path)
    elif form == "csv":
        path.write_text("image,en_caption\n9.png,\n,A man.\nnan,A man.\n1.png,A dog.\n", encoding="utf-8")
    elif form == "json":
        path.write_text(json.dumps([*rows[:3], "no object", rows[3]]), encoding="utf-8")
    else:
        broken = [*lines[:3], '{"image": "2.png", "en_caption": "A m', lines[3]]
        text = "\n".join(broken) if form == "jsonl" else "[\n" + ",\n".join(broken) + "\n]"
        path.write_text(text, encoding="utf-8")
    (tmp_path / "images").mkdir()
    config = load_config("demo").samples
    own = replace(config, source="folder", n=0, languages=("en",), images=str(tmp_path / "images"), captions=str(path))
    listing = load(own, 0)
    assert [s.image_id for s in listing] == ["9", "1"] and listing[1].captions["en"] == ["A dog."]
    reasons = sorted(row.reason for row in listing.odd)
    assert reasons == ["no_image", "no_image"] + (["no_json"] if "json" in form else [])
    assert all(row.line and row.file == path.name for row in listing.odd)
    if form == "parquet":
        assert listing[0].captions["en"] == ["A \ufffd man"]
