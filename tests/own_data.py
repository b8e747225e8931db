"""A small set of photos with captions in every form that a user's own data may have, with every fault among them.

``make_set(folder, form)`` writes one and says how it is to be named in settings. Twelve pictures are good; the faults
are a broken, a thin, a doubled, a missing and an outside image, doubled rows, an image without Arabic, a caption whose
letters were lost, and rows in mixed encodings where the form is text.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

ROLES = (("doctor", "طبيب", "طبيبة"), ("teacher", "معلم", "معلمة"), ("farmer", "مزارع", "مزارعة"))
GOOD = 12
FAULTS = {"unreadable": "broken", "too_small": "thin", "duplicate": "again", "missing": "gone", "outside": "secret"}


@dataclass(frozen=True)
class Row:
    """One line of the set: an image's name, its captions and annotations; "" where there is none."""

    image: str
    en: str
    ar: str
    gender: str = ""
    role: str = ""


@dataclass
class OwnSet:
    """Where a set lies: settings of [samples] that read it, and arguments of ``init`` that look at it."""

    form: str
    settings: dict[str, object]
    init: list[str]
    faults: dict[str, list[str]] = field(default_factory=dict)  # reasons and ids of images that must be dropped

    def sets(self) -> list[str]:
        """The settings as ``--set`` takes them."""
        return [f"samples.{k}={json.dumps(v) if isinstance(v, list) else v}" for k, v in self.settings.items()]


