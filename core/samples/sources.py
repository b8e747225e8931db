"""Where samples come from: the protocol of sources, the choice among them, and the gathering of rows to samples.

A source lists what there is and opens an image when asked; what is fit for use is decided by ``checks``. Every source
is one module, loaded by its name alone, so that a run depends on the code of its own source only.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from core.config import LANGUAGES, Config, SamplesConfig
from core.errors import UserError
from core.samples.areas import Areas
from core.samples.checks import Dropped, caption_problem, clean_caption, is_placeholder
from core.samples.names import Match, match_names
from core.samples.pictures import Pictures, open_picture
from core.samples.rows import OddRow

if TYPE_CHECKING:
    import pandas as pd

SOURCES = {
    "demo-world": "core.demo.source:DemoSource",
    "folder": "core.samples.folder:folder_source",
    "coco": "core.samples.coco:coco_source",
    "dataset": "core.samples.hf_dataset:dataset_source",
    "flickr8k": "core.samples.flickr8k:flickr8k_source",
    "visogender": "core.samples.visogender:visogender_source",
}
"""Name of a source (samples.source) and what opens it, as "module:function"; called with the settings of samples."""
IMPORTED_BY_NAME = "core.samples.sources:imported"  # which of them a run imports

GENDER_WORDS = {
    word: gender
    for gender, words in {
        "male": "male m man men boy masculine ذكر رجل مذكر",
        "female": "female f woman women girl feminine أنثى امرأة مؤنث",
        "neutral": "neutral n محايد",
        "": "unknown unsure none nan na",
    }.items()
    for word in words.split()
} | {"": ""}


@dataclass(frozen=True)
class RawSample:
    """One image as its source gives it: captions as written, ``open()`` decodes it or raises checks.Dropped.

    ``captions`` has a list for each language, empty where the source has none in it. ``split`` is "" where the content
    of the image is to decide; ``attributes`` is JSON of known truths, or ""; ``areas`` says where on it what is known.
    """

    image_id: str
    captions: dict[str, list[str]]
    open: Callable[[], Image.Image] = field(repr=False, compare=False)
    gender: str = ""
    attributes: str = ""
    split: str = ""
    notes: tuple[str, ...] = ()
    areas: Areas | None = None


class Listing(list[RawSample]):
    """The samples of a source in a fixed order, and what a report says of the whole: notes, origin, rows, names."""

    def __init__(self, samples: Iterable[RawSample], notes: Sequence[str] = (), origin: dict[str, str] | None = None):
        super().__init__(samples)
        self.notes, self.origin = list(notes), dict(origin or {})
        self.spare: list[RawSample] = []  # what takes the place of drawn images that turn out to be of no use, in order
        self.odd: list[OddRow] = []  # rows that were left out, or read with a remark
        self.matched: dict[str, list[tuple[str, str]]] = {}  # names and files by how they were matched, checks.HOW


class Source(Protocol):
    """What every source does; a class that also is a ``Knowledge`` tells what its images show."""

    is_far: bool  # whether listing its samples may take a network

    def load(self, config: SamplesConfig, seed: int) -> Listing:
        """All samples, in a fixed order; UserError where they cannot be read."""
        ...

    def count(self) -> int:
        """How many images there are at most."""
        ...

    def digest(self, kind: str) -> str:
        """A hash of what the samples are made of, in which ``kind``, the source's name, counts."""
        ...


@dataclass(frozen=True)
class FreshImage:
    """A new image of known content: the gender it shows, its attributes as JSON, and ``draw()``, which makes it."""

    gender: str
    attributes: str
    draw: Callable[[], Image.Image] = field(repr=False, compare=False)


