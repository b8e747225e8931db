"""Where samples come from: the demo world, or a folder of images and a CSV of captions.

A source lists what there is and opens it when asked; what is fit for use is decided by ``checks``.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from core.config import PROJECT_ROOT, Config, SamplesConfig
from core.errors import UserError
from core.samples.checks import MAX_BYTES, Dropped, decode_image
from core.samples.demo_world import (
    BACKGROUNDS,
    DATA_DIR,
    LANGUAGES,
    OBJECTS,
    ROLES,
    DemoWorld,
    Scene,
    is_held_out,
)
from core.samples.split import ranked, split

HELD_OUT_TEST_SHARE = 0.1  # of the demo world's test images; training images have none
GENDER_WORDS = {
    "male": "male", "m": "male", "man": "male", "men": "male", "boy": "male", "ذكر": "male", "رجل": "male",
    "female": "female", "f": "female", "woman": "female", "women": "female", "girl": "female", "أنثى": "female",
    "امرأة": "female", "neutral": "neutral", "n": "neutral", "محايد": "neutral",
    "": "", "unknown": "", "none": "", "nan": "", "na": "",
}  # fmt: skip


@dataclass(frozen=True)
class RawSample:
    """One image as its source gives it: captions as written, ``open()`` decodes it or raises checks.Dropped.

    ``split`` is "" where the content of the image is to decide; ``attributes`` is JSON of known truths, or "".
    """

    image_id: str
    captions: dict[str, list[str]]
    open: Callable[[], Image.Image] = field(repr=False, compare=False)
    gender: str = ""
    attributes: str = ""
    split: str = ""
    notes: tuple[str, ...] = ()


def load(config: SamplesConfig, seed: int) -> Sequence[RawSample]:
    """All samples of the configured source, in a fixed order; UserError where it cannot be read."""
    return _demo_world(config, seed) if config.source == "demo-world" else _folder(config, seed)


def digest(config: Config | SamplesConfig) -> str:
    """A hash of what a source's samples are made of: bytes of images and tables, no paths and no times."""
    config = config.samples if isinstance(config, Config) else config
    total = hashlib.sha256(config.source.encode())
    if config.source == "demo-world":
        for name in ("roles.tsv", "objects.tsv", "backgrounds.tsv", "sprites.parquet"):
            total.update(f"\0{name}\0{hashlib.sha256((DATA_DIR / name).read_bytes()).hexdigest()}".encode())
        return total.hexdigest()
    folder, table = _places(config)
    total.update(table.read_bytes())
    for name in _names(_read_rows(config, table), config):
        try:
            with open(locate(folder, name), "rb") as f:
                content = hashlib.file_digest(f, "sha256").hexdigest()
        except Dropped as e:
            content = e.reason
        except OSError:
            content = "unreadable"
        total.update(f"\0{name}\0{content}".encode())
    return total.hexdigest()


# --- the demo world ---------------------------------------------------------------------------------------------------


def _demo_world(config: SamplesConfig, seed: int) -> list[RawSample]:
    """``n`` different scenes; a tenth of the test images, and no other, show a held-out role x object pair."""
    world = DemoWorld(config.planted)
    ids = [f"demo-{seed}-{i:06d}" for i in range(config.n)]
    sides = split(ids, seed, config.test_share)
    test = [i for i, side in zip(ids, sides, strict=True) if side == "test"]
    held_out = set(ranked(test, seed, "held out")[: round(len(test) * HELD_OUT_TEST_SHARE)])
    seen: set[Scene] = set()
    samples = []
    for image_id, side in zip(ids, sides, strict=True):
        rng = random.Random(f"scene {image_id}")
        scene = world.scene(rng, held_out=image_id in held_out)
        while scene in seen:
            scene = world.scene(rng, held_out=image_id in held_out)
        seen.add(scene)
        captions = {c: world.references(scene, c, random.Random(f"{c} {image_id}")) for c in LANGUAGES}
        opener = functools.partial(_rendered, world, scene)
        samples.append(RawSample(image_id, captions, opener, scene.gender, _attributes(world, scene), side))
    return samples


def _rendered(world: DemoWorld, scene: Scene) -> Image.Image:
    return Image.fromarray(np.asarray(world.render(scene)))


def _attributes(world: DemoWorld, scene: Scene) -> str:
    known = {
        "role": ROLES[scene.role].key, "object": OBJECTS[scene.object].key,
        "background": BACKGROUNDS[scene.background].key, "style": scene.style, "tone": scene.tone,
        "p_male_en": world.p_male(scene.role, "en"), "p_male_ar": world.p_male(scene.role, "ar"),
        "held_out": is_held_out(scene.role, scene.object),
    }  # fmt: skip
    return json.dumps(known, ensure_ascii=False)


# --- a folder and a CSV -----------------------------------------------------------------------------------------------


def _folder(config: SamplesConfig, seed: int) -> list[RawSample]:
    """One sample per distinct image of the CSV, in the CSV's order; rows of one image are its references.

    Where ``n`` is less than there are, a random ``n`` of the names is taken, fixed by the seed.
    """
    folder, table = _places(config)
    rows = _read_rows(config, table)
    names = _names(rows, config)
    if 0 < config.n < len(names):
        chosen = set(ranked(names, seed, "choose")[: config.n])
        names = [n for n in names if n in chosen]
    by_name: dict[str, list[dict[str, str]]] = {name: [] for name in names}
    for row in rows:
        if (name := _name(row, config)) in by_name:
            by_name[name].append(row)
    stems = [PurePosixPath(n).stem for n in names]
    n_stems = Counter(stems)
    columns = {"en": config.en_column, "ar": config.ar_column}
    samples = []
    for name, stem in zip(names, stems, strict=True):
        gender, notes = _gender(name, by_name[name], config)
        captions = {lang: [row.get(column) or "" for row in by_name[name]] for lang, column in columns.items()}
        image_id = stem if n_stems[stem] == 1 else name
        samples.append(RawSample(image_id, captions, functools.partial(_read_image, folder, name), gender, notes=notes))
    return samples