def picture(number: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture unlike every other one."""
    image = Image.new("RGB", size, (20 * number % 256, 255 - 18 * number % 256, 90 + 7 * number % 128))
    ImageDraw.Draw(image).ellipse((8, 6, 20 + number, 30 + number), fill=(250, 240, 200))
    return image


def rows() -> list[Row]:
    """Two references an image; the sixth image has an Arabic one with lost letters, the seventh none in Arabic."""
    found = []
    for i in range(GOOD):
        en, male, female = ROLES[i % 3]
        is_male = i // 3 % 2 == 0
        ar, pronoun = (male, "He") if is_male else (female, "She")
        person, gender = ("man", "male") if is_male else ("woman", "female")
        name = f"{i:02d}.png" if i % 2 else f"part/{i:02d}.png"
        found.append(Row(name, f"A {person} who is a {en}, outside.", f"{ar} في الخارج", gender, en))
        found.append(Row(name, f"{pronoun} works as a {en}.", f"صورة {ar}", gender, en))
    found.append(found[0])  # a doubled row
    found.append(Row("05.png", "A person.", "???? ?? ???", "", "farmer"))
    names = ("broken.png", "thin.png", "again.png", "gone.png", "../secret.png")
    found += [Row(name, "A person outside.", "شخص في الخارج") for name in names]
    return [*found, Row("lonely.png", "A woman alone.", "")]


def files() -> dict[str, bytes]:
    """The image files by name, broken ones among them."""
    found = {}
    for i in range(GOOD):
        found[f"{i:02d}.png" if i % 2 else f"part/{i:02d}.png"] = png(picture(i))
    found["broken.png"] = png(picture(20))[:90]
    found["thin.png"] = png(picture(21, (200, 9)))
    found["again.png"] = found["01.png"]
    found["lonely.png"] = png(picture(22))
    return found


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def write_images(folder: Path, named: dict[str, bytes] | None = None) -> Path:
    """The image files in a folder, and a picture beside it that must not be read."""
    for name, data in (named or files()).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder.parent / "secret.png").write_bytes(png(picture(30)))
    return folder


def write_zip(path: Path, named: dict[str, bytes] | None = None, top: str = "photos/") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (named or files()).items():
            archive.writestr(top + name, data)
    return path


def write_tar(path: Path, named: dict[str, bytes] | None = None, top: str = "photos/") -> Path:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in (named or files()).items():
            info = tarfile.TarInfo(top + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(packed.getvalue()) if path.suffix == ".gz" else packed.getvalue())
    return path


def write_csv(path: Path, listed: list[Row], encoding: str = "utf-8", delimiter: str = ",") -> Path:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(("image", "en_caption", "ar_caption", "gender", "job"))
    writer.writerows((r.image, r.en, r.ar, r.gender, r.role) for r in listed)
    path.write_bytes(out.getvalue().encode(encoding))
    return path


TABLE = {"gender_column": "gender", "attribute_columns": ["role=job"]}


def make_set(folder: Path, form: str) -> OwnSet:
    """Write the set in one form into a folder that is empty or not there; see FORMS."""
    folder.mkdir(parents=True, exist_ok=True)
    made = _MAKERS[form](folder, form)
    made.settings = {"n": 0, **made.settings}
    made.faults = made.faults or {**{reason: [name] for reason, name in FAULTS.items()}, "unpaired": ["lonely"]}
    return made


def _own(form: str, images: Path | None, captions: Path, more: dict[str, object] | None = None) -> OwnSet:
    places = {"images": str(images) if images else "", "captions": str(captions)}
    arguments = [*(["--images", str(images)] if images else []), "--captions", str(captions)]
    return OwnSet(form, {"source": "folder", **places, **(TABLE if more is None else more)}, arguments)


def _text(folder: Path, form: str) -> OwnSet:
    encoding, delimiter, name = {
        "csv": ("utf-8", ",", "c.csv"),
        "csv-utf16": ("utf-16", ";", "c.csv"),
        "csv-cp1256": ("cp1256", ";", "c.csv"),
        "tsv-bom": ("utf-8-sig", "\t", "c.tsv"),
    }[form]
    return _own(form, write_images(folder / "images"), write_csv(folder / name, rows(), encoding, delimiter))


def _archived(folder: Path, form: str) -> OwnSet:
    write = write_zip if form == "zip" else write_tar
    return _own(form, write(folder / f"images.{form}"), write_csv(folder / "c.csv", rows()))


def _jsonl(folder: Path, form: str) -> OwnSet:
    """One line an image, with lists of captions."""
    path = folder / "c.jsonl"
    lines = [
        {
            "image": name,
            "en": [r.en for r in mine],
            "ar": [r.ar for r in mine],
            "gender": mine[0].gender,
            "job": mine[0].role,
            "box": {"x": 1},
        }
        for name, mine in by_image().items()
    ]
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    return _own(form, write_images(folder / "images"), path, {**TABLE, "en_column": "en", "ar_column": "ar"})


def by_image() -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows():
        found.setdefault(row.image, []).append(row)
    return found


def _columns(listed: list[Row]) -> dict[str, list[str]]:
    return {
        "en_caption": [r.en for r in listed],
        "ar_caption": [r.ar for r in listed],
        "gender": [r.gender for r in listed],
        "job": [r.role for r in listed],
    }


def _parquet(folder: Path, form: str) -> OwnSet:
    path = folder / "c.parquet"
    pq.write_table(pa.table({"image": [r.image for r in rows()], **_columns(rows())}), path)
    return _own(form, write_images(folder / "images"), path)


def _parquet_bytes(folder: Path, form: str) -> OwnSet:
    """Images in the table itself: as bytes in two files of a folder, or as {bytes, path} in one."""
    listed, data = [r for r in rows() if r.image != "../secret.png"], files()
    images = [data.get(r.image) for r in listed]
    if form == "parquet-struct":
        both = [{"bytes": d, "path": r.image.rpartition("/")[2]} for d, r in zip(images, listed, strict=True)]
        cells = pa.array(both, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    else:
        cells = pa.array(images, pa.binary())
    table = pa.table({"image": cells, **_columns(listed)})
    path = folder / ("train.parquet" if form == "parquet-struct" else "train")
    if form == "parquet-struct":
        pq.write_table(table, path, row_group_size=5)
    else:
        path.mkdir()
        pq.write_table(table.slice(0, 9), path / "0000.parquet", row_group_size=4)
        pq.write_table(table.slice(9), path / "0001.parquet")
    made = _own(form, None, path)
    n = {r.image: i for i, r in reversed(list(enumerate(listed)))}
    named = {"unreadable": "broken.png", "too_small": "thin.png", "missing": "gone.png", "unpaired": "lonely.png"}
    made.faults = {
        reason: [Path(name).stem if form == "parquet-struct" else f"row-{n[name]:06d}"]
        for reason, name in named.items()
    }
    return made


def _two_files(folder: Path, form: str) -> OwnSet:
    """English and Arabic in a table each."""
    for lang in ("en", "ar"):
        lines = [("image", f"{lang}_caption"), *((r.image, getattr(r, lang)) for r in rows())]
        with open(folder / f"{lang}.csv", "w", encoding="utf-8-sig" if lang == "ar" else "utf-8", newline="") as file:
            csv.writer(file).writerows(lines)
    return _two(folder, form, "en.csv", "ar.csv", {})


def _coco(folder: Path, form: str) -> OwnSet:
    """Images and annotations, and a second file for Arabic; gender and job are fields of the images."""
    ids = {name: i + 1 for i, name in enumerate(by_image())}
    images = [
        {"id": ids[name], "file_name": name, "gender": mine[0].gender, "job": mine[0].role, "width": 64}
        for name, mine in by_image().items()
    ]
    for lang in ("en", "ar"):
        annotations = [{"id": n, "image_id": ids[r.image], "caption": getattr(r, lang)} for n, r in enumerate(rows())]
        tree = {"info": {}, "images": images, "annotations": annotations}
        (folder / f"captions_{lang}.json").write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")
    return _two(folder, form, "captions_en.json", "captions_ar.json", {"source": "coco", **TABLE})


def _flickr8k(folder: Path, form: str) -> OwnSet:
    """English and Arabic captions as "image#n", a tab and the caption."""
    for name, lang in (("Flickr8k.token.txt", "en"), ("Flickr8k.arabic.full.txt", "ar")):
        lines = [f"{image}#{n}\t{getattr(r, lang)}" for image, mine in by_image().items() for n, r in enumerate(mine)]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return _two(folder, form, "Flickr8k.token.txt", "Flickr8k.arabic.full.txt", {"source": "flickr8k"})


def _two(folder: Path, form: str, english: str, arabic: str, more: dict[str, object]) -> OwnSet:
    second = {"captions_ar": str(folder / arabic)}
    made = _own(form, write_images(folder / "images"), folder / english, {**second, **more})
    made.init += ["--captions-ar", str(folder / arabic)]
    return made


def _dataset(folder: Path, form: str) -> OwnSet:
    """What save_to_disk writes, with two splits; gender is a ClassLabel, Arabic a list."""
    import datasets

    listed, data = [r for r in rows() if r.image != "../secret.png"], files()
    label = datasets.ClassLabel(names=["female", "male"])
    kinds = datasets.Features(
        {
            "image": datasets.Image(),
            "en_caption": datasets.Value("string"),
            "ar_caption": datasets.List(datasets.Value("string")),
            "gender": label,
            "job": datasets.Value("string"),
        }
    )
    columns = {
        **_columns(listed),
        "ar_caption": [[r.ar] for r in listed],
        "image": [
            {"bytes": data[r.image], "path": r.image.rpartition("/")[2]} if r.image in data else None for r in listed
        ],
        "gender": [{"female": 0, "male": 1}.get(r.gender, -1) for r in listed],
    }
    whole = datasets.Dataset.from_dict(columns, features=kinds)
    splits = {"train": whole.select(range(20)), "test": whole.select(range(20, len(whole)))}
    with quiet():
        datasets.DatasetDict(splits).save_to_disk(str(folder / "saved"))
    named = {"source": "dataset", "dataset": str(folder / "saved"), "dataset_split": "train+test", **TABLE}
    gone = next(n for n, r in enumerate(listed) if r.image == "gone.png")
    faults = {"unreadable": ["broken"], "too_small": ["thin"], "missing": [f"row-{gone:06d}"], "unpaired": ["lonely"]}
    return OwnSet(form, named, ["--dataset", str(folder / "saved")], faults)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the bars that the package datasets draws."""
    import datasets

    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


def _visogender(folder: Path, form: str) -> OwnSet:
    """Both tables of the set, its images under their IDX, and Arabic references in a table of their own.

    One image's second Arabic reference has lost its letters; the other faults lie in the kind OP.
    """
    (folder / "tables" / "OO").mkdir(parents=True)
    head = ("IDX", "Sector", "Specialisation", "Occupation", "{}", "URL type (Type NA if can't find)", "LICENSE OK?")
    genders = [r.gender for r in rows() if r.gender][: 2 * GOOD : 2]
    named, listed, arabic = {}, [], []
    for i, gender in enumerate(genders):
        (en, male, female), idx = ROLES[i % 3], f"OO_{i}"
        named[f"{idx}.png"] = png(picture(i))
        perceived = {"male": "masculine", "female": "feminine"}[gender]
        listed.append((idx, "office", "general", en, "desk", "an address", "Yes", perceived, "", "somebody"))
        arabic.append((idx, f"{male if gender == 'male' else female} في الخارج"))
    _tsv(folder / "tables" / "OO" / "OO_Visogender_14082023.tsv", [])  # an older table is passed over
    columns = [*head[:4], "Object", *head[5:], "Occupation_perceived_gender", "Error codes", "Annotator"]
    _tsv(folder / "tables" / "OO" / "OO_Visogender_02102023.tsv", [columns, *listed])
    faults = {"unreadable": "OP_1", "too_small": "OP_2", "duplicate": "OP_3", "missing": "OP_4", "unpaired": "OP_5"}
    given = files()
    for name, idx in zip(("broken.png", "thin.png", "again.png", "", "lonely.png"), faults.values(), strict=True):
        if name:
            named[f"{idx}.png"] = given[name]
        arabic += [] if idx == "OP_5" else [(idx, "شخص في الخارج")]
    columns = [*head[:4], "Participant", *head[5:6], "Licence", "Occupation_Gender", "Participant_Gender", "Annotator"]
    persons = [
        (idx, "medical", "hospital", "doctor", "patient", "an address", "Yes", "man", "woman", "somebody")
        for idx in faults.values()
    ]
    _tsv(folder / "tables" / "OP_Visogender_11012024.tsv", [columns, *persons])
    _tsv(folder / "ar.tsv", [("IDX", "ar_caption"), *arabic, ("OO_5", "???? ?? ???")])
    made = _own(
        form,
        write_images(folder / "images", named),
        folder / "tables",
        {"source": "visogender", "captions_ar": str(folder / "ar.tsv"), "image_column": "IDX"},
    )
    made.init += ["--captions-ar", str(folder / "ar.tsv")]
    made.faults = {reason: [idx] for reason, idx in faults.items()}
    return made


def _tsv(path: Path, lines: list) -> None:
    path.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")


_MAKERS = {
    "csv": _text,
    "csv-utf16": _text,
    "csv-cp1256": _text,
    "tsv-bom": _text,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "two-files": _two_files,
    "zip": _archived,
    "tar": _archived,
    "tar.gz": _archived,
    "parquet-bytes": _parquet_bytes,
    "parquet-struct": _parquet_bytes,
    "coco": _coco,
    "flickr8k": _flickr8k,
    "visogender": _visogender,
    "dataset": _dataset,
}
FORMS = tuple(_MAKERS)