class Knowledge:
    """What a source may know of its images beyond their samples. This one knows nothing, as most sources do.

    A source that knows is a class that inherits from this one, takes the settings of samples, and overrides what it can
    answer; opening it must read no file.
    """

    makes_images = False  # whether ``fresh`` has images to give
    world_name = ""  # what its images are scenes of, such as "the demo world"; "" for images of the user's own
    looks_like = ""  # its images in a sentence
    image_bytes = 0.0  # what a stored image takes, where that is known before there is one; else 0
    planted: bool | None = None  # whether a bias was put into its captions; None where nobody knows

    def __init__(self, config: SamplesConfig | None = None):
        del config  # of which one that knows nothing needs nothing

    def fresh(self, samples: pd.DataFrame, n: int, seed: int) -> list[FreshImage]:
        """``n`` new images, none of which shows what a sample (rows of samples.parquet) shows; fixed by the seed."""
        return []

    def shown(self, gender: str, attributes: str) -> Mapping[str, str] | None:
        """Gender, role and object of an image with this gender and these attributes (JSON), where they are known."""
        return None

    def said(self, text: str, lang: str) -> Mapping[str, str | None]:
        """Gender, role and object that a caption names, None for what it does not; asked where ``shown`` knows."""
        return {}

    def thing(self, attributes: str, lang: str) -> str:
        """The word for the object that an image with these attributes (JSON) shows, or "" where it is not known."""
        return ""


def load(config: SamplesConfig, seed: int) -> Listing:
    """All samples of the configured source, in a fixed order; UserError where it cannot be read."""
    return source_of(config).load(config, seed)


def digest(config: Config | SamplesConfig) -> str:
    """A hash of what a source's samples are made of: bytes of images and tables, no paths and no times."""
    config = config.samples if isinstance(config, Config) else config
    return source_of(config).digest(config.source)


def count(config: SamplesConfig) -> int | None:
    """How many images there will be at most; None where the source is not there (yet)."""
    try:
        source = source_of(config)
        n = 0 if source.is_far else source.count()
    except UserError:  # what is missing is said by the plan, whose digest meets the same error
        return config.n or None
    return min(n, config.n) if n and config.n else n or config.n or None


def source_of(config: SamplesConfig) -> Any:
    """The source that the settings name, a ``Source``; UserError where it is not there or not whole."""
    return _opener(config.source)(config)


def knowledge(config: SamplesConfig) -> Knowledge:
    """What the configured source knows of its images. The source need not be there any more."""
    kind = _opener(config.source)
    return kind(config) if isinstance(kind, type) and issubclass(kind, Knowledge) else Knowledge()


def imported(config: Config) -> set[str]:
    """The modules that opening the run's source may import."""
    return {SOURCES[config.samples.source].partition(":")[0]}


def _opener(source: str) -> Callable[[SamplesConfig], Any]:
    module, _, name = SOURCES[source].partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Entry:
    """One row about one image: its name, captions by language, the word for its gender, attributes by name, areas."""

    name: str
    captions: dict[str, list[str]]
    gender: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    areas: Areas | None = None


@dataclass
class TableSource:
    """A source of rows about images: where the images lie, the rows, and the files (or a name) that stand for both.

    ``entries`` may read all images where they stand in a table, and adds rows that it leaves out to the lists ``odd``.
    ``n`` is how many images there are at most, where that is known without reading the rows.
    """

    pictures: Pictures
    entries: Callable[[], Iterable[Entry]]
    files: tuple[Path, ...] = ()
    content: str = ""
    n: int | None = None
    is_far: bool = False  # reading the rows may take a network
    notes: list[str] = field(default_factory=list)
    origin: dict[str, str] = field(default_factory=dict)
    odd: Sequence[list[OddRow]] = ()
    matches: dict[str, Match] = field(default_factory=dict, init=False)

    @functools.cached_property
    def listed(self) -> list[Entry]:
        """All entries, under the names of the files that they mean."""
        found = list(self.entries())
        self.matches = match_names((entry.name for entry in found), self.pictures)
        return [replace(e, name=self.matches[e.name].file or e.name) for e in found]

    def names(self) -> list[str]:
        """The names of all images, each once, in the order of the rows."""
        return list(dict.fromkeys(entry.name for entry in self.listed))

    def count(self) -> int:
        """How many images there are at most."""
        return len(self.names()) if self.n is None else self.n

    def load(self, config: SamplesConfig, seed: int) -> Listing:
        """All samples, see ``gather``."""
        return gather(self, config, seed)

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


