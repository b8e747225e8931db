"""Looks at a user's data: what form it has, what its columns are, how many images and captions, and what is wrong."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.config import LANGUAGES, PROJECT_ROOT, SamplesConfig
from core.config.reading import TEXT_TABLES
from core.config.sections import LANGUAGE_NAME
from core.errors import UserError
from core.samples.checks import Dropped, Report, caption_problem, clean_caption, script
from core.samples.coco import coco_captions, image_fields
from core.samples.flickr8k import TOKEN
from core.samples.folder import table_place
from core.samples.hf_dataset import data_set_table
from core.samples.pictures import Archived, Folder, Pictures, pictures_at, place
from core.samples.sources import Listing, RawSample, gather, source_of
from core.samples.tables import is_parquet, read_table, read_text
from core.samples.visogender import COLUMNS as VISOGENDER
from core.words.captions import caption_gender, decides, find
from precompute.commands.init.columns import Roles, guess

N_OPENED = 100  # images that are decoded to look at them
N_READ = 2000  # captions a language whose gendered words are counted
N_FIRST = 300  # captions by which the language of a file is told
MIN_PAIRED = 4


@dataclass
class Words:
    """Captions of one language: how many, of how many images, what is wrong with some, and their gendered words."""

    n: int
    n_images: int
    per_image: tuple[int, int, int]  # least, middle, most
    problems: Counter[str]
    genders: Counter[str]
    words: Counter[str]
    has: list[bool] = field(repr=False)  # by image


@dataclass
class Seen:
    """All that ``init`` has found out; ``settings`` are those of [samples]."""

    settings: dict[str, Any]
    roles: Roles | None
    n_images: int
    n_missing: int
    n_opened: int
    bad: Counter[str]
    sizes: list[tuple[int, int]]
    words: dict[str, Words]
    n_paired: int
    genders: Counter[str]
    encodings: dict[str, str]
    remarks: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)  # what is said of rows that are left out or odd
    names: list[str] = field(default_factory=list)  # and of names that the table writes otherwise than the files

    @property
    def languages(self) -> tuple[str, ...]:
        return self.settings["languages"]


def see(images: str, captions: str, captions_ar: str, dataset: str, revision: str) -> Seen:
    """Read everything once, open some images; UserError where there is nothing to make a run of."""
    settings, roles = recognise(images, captions, captions_ar, dataset, revision)
    config = replace(SamplesConfig(), n=0, **settings)
    source = source_of(config)
    listing = gather(source, config, 0)
    words = {lang: _words(listing, lang) for lang in config.languages}
    remarks = [*(roles.remarks if roles else []), *listing.notes[:5]]
    settings["languages"], n_paired = _languages(listing, words, remarks)
    if not listing or n_paired < MIN_PAIRED:
        tried = "; ".join([*remarks, *(f"{n} captions: {p}" for w in words.values() for p, n in w.problems.items())])
        raise UserError(
            f"Only {n_paired} of {len(listing)} images have captions that can be used.",
            tried[:600],
            f"At least {MIN_PAIRED} are needed; mend the table, or give another one.",
        )
    report = Report()
    report.add_rows(listing.odd)
    report.add_matched(listing.matched)
    in_table = source.n is not None or source.is_far
    absent = [] if in_table else [name for name in source.names() if not source.pictures.has(name)]
    if len(absent) == len(listing):
        raise UserError(
            f"None of the {len(listing):,} images is in {images}.",
            f"Names of the table: {', '.join(absent[:2])}; what is there: {_some(source.pictures)}.",
            "Give the folder or archive in which these names are: --images ...",
        )
    opened = listing[:: max(1, len(listing) // N_OPENED)][:N_OPENED]
    bad, sizes = _opened(opened)
    if not sizes:
        remarks.append("None of the images that were opened can be read.")
    encodings = {p.name: read_text(p)[1] for p in source.files if p.suffix.lower() in TEXT_TABLES}
    return Seen(
        settings,
        roles,
        len(listing),
        len(absent),
        len(opened),
        bad,
        sizes,
        words,
        n_paired,
        Counter(s.gender for s in listing),
        encodings,
        remarks,
        report.row_lines(),
        report.matched_lines(),
    )


# --- what form it has -------------------------------------------------------------------------------------------------


def recognise(
    images: str, captions: str, captions_ar: str, dataset: str, revision: str
) -> tuple[dict[str, Any], Roles | None]:
    """Settings of [samples] that read the data, by the form of the files, and the columns where it is a table."""
    if dataset:
        return _dataset(dataset, revision)
    if not captions:
        raise UserError(
            "There are no captions to look at.",
            "Neither --captions nor --dataset was given.",
            "Give a table, a COCO or Flickr8k file, or a data set of Hugging Face.",
        )
    path = _here(captions)
    if not path.exists():
        table_place("captions", str(path))  # which says so
    places = {"images": _setting(images), "captions": _setting(captions), "captions_ar": _setting(captions_ar)}
    places = {key: value for key, value in places.items() if value}
    source = _named_set(path, bool(captions_ar))
    if source:
        languages = LANGUAGES if captions_ar else _only_language(path, source)
        settings = {"source": source, "languages": languages, **places}
        if source == "visogender":
            return {**settings, "image_column": "IDX"}, None
        if source == "coco":
            roles = guess(image_fields(path), None)
            roles.captions, roles.remarks = dict.fromkeys(LANGUAGES, ""), []
            return {**settings, "gender_column": roles.gender, "attribute_columns": tuple(roles.attributes)}, roles
        return settings, None
    pictures = pictures_at(str(_here(images))) if images else None
    table = read_table(path)
    roles = guess(table, pictures)
    if captions_ar:
        arabic = read_table(table_place("captions_ar", str(_here(captions_ar))))
        second = guess(arabic, pictures)
        roles.captions["ar"] = second.captions["ar"]
        roles.remarks += second.remarks
        if second.image != roles.image:
            raise UserError(
                "The two tables name images in columns of different names.",
                f"{roles.image or 'none'} in {path.name}, {second.image or 'none'} in the Arabic one.",
                "Give both columns the same name.",
            )
    if not roles.image:
        raise UserError(
            f"No column of {path.name} names images.",
            f"Its columns: {', '.join(table.columns) or 'none'}. Looked for names of image files.",
            "Add a column with the file names (0001.jpg), as they are in --images.",
        )
    return {"source": "folder", **places, **_columns(roles)}, roles


def _named_set(path: Path, has_second: bool) -> str:
    """coco, flickr8k or visogender, where the file is in that form; else ""."""
    if path.is_dir() and not is_parquet(path):
        return "visogender" if any(path.rglob("O[OP]_*.tsv")) else ""
    if not path.is_file() or path.suffix.lower() not in TEXT_TABLES:
        return ""
    text, _ = read_text(path)
    first = text.lstrip("\ufeff \r\n").split("\n", 1)[0].rstrip("\r")
    if set(VISOGENDER) <= set(first.split("\t")):
        return "visogender"
    is_captions_txt = first == "image,caption" and (path.name == "captions.txt" or has_second)
    if TOKEN.fullmatch(first) or is_captions_txt:
        return "flickr8k"
    if path.suffix.lower() == ".json":
        tree = json.loads(text) if text.lstrip().startswith("{") and '"images"' in text else {}
        return "coco" if "images" in tree else ""
    return ""


def _only_language(path: Path, source: str) -> tuple[str, ...]:
    """The language of a named set's only file of captions, by the script of its first ones."""
    if source == "coco":
        texts = list(itertools.islice(coco_captions(path), N_FIRST))
    else:
        lines = read_text(path)[0].split("\n")[:N_FIRST] if path.is_file() else ()
        texts = [match[2] for line in lines if (match := TOKEN.fullmatch(line.rstrip("\r")))]
    is_arabic = sum(script(clean_caption(text)) == "ar" for text in texts) > len(texts) / 2
    return ("ar",) if is_arabic else ("en",)


