"""Reading a folder and a CSV: encodings, references, names that lead astray, and content identity."""

import csv
import io
import os
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from core.config import SamplesConfig
from core.errors import UserError
from core.samples.checks import Dropped
from core.samples.encodings import decode_table
from core.samples.pictures import locate
from core.samples.sources import digest, load, split

ROWS = [
    ("a.png", "A man with a dog.", "رجل مع كلب."),
    ("a.png", "He has a dog.", "هو مع كلب."),
    ("b.png", "A woman, with a “cat”.", "امرأة مع قطة."),
    ("sub/c.png", "She is a doctor.", "هي طبيبة."),
]


def table(rows, header=("image", "en_caption", "ar_caption"), delimiter=",") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images" / "sub").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.png", "sub/c.png")):
        Image.new("RGB", (40, 30), (i * 60, 100, 200)).save(tmp_path / "images" / name)
    (tmp_path / "t.csv").write_text(table(ROWS), encoding="utf-8")
    return tmp_path


def config(folder, **more) -> SamplesConfig:
    return replace(
        SamplesConfig(source="folder", n=0, images=str(folder / "images"), captions=str(folder / "t.csv")), **more
    )


def test_rows_of_one_image_are_its_references(folder):
    samples = load(config(folder), 0)
    assert [s.image_id for s in samples] == ["a", "b", "c"]
    assert samples[0].captions == {"en": [ROWS[0][1], ROWS[1][1]], "ar": [ROWS[0][2], ROWS[1][2]]}
    assert samples[2].open().getpixel((0, 0)) == (120, 100, 200)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1256"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encodings_and_delimiters_are_recognised(folder, encoding, delimiter):
    (folder / "t.csv").write_bytes(table(ROWS, delimiter=delimiter).encode(encoding))
    assert load(config(folder), 0)[0].captions["ar"] == ["رجل مع كلب.", "هو مع كلب."]


@pytest.mark.parametrize(
    "data",
    [
        "El señor niño".encode("latin-1"),
        "Strauß, Müßiggang, Ärger".encode("mac_roman"),
        "رجل مع كلب على خلفية".encode("iso8859-6"),
        "Привет мир".encode("cp1251"),
        b"\xff\xfea",
    ],
)
def test_other_encodings_are_refused_with_a_hint(data):
    with pytest.raises(UserError) as e:
        decode_table(b"image,en,ar\n" + data if not data.startswith(b"\xff") else data, "t.csv")
    assert "UTF-8" in e.value.do


def test_missing_columns_are_named_with_those_there_are(folder):
    (folder / "t.csv").write_text("file;english;arabic\na.png;x;y\n", encoding="utf-8")
    with pytest.raises(UserError) as e:
        load(config(folder), 0)
    assert "image, en_caption, ar_caption" in e.value.what and "file, english, arabic" in e.value.why
    named = config(folder, image_column="file", en_column="english", ar_column="arabic")
    assert load(named, 0)[0].captions == {"en": ["x"], "ar": ["y"]}


@pytest.mark.parametrize("change", [{"images": "no/such/folder"}, {"captions": "no/such.csv"}])
def test_missing_places_are_said(folder, change):
    with pytest.raises(UserError, match="There is no"):
        load(config(folder, **change), 0)


def test_gender_annotations(folder):
    rows = [
        ("a.png", "x", "س", "M"),
        ("a.png", "y", "ص", ""),
        ("b.png", "x", "س", "امرأة"),
        ("b.png", "y", "ص", "man"),
        ("sub/c.png", "x", "س", "purple"),
    ]
    (folder / "t.csv").write_text(table(rows, ("image", "en_caption", "ar_caption", "g")), encoding="utf-8")
    samples = load(config(folder, gender_column="g"), 0)
    assert [s.gender for s in samples] == ["male", "", ""]
    assert "different" in samples[1].notes[0] and "purple" in samples[2].notes[0]