def gather(source: TableSource, config: SamplesConfig, seed: int) -> Listing:
    """One sample per distinct image, in the order of its first row; rows of one image are its references.

    Where ``n`` is less than there are, ``n`` of the names are drawn, fixed by the seed, from those whose image is there
    and has a usable caption in every language of the run; the others of these are ``spare``.
    """
    by_name: dict[str, list[Entry]] = {}
    for entry in source.listed:
        by_name.setdefault(entry.name, []).append(entry)
    names, spare, notes = list(by_name), [], [*source.notes]
    if 0 < config.n < len(names):
        order = ranked(names, seed, "choose")
        paired = [name for name in order if _is_paired(by_name[name], source.pictures, config.languages)]
        if lacking := len(order) - len(paired):
            notes.append(
                f"{lacking:,} of {len(order):,} images lack a file or a caption in a language of the run; "
                f"{min(config.n, len(paired)):,} of the other {len(paired):,} are drawn"
            )
        is_in = set(paired)
        pool = (
            paired if len(paired) >= config.n else [*paired, *(name for name in order if name not in is_in)][: config.n]
        )
        drawn, spare = set(pool[: config.n]), pool[config.n :]
        names = [name for name in names if name in drawn]
    n_stems = Counter(PurePosixPath(name).stem for name in (*names, *spare))
    problems = {name: match.problem for name, match in source.matches.items() if match.problem}

    def sample(name: str) -> RawSample:
        rows, stem = by_name[name], PurePosixPath(name).stem
        gender, notes = _gender(name, rows)
        areas, more = _areas(name, rows)
        captions = {lang: [text for row in rows for text in row.captions.get(lang, ())] for lang in LANGUAGES}
        image_id = stem if n_stems[stem] == 1 else name
        opener = functools.partial(open_picture, source.pictures, name)
        if name in problems:
            opener = functools.partial(_refuse, problems[name])
        return RawSample(image_id, captions, opener, gender, _attributes(rows), "", (*notes, *more), areas)

    found = Listing(map(sample, names), notes + source.pictures.notes(), source.origin)
    found.spare = [sample(name) for name in spare]
    found.odd = list(dict.fromkeys(row for rows in source.odd for row in rows))
    for name, match in source.matches.items():
        if match.how:
            found.matched.setdefault(match.how, []).append((name, match.file))
    return found


def _is_paired(rows: Sequence[Entry], pictures: Pictures, languages: Sequence[str]) -> bool:
    """Whether an image is there and has a caption that can be used in each language; it may still be broken."""
    return pictures.has(rows[0].name) and all(
        any(not caption_problem(clean_caption(text), lang) for row in rows for text in row.captions.get(lang, ()))
        for lang in languages
    )


def _refuse(problem: str) -> Image.Image:
    """In the place of opening an image whose file cannot be told; raises Dropped."""
    raise Dropped("ambiguous", problem)


def _gender(name: str, rows: Sequence[Entry]) -> tuple[str, tuple[str, ...]]:
    """The annotated gender of an image, "" where none is given, not understood or contradicted."""
    words = {"" if is_placeholder(row.gender) else row.gender.strip().lower() for row in rows}
    unknown = sorted(words - GENDER_WORDS.keys())
    found = {GENDER_WORDS[w] for w in words & GENDER_WORDS.keys()} - {""}
    if unknown:
        return "", (f"{name}: the gender {unknown[0]!r} is not male, female or neutral; left open",)
    if len(found) > 1:
        return "", (f"{name}: its rows name different genders; left open",)
    return (found.pop() if found else ""), ()


def _areas(name: str, rows: Sequence[Entry]) -> tuple[Areas | None, tuple[str, ...]]:
    """The areas of an image; none where its rows contradict each other."""
    found = [row.areas for row in rows if row.areas is not None]
    if any(other != found[0] for other in found[1:]):
        return None, (f"{name}: its rows give different areas; left open",)
    return (found[0] if found else None), ()


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


def ranked(contents: Iterable[str], seed: int, salt: str) -> list[str]:
    """The distinct contents in an order that is random but fixed by seed and salt."""
    return sorted(set(contents), key=lambda c: (hashlib.sha256(f"{salt}\0{seed}\0{c}".encode()).digest(), c))


def split(contents: Sequence[str], seed: int, test_share: float) -> list[str]:
    """Train or test for each content hash; equal contents always get the same side.

    ``test_share`` of the distinct contents are test, rounded, and at least one on each side where there are two.
    """
    order = ranked(contents, seed, "split")
    n_test = min(max(round(len(order) * test_share), 1), len(order) - 1)
    test = set(order[:n_test])
    return ["test" if c in test else "train" for c in contents]
