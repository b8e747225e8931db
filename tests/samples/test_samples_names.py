"""Names of a table and files: found where one file alone can be meant, else refused by name; never guessed."""

import csv
import io
import time
import unicodedata
import zipfile
from dataclasses import replace

import pytest

from core.config import SamplesConfig
from core.samples.checks import HOW, Dropped
from core.samples.names import match_names
from core.samples.pictures import Archived, Folder
from core.samples.sources import count, digest, load
from tests.own_data import picture, png, write_images, write_tar, write_zip


class Names:
    """Files that are names alone."""

    def __init__(self, *files: str):
        self.files = dict.fromkeys(files)
        self.n_listed = 0

    def has(self, name: str) -> bool:
        return name in self.files

    def listed(self):
        self.n_listed += 1
        return iter(self.files)


def found(names: list[str] | str, *files: str) -> list[tuple[str, str]] | tuple[str, str]:
    matches = match_names([names] if isinstance(names, str) else names, Names(*files))
    pairs = [(m.file, m.how or ("exact" if m.file else "ambiguous" if m.problem else "none")) for m in matches.values()]
    return pairs[0] if isinstance(names, str) else pairs


@pytest.mark.parametrize(
    "name, file, how",
    [
        ("0001.jpg", "0001.jpg", "exact"),
        ("0001.jpg", "0001.JPG", "case"),
        ("Sub/A.jpg", "sub/a.JPG", "case"),
        ("cafe\u0301.jpg", "CAFÉ.jpg", "case"),
        ("0001.jpeg", "0001.jpg", "ending"),
        ("0001", "0001.jpg", "ending"),
        ("sub/0001", "sub/0001.png", "ending"),
        ("391895", "COCO_val2014_000000391895.jpg", "number"),
        ("391895", "000000391895.jpg", "number"),
        ("391895.0", "val2017/000000391895.jpg", "number"),
        ("COCO_val2014_000000391895.jpg", "000000391895.jpg", "number"),
        ("1.jpg", "0001.jpg", "number"),
        ("1", "img0001.png", "number"),
        ("img_1", "IMG_0001.jpg", "number"),
        ("C:/Users/someone/images/0001.jpg", "0001.jpg", "path"),
        ("/home/someone/images/train/0001.jpg", "train/0001.jpg", "path"),
        ("http://images.example.org/val2017/0001.jpg?size=3", "0001.jpg", "path"),
        ("images/0001.jpg", "0001.jpg", "path"),
        ("0001.jpg", "train/0001.jpg", "folder"),
        ("val/0001.jpg", "train/0001.jpg", "folder"),
        ("/data/0001", "train/0001.jpg", "ending"),
        ("my%20dog.jpg", "my dog.jpg", "written_as_code"),
        ('"0001.jpg"', "0001.jpg", "written_as_code"),
        ('="0001.jpg"', "0001.jpg", "written_as_code"),
        ("'0001", "0001.jpg", "ending"),
        ("\u202aC:/x/0001.jpg", "0001.jpg", "path"),
        ("0001.jpg#3", "0001.jpg", "written_as_code"),
    ],
)
def test_names_as_tables_write_them(name, file, how):
    assert found(name, file, "other/9999.jpg", "notes.txt") == (file, how)
    assert how == "exact" or how in HOW


@pytest.mark.parametrize(
    "name, files",
    [
        ("0001.jpg", ("train/0001.jpg", "val/0001.jpg")),
        ("test/0001.jpg", ("train/0001.jpg", "val/0001.jpg")),
        ("0001", ("0001.jpg", "0001.png")),
        ("7", ("007.jpg", "img_7.jpg")),
        ("7", ("train_007.jpg", "val_007.jpg")),
        ("A.jpg", ("a.jpg", "a.JPG")),
        ("1.00027E+17", ("100027000000000000.jpg",)),
    ],
)
def test_where_several_files_can_be_meant_none_is_taken(name, files):
    assert found(name, *files) == ("", "ambiguous")
    if len(files) > 1:
        (match,) = match_names([name], Names(*files)).values()
        assert name in match.problem and all(file in match.problem for file in files)


@pytest.mark.parametrize(
    "name",
    [
        "../0001.jpg",
        "sub/../0001.jpg",
        "a\0.jpg",
        "",
        "0002.jpg",
        "0001.jpg.1",
        "a0001",
        "train_0001",
        "/",
        "²",
        "9" * 6000,
    ],
)
def test_names_that_lead_out_or_nowhere_are_not_matched(name):
    assert found(name, "0001.jpg") == ("", "none")


def test_folders_decide_between_files_of_one_name():
    files = ("a/train/1.jpg", "a/val/1.jpg")
    assert found("C:/data/val/1.jpg", *files) == ("a/val/1.jpg", "path") and found("train/1", *files)[0] == files[0]


def test_two_names_that_cannot_be_one_image_are_not_given_one_file():
    assert found(["train/7.jpg", "val/7.jpg"], "train/7.jpg") == [("train/7.jpg", "exact"), ("", "ambiguous")]
    assert found(["a/7.jpg", "b/7.jpg"], "7.jpg") == [("", "ambiguous")] * 2
    assert found(["7.jpg", "7.png"], "7.webp") == [("", "ambiguous")] * 2
    assert found(["train_700000", "val_700000"], "700000.jpg") == [("", "ambiguous")] * 2


def test_two_spellings_of_one_name_are_one_image():
    assert {f for f, _ in found(["7", "007", "0007.jpg", "/x/0007.jpg", "7.0"], "0007.jpg")} == {"0007.jpg"}


