"""What a source lists: images with their captions as written, all rows of one image gathered to one sample."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from PIL import Image

from core.config import LANGUAGES, SamplesConfig
from core.errors import UserError
from core.samples.pictures import Pictures, open_picture
from core.samples.split import ranked

GENDER_WORDS = {
    "male": "male",
    "m": "male",
    "man": "male",
    "men": "male",
    "boy": "male",
    "masculine": "male",
    "ذكر": "male",
    "رجل": "male",
    "مذكر": "male",
    "female": "female",
    "f": "female",
    "woman": "female",
    "women": "female",
    "girl": "female",
    "feminine": "female",
    "أنثى": "female",
    "امرأة": "female",
    "مؤنث": "female",
    "neutral": "neutral",
    "n": "neutral",
    "محايد": "neutral",
    "": "",
    "unknown": "",
    "unsure": "",
    "none": "",
    "nan": "",
    "na": "",
}


@dataclass(frozen=True)
class RawSample:
    """One image as its source gives it: captions as written, ``open()`` decodes it or raises checks.Dropped.

    ``captions`` has a list for each language, empty where the source has none in it. ``split`` is "" where the content
    of the image is to decide; ``attributes`` is JSON of known truths, or "".
    """

    image_id: str
    captions: dict[str, list[str]]
    open: Callable[[], Image.Image] = field(repr=False, compare=False)
    gender: str = ""
    attributes: str = ""
    split: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One row about one image: its name, captions by language, the word for its gender, attributes by name."""

    name: str
    captions: dict[str, list[str]]
    gender: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


class Listing(list[RawSample]):
    """The samples of a source in a fixed order, notes on the whole of it, and what a report records of its origin."""

    def __init__(self, samples: Iterable[RawSample], notes: Sequence[str] = (), origin: dict[str, str] | None = None):
        super().__init__(samples)
        self.notes, self.origin = list(notes), dict(origin or {})


@dataclass
class Source:
    """A source that was found: where its images lie, its rows, and the files (or a name) that stand for its content.

    ``entries`` may be called more than once; it may read all images where they stand in a table. ``n`` is how many
    images there are at most, where that is known without reading the rows.
    """

    pictures: Pictures
    entries: Callable[[], Iterable[Entry]]
    files: tuple[Path, ...] = ()
    content: str = ""
    n: int | None = None
    is_far: bool = False  # reading the rows may take a network
    notes: list[str] = field(default_factory=list)
    origin: dict[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """The names of all images, each once, in the order of the rows."""
        return list(dict.fromkeys(entry.name for entry in self.entries()))

    def count(self) -> int:
        """How many images there are at most."""
        return len(self.names()) if self.n is None else self.n

    def digest(self, kind: str) -> str:
        """A hash of what the samples are made of: bytes of tables and images, no paths and no times."""
        total = hashlib.sha256(f"{kind}\0{self.content}".encode())
        for path in self.files:
            total.update(f"\0{file_hash(path)}".encode())
        self.pictures.add_to(total, self.names)
        return total.hexdigest()


def file_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def gather(source: Source, config: SamplesConfig, seed: int) -> Listing:
    """One sample per distinct image, in the order of its first row; rows of one image are its references.

    Where ``n`` is less than there are, a random ``n`` of the names is taken, fixed by the seed.
    """
    by_name: dict[str, list[Entry]] = {}
    for entry in source.entries():
        by_name.setdefault(entry.name, []).append(entry)
    names = list(by_name)
    if 0 < config.n < len(names):
        chosen = set(ranked(names, seed, "choose")[: config.n])
        names = [name for name in names if name in chosen]
    n_stems = Counter(PurePosixPath(name).stem for name in names)
    samples = []
    for name in names:
        rows, stem = by_name[name], PurePosixPath(name).stem
        gender, notes = _gender(name, rows)
        captions = {lang: [text for row in rows for text in row.captions.get(lang, ())] for lang in LANGUAGES}
        image_id = stem if n_stems[stem] == 1 else name
        opener = functools.partial(open_picture, source.pictures, name)
        samples.append(RawSample(image_id, captions, opener, gender, _attributes(rows), notes=notes))
    return Listing(samples, source.notes + source.pictures.notes(), source.origin)


def _gender(name: str, rows: Sequence[Entry]) -> tuple[str, tuple[str, ...]]:
    """The annotated gender of an image, "" where none is given, not understood or contradicted."""
    words = {row.gender.strip().lower() for row in rows}
    unknown = sorted(words - GENDER_WORDS.keys())
    found = {GENDER_WORDS[w] for w in words & GENDER_WORDS.keys()} - {""}
    if unknown:
        return "", (f"{name}: the gender {unknown[0]!r} is not male, female or neutral; left open",)
    if len(found) > 1:
        return "", (f"{name}: its rows name different genders; left open",)
    return (found.pop() if found else ""), ()


def _attributes(rows: Sequence[Entry]) -> str:
    """JSON of the first value that the rows of an image give to each attribute, or ""."""
    known: dict[str, str] = {}
    for row in rows:
        for name, value in row.attributes.items():
            if value and name not in known:
                known[name] = value
    return json.dumps(known, ensure_ascii=False) if known else ""


def caption_columns(config: SamplesConfig) -> dict[str, str]:
    """The column of each language; "" where the table has none in it, or the run leaves the language out."""
    return {lang: getattr(config, f"{lang}_column") if lang in config.languages else "" for lang in LANGUAGES}


def languages_of_files(config: SamplesConfig) -> tuple[str, ...]:
    """The languages of ``captions`` and, where it is read, of ``captions_ar``, of sets with one language a file.

    UserError where the run is to be in both languages and only one file is named.
    """
    if "ar" not in config.languages:
        return ("en",)
    if config.captions_ar:
        return ("en", "ar")
    if config.languages == ("ar",):
        return ("ar",)
    do = "Give the file: --set samples.captions_ar=..., or do without: --set samples.languages=en"
    raise UserError("There are no Arabic captions.", "The setting samples.captions_ar is empty.", do)


def attribute_columns(config: SamplesConfig) -> Iterator[tuple[str, str]]:
    """Pairs of an attribute's name and its column, from ``samples.attribute_columns`` (column, or name=column)."""
    for given in config.attribute_columns:
        name, equals, column = given.partition("=")
        yield name.strip(), (column if equals else name).strip()