def _dataset(dataset: str, revision: str) -> tuple[dict[str, Any], Roles]:
    """Settings of a data set of Hugging Face; all splits of a directory are read."""
    is_here = _here(dataset).is_dir()
    settings: dict[str, Any] = {"source": "dataset", "dataset": _setting(dataset) if is_here else dataset}
    if revision:
        settings["dataset_revision"] = revision
    splits = _here(dataset) / "dataset_dict.json"
    if splits.is_file():
        settings["dataset_split"] = "+".join(json.loads(splits.read_text(encoding="utf-8")).get("splits", []))
    table = data_set_table(replace(SamplesConfig(), n=0, **settings))
    roles = guess(table, None)
    if not table.pictures:
        raise UserError(
            f"No column of {dataset} holds images.",
            f"Its columns: {', '.join(table.columns)}.",
            "Give another data set, or its images as a folder with a table.",
        )
    return {**settings, **_columns(roles)}, roles


def _columns(roles: Roles) -> dict[str, Any]:
    return {
        "languages": tuple(lang for lang in LANGUAGES if roles.captions[lang]) or LANGUAGES,
        "image_column": roles.image,
        "en_column": roles.captions["en"],
        "ar_column": roles.captions["ar"],
        "gender_column": roles.gender,
        "areas_column": roles.areas,
        "attribute_columns": tuple(roles.attributes),
    }