def test_files_are_listed_only_where_a_name_is_not_written_as_they_are():
    files = Names("a.jpg", "b.jpg")
    match_names(["a.jpg", "b.jpg"], files)
    assert files.n_listed == 0
    match_names(["a.jpg", "B.jpg", "c"], files)
    assert files.n_listed == 1


def test_every_name_of_a_large_set_is_matched_in_seconds():
    names, files = [str(i) for i in range(40_000)], [f"train/{i:012d}.jpg" for i in range(40_000)]
    start = time.process_time()
    matches = [match.file for match in match_names(names, Names(*files)).values()]
    assert time.process_time() - start < 20, "2 s on an idle core"
    assert matches == files


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_folders_and_archives_are_matched_alike(tmp_path, kind):
    images = {f"part/{i:04d}.PNG": png(picture(i)) for i in range(5)} | {"part/._0001.png": b"", "0001.txt": b""}
    if kind == "folder":
        pictures = Folder(write_images(tmp_path / "images", images))
    else:
        pictures = Archived((write_zip if kind == "zip" else write_tar)(tmp_path / f"a.{kind}", images, "photos/"))
    matches = match_names(["1", "0002.png", "C:/x/part/0003.png", "part/0004.PNG", "9"], pictures)
    assert [m.how for m in matches.values()] == ["number", "folder", "path", "", ""]
    assert [pictures.read(m.file) for m in list(matches.values())[:4]] == list(images.values())[1:5]


def test_an_arabic_name_in_a_zip_that_does_not_say_that_it_is_utf8(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("XXXXXXXX.png", png(picture(1)))
    name = "صورة.png"
    path.write_bytes(path.read_bytes().replace(b"XXXXXXXX.png", name.encode()))
    assert Archived(path).read(name) == png(picture(1))
    assert Archived(path).has(unicodedata.normalize("NFD", name))


def test_a_link_that_leads_out_is_refused_under_every_spelling(tmp_path):
    images = write_images(tmp_path / "images", {"1.png": png(picture(1))})
    (images / "link.png").symlink_to(tmp_path / "secret.png")
    for name in ("link.png", "LINK.png", "link", "/x/link.png"):
        (match,) = match_names([name], Folder(images)).values()
        with pytest.raises(Dropped, match="outside"):
            Folder(images).read(match.file or name)


def table(path, rows) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([("image", "en_caption", "ar_caption"), *rows])
    path.write_text(out.getvalue(), encoding="utf-8")
    return str(path)


@pytest.fixture
def own(tmp_path) -> SamplesConfig:
    """Rows of images in several spellings, one that is ambiguous and one that names none."""
    images = {f"{i:04d}.png": png(picture(i)) for i in range(6)} | {
        "a/x.png": png(picture(8)),
        "b/x.png": png(picture(9)),
    }
    names = ["0", "1.0", "C:\\photos\\0002.png", "0003.PNG", "0004", "0005.png", "x.png", "nan", "0005"]
    captions = table(tmp_path / "t.csv", [(name, f"A man {i}.", "رجل.") for i, name in enumerate(names)])
    return SamplesConfig("folder", 0, images=str(write_images(tmp_path / "images", images)), captions=captions)


def test_samples_have_the_names_of_files_and_how_they_were_found_is_told(own):
    listing = load(own, 0)
    assert [s.image_id for s in listing] == [*(f"{i:04d}" for i in range(6)), "x"]
    assert listing[5].captions["en"] == ["A man 5.", "A man 8."] and listing[1].open().tobytes() == picture(1).tobytes()
    assert {how: [name for name, _ in pairs] for how, pairs in listing.matched.items()} == {
        "number": ["0", "1.0"],
        "path": ["C:/photos/0002.png"],
        "case": ["0003.PNG"],
        "ending": ["0004", "0005"],
    }
    assert [(row.line, row.reason) for row in listing.odd] == [(9, "no_image")]
    with pytest.raises(Dropped) as e:
        listing[6].open()
    assert e.value.reason == "ambiguous" and "a/x.png, b/x.png" in e.value.detail
    assert count(own) == 7


def test_the_digest_knows_the_images_behind_names(own, tmp_path):
    before = digest(own)
    (tmp_path / "images" / "0001.png").write_bytes(png(picture(50)))
    assert digest(own) != before


def test_n_is_drawn_from_images_that_are_there_with_captions_in_all_languages(tmp_path):
    images = write_images(tmp_path / "images", {f"{i:02d}.png": png(picture(i)) for i in range(40)})
    arabic = ["رجل." if i % 2 else ("", "nan", "A man.", "ÃÃ")[i // 2 % 4] for i in range(60)]
    rows = [(f"{i:02d}.png", "A man.", ar) for i, ar in enumerate(arabic)]
    own = SamplesConfig("folder", 12, images=str(images), captions=table(tmp_path / "t.csv", rows))
    listing, again, other = load(own, 0), load(own, 0), load(own, 1)
    drawn = [int(s.image_id) for s in listing]
    assert len(drawn) == 12 and all(i % 2 and i < 40 for i in drawn) and drawn == sorted(drawn)
    assert (
        listing == again != other
        and len(listing.spare) == 8
        and not set(drawn) & {int(s.image_id) for s in listing.spare}
    )
    assert "12 of the other 20 are drawn" in listing.notes[0] and listing.notes[0].startswith("40 of 60 images")
    many = load(replace(own, n=30), 0)
    assert len(many) == 30 and sum(int(s.image_id) % 2 and int(s.image_id) < 40 for s in many) == 20, (
        "the rest shows why"
    )
    assert len(load(replace(own, n=12, languages=("en",)), 0).spare) == 28