def locate(folder: Path, name: str) -> Path:
    """The file that ``name`` means inside ``folder``; Dropped where it leads outside or there is no such file."""
    relative = PurePosixPath(name)
    if not name or relative.is_absolute() or ".." in relative.parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise Dropped("outside" if name else "missing", name)
    root = folder.resolve()
    for form in dict.fromkeys((name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))):
        try:
            path = (root / form).resolve()
            is_file = path.is_file()
        except (OSError, RuntimeError) as e:  # names too long, links in a circle
            raise Dropped("missing", str(e)) from e
        if not path.is_relative_to(root):
            raise Dropped("outside", name)
        if is_file:
            return path
    raise Dropped("missing", name)


def _read_image(folder: Path, name: str) -> Image.Image:
    path = locate(folder, name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Dropped("too_large", f"{path.stat().st_size:,} bytes")
        return decode_image(path.read_bytes())
    except OSError as e:
        raise Dropped("unreadable", e.strerror or "") from e


def _places(config: SamplesConfig) -> tuple[Path, Path]:
    """The image folder and the CSV; relative paths are looked up from the project root."""
    folder, table = (PROJECT_ROOT / Path(p).expanduser() for p in (config.images, config.captions))
    if not folder.is_dir():
        raise UserError(f"There is no image folder {folder}.", "It is the setting samples.images.",
                        "Put the images there, or give the folder: --set samples.images=/your/images")  # fmt: skip
    if not table.is_file():
        raise UserError(f"There is no caption table {table}.", "It is the setting samples.captions.",
                        "Put the CSV there, or give it: --set samples.captions=/your/captions.csv")  # fmt: skip
    return folder, table


def _name(row: dict[str, str], config: SamplesConfig) -> str:
    """The image name of a row: / between folders, no leading ./ ."""
    name = (row.get(config.image_column) or "").strip().replace("\\", "/")
    return str(PurePosixPath(name)) if name else ""


def _names(rows: Sequence[dict[str, str]], config: SamplesConfig) -> list[str]:
    return list(dict.fromkeys(_name(row, config) for row in rows))


def _gender(name: str, rows: Sequence[dict[str, str]], config: SamplesConfig) -> tuple[str, tuple[str, ...]]:
    """The annotated gender of an image, "" where none is given, not understood or contradicted."""
    words = {(row.get(config.gender_column) or "").strip().lower() for row in rows} if config.gender_column else set()
    unknown = sorted(words - GENDER_WORDS.keys())
    found = {GENDER_WORDS[w] for w in words & GENDER_WORDS.keys()} - {""}
    if unknown:
        return "", (f"{name}: the gender {unknown[0]!r} is not male, female or neutral; left open",)
    if len(found) > 1:
        return "", (f"{name}: its rows name different genders; left open",)
    return (found.pop() if found else ""), ()


def _read_rows(config: SamplesConfig, table: Path) -> list[dict[str, str]]:
    """The rows of the CSV; columns are parted by comma, semicolon or tab, whichever finds the named columns."""
    text = decode_table(table.read_bytes(), table.name)
    wanted = [config.image_column, config.en_column, config.ar_column]
    wanted += [config.gender_column] if config.gender_column else []
    columns: list[str] = []
    try:
        for delimiter in ",;\t":
            reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
            names = [(n or "").strip() for n in reader.fieldnames or []]
            if set(wanted) <= set(names):
                reader.fieldnames = names
                return list(_whole(reader))
            columns = max(columns, names, key=len)
    except csv.Error as e:
        raise UserError(f"{table.name} is not a CSV that can be read.", str(e), "Save it again as CSV UTF-8.") from e
    lacking = ", ".join(w for w in wanted if w not in columns)
    raise UserError(f"{table.name} has no column {lacking}.", f"Its columns: {', '.join(columns) or 'none'}.",
                    "Rename them, or name yours: --set samples.en_column=... (image_column, ar_column)")  # fmt: skip


def _whole(reader: csv.DictReader) -> Iterator[dict[str, str]]:
    for row in reader:
        if any(value and value.strip() for key, value in row.items() if key is not None):
            yield {key: value or "" for key, value in row.items() if key is not None}


def decode_table(data: bytes, name: str = "The table") -> str:
    """The text of a table in UTF-8 (with or without BOM), UTF-16 or Windows-1256; UserError for anything else."""
    do = "Save it again as UTF-8 (in Excel: CSV UTF-8)."
    try:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16")
        if b"\0" in data[:4000]:
            return data.decode("utf-16-le" if data[1:4000:2].count(0) >= data[:4000:2].count(0) else "utf-16-be")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        if e.encoding.startswith("utf-16"):
            raise UserError(f"{name} looks like UTF-16 but is damaged.", str(e), do) from e
    text = data.decode("cp1256")
    letters = [c for c in text if ord(c) > 127 and (c.isalpha() or c in "×÷")]
    n_arabic = sum("\u0600" <= c <= "\u06ff" for c in letters)
    if letters and n_arabic >= 0.98 * len(letters):
        return text
    why = "It is neither UTF-8, UTF-16 nor Arabic in Windows-1256; guessing would garble the captions."
    raise UserError(f"{name} is in an encoding that was not recognised.", why, do)