def _here(value: str) -> Path:
    """A place as it is meant on the command line: from the current folder, else from the project root."""
    path = Path(value).expanduser()
    return path.resolve() if path.exists() else place(value)


def _setting(value: str) -> str:
    """The same as a preset writes it: from the project root where it lies inside, else absolute."""
    if not value:
        return ""
    path = _here(value)
    return path.relative_to(PROJECT_ROOT).as_posix() if path.is_relative_to(PROJECT_ROOT) else str(path)


# --- what is in it ----------------------------------------------------------------------------------------------------


def _words(listing: Sequence[RawSample], lang: str) -> Words:
    per_image, problems, usable = [], Counter(), []
    for sample in listing:
        texts = [clean_caption(text) for text in sample.captions[lang]]
        found = [caption_problem(text, lang) for text in texts]
        problems.update(p for p in found if p)
        good = [text for text, problem in zip(texts, found, strict=True) if not problem]
        usable += good
        per_image.append(len(dict.fromkeys(good)))
    counts = sorted(n for n in per_image if n) or [0]
    genders, words = Counter(), Counter()
    for text in usable[:: max(1, len(usable) // N_READ)][:N_READ]:
        hits = find(text, lang)
        genders[caption_gender(hits)] += 1
        words.update({h.word.casefold() for h in hits if decides(h) and h.gender in ("male", "female")})
    middle = (counts[0], counts[len(counts) // 2], counts[-1])
    has = [n > 0 for n in per_image]
    return Words(len(usable), sum(has), middle, problems, genders, words, has)


def _languages(listing: Listing, words: dict[str, Words], remarks: list[str]) -> tuple[tuple[str, ...], int]:
    """The languages that a run should be in, and how many images have usable captions in them."""
    lacking = [lang for lang, found in words.items() if not found.n]
    kept = tuple(lang for lang in words if lang not in lacking)
    for lang in lacking:
        remarks.append(f"No {LANGUAGE_NAME[lang]} caption can be used: the run is in one language.")
    if len(kept) < 2:
        return kept or tuple(words), words[kept[0]].n_images if kept else 0
    n_both = sum(map(all, zip(*(words[lang].has for lang in kept), strict=True)))
    most = max(kept, key=lambda lang: words[lang].n_images)
    if n_both < MIN_PAIRED <= words[most].n_images:
        remarks.append(f"Only {n_both} images have captions in both languages: the run is in {LANGUAGE_NAME[most]}.")
        return (most,), words[most].n_images
    if n_both < len(listing):
        n = len(listing) - n_both
        lack = "image lacks" if n == 1 else "images lack"
        remarks.append(
            f'{n:,} {lack} captions in one language and will be left out; to use more: languages = ["{most}"].'
        )
    return kept, n_both


def _some(pictures: Pictures) -> str:
    """A few names of a folder or an archive."""
    names = iter(())
    if isinstance(pictures, Folder):
        names = (path.relative_to(pictures.folder).as_posix() for path in pictures.folder.rglob("*") if path.is_file())
    elif isinstance(pictures, Archived):
        names = iter(pictures.archive.members)
    return ", ".join(itertools.islice(names, 2)) or "nothing"


def _opened(samples: Sequence[RawSample]) -> tuple[Counter[str], list[tuple[int, int]]]:
    bad, sizes = Counter(), []
    for sample in samples:
        try:
            sizes.append(sample.open().size)
        except Dropped as e:
            bad[e.reason] += 1
    return bad, sizes