def test_n_takes_a_random_but_fixed_choice_in_the_tables_order(folder):
    rows = [(f"{i}.png", "A man.", "رجل.") for i in range(50)]
    (folder / "t.csv").write_text(table(rows), encoding="utf-8")
    first, again, other = (load(config(folder, n=10), seed) for seed in (0, 0, 1))
    names = [int(s.image_id) for s in first]
    assert len(names) == 10 and names == sorted(names) and names != list(range(10))
    assert [s.image_id for s in again] == [s.image_id for s in first] != [s.image_id for s in other]


def test_equal_stems_keep_their_whole_names(folder):
    shutil.copy(folder / "images" / "b.png", folder / "images" / "sub" / "a.png")
    (folder / "t.csv").write_text(table([("a.png", "x", "س"), ("sub\\a.png", "y", "ص")]), encoding="utf-8")
    samples = load(config(folder), 0)
    assert [s.image_id for s in samples] == ["a.png", "sub/a.png"]
    assert samples[1].open().size == (40, 30)


@pytest.mark.parametrize(
    "name, reason",
    [
        ("../secret.png", "outside"),
        ("/etc/passwd", "outside"),
        ("sub/../../secret.png", "outside"),
        ("C:/x.png", "outside"),
        ("link.png", "outside"),
        ("linked/secret.png", "outside"),
        ("loop", "missing"),
        ("sub", "missing"),
        ("no.png", "missing"),
        ("", "missing"),
        ("x" * 300, "missing"),
        ("a\0.png", "outside"),
        ("pipe", "missing"),
    ],
)
def test_names_that_lead_out_of_the_folder_or_nowhere_are_refused(folder, name, reason):
    images = folder / "images"
    Image.new("RGB", (40, 40)).save(folder / "secret.png")
    (images / "link.png").symlink_to(folder / "secret.png")
    (images / "linked").symlink_to(folder)
    (images / "loop").symlink_to(images / "loop")
    os.mkfifo(images / "pipe")
    with pytest.raises(Dropped) as e:
        locate(images, name)
    assert e.value.reason == reason


def test_a_link_inside_the_folder_and_an_odd_unicode_form_are_fine(folder):
    (folder / "images" / "inner.png").symlink_to(folder / "images" / "a.png")
    assert locate(folder / "images", "inner.png").name == "a.png"
    Image.new("RGB", (40, 40)).save(folder / "images" / "café.png")
    assert locate(folder / "images", "cafe\u0301.png").is_file()


def test_digest_knows_content_and_nothing_else(folder, tmp_path):
    before = digest(config(folder))
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder / "images", moved / "images")
    shutil.copy(folder / "t.csv", moved / "t.csv")
    os.utime(moved / "images" / "a.png", (0, 0))
    assert digest(config(moved)) == before
    Image.new("RGB", (40, 30), (9, 9, 9)).save(folder / "images" / "a.png")
    changed = digest(config(folder))
    (folder / "images" / "a.png").unlink()
    assert len({before, changed, digest(config(folder))}) == 3
    assert digest(SamplesConfig()) == digest(SamplesConfig()) != before


def test_split_is_by_content_not_by_order():
    contents = [f"image {i}" for i in range(200)]
    sides = dict(zip(contents, split(contents, 0, 0.2), strict=True))
    assert list(sides.values()).count("test") == 40
    shuffled = contents[::-1]
    assert dict(zip(shuffled, split(shuffled, 0, 0.2), strict=True)) == sides
    assert split(contents, 1, 0.2) != split(contents, 0, 0.2)


def test_split_keeps_copies_together_and_both_sides_filled():
    contents = ["a", "b", "c", "d"] * 5
    sides = split(contents, 0, 0.3)
    assert all(len({s for c, s in zip(contents, sides, strict=True) if c == x}) == 1 for x in "abcd")
    assert set(split(["a", "b"], 0, 0.01)) == set(split(["a", "b"], 0, 0.9)) == {"train", "test"}
    assert split(["a"], 0, 0.5) == ["train"] and split([], 0, 0.5) == []
