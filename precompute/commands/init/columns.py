"""Which column of a table is what: guessed from the values and their script, and only then from the names."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from core.config.sections import LANGUAGE_NAME
from core.samples.areas import Unusable, read_areas
from core.samples.checks import IMAGE_FILE, MEND_GARBLED, clean_caption, is_placeholder, script
from core.samples.encodings import garbling
from core.samples.names import Match, match_names
from core.samples.pictures import Pictures, picture_name
from core.samples.rows import Cell
from core.samples.sources import GENDER_WORDS
from core.samples.tables import Table

N_ROWS = 600  # that are looked at
N_NAMES = 60  # of a column, by which it is told whether it names images
LEAST_NUMBERS = 0.8  # share of a column's different numbers that must be those of files, for it to name images
MOST_GARBLED = 0.5  # share of a column's cells from which on it holds no language
CAPTION_NAMES = ("caption", "captions", "text", "sentence", "sentences", "description", "raw")
LANGUAGE_NAMES = {"en": ("en", "eng", "english"), "ar": ("ar", "ara", "arabic", "عربي", "العربية")}
ROLE_NAMES = ("role", "occupation", "job", "profession", "activity")
NOT_ABOUT_THE_IMAGE = ("split", "set", "lang", "language", "license", "licence", "source", "annotator", "url", "index")
MOST_VALUES = 60  # of an attribute


@dataclass(frozen=True)
class Column:
    """Values of a column that are not empty, how many words they have, and the scripts that they are written in."""

    name: str
    values: list[str]
    n_words: float
    scripts: Counter[str]
    garblings: Counter[str]

    @property
    def is_garbled(self) -> bool:
        return sum(self.garblings.values()) > MOST_GARBLED * max(1, len(self.values))

    def share(self, lang: str) -> float:
        return self.scripts[lang] / max(1, len(self.values))

    def is_named(self, names: Sequence[str]) -> bool:
        return any(part in names for part in re.split(r"[^a-z\u0600-\u06ff]+", self.name.lower()))


@dataclass
class Roles:
    """What each column is for ("" = there is none), which are left over, and what is to be said of them."""

    image: str = ""
    captions: dict[str, str] = field(default_factory=lambda: dict.fromkeys(LANGUAGE_NAME, ""))
    gender: str = ""
    areas: str = ""
    attributes: list[str] = field(default_factory=list)
    more_attributes: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def guess(table: Table, pictures: Pictures | None) -> Roles:
    """Look at the first rows of a table, and at the names of the images that belong to it."""
    rows = list(itertools.islice(table.rows, N_ROWS))
    columns = [_column(name, [row.get(name, "") for row in rows]) for name in table.columns if name]
    found = Roles(image=_image(table, columns, pictures))
    text = [c for c in columns if c.name != found.image and c.name not in table.pictures]
    found.areas = next((c.name for c in text if _are_areas(c)), "")
    text = [c for c in text if c.name != found.areas]
    _captions(text, found)
    used = {found.image, *found.captions.values()}
    rest = [c for c in text if not any(_covers(pattern, c.name) for pattern in used)]
    for column in rest:
        values = {v.strip().lower() for v in column.values}
        genders = {GENDER_WORDS[v] for v in values & GENDER_WORDS.keys()}
        if not found.gender and values and values <= GENDER_WORDS.keys() and {"male", "female"} <= genders:
            found.gender = column.name
        elif _is_attribute(column):
            is_role = column.is_named(ROLE_NAMES) and not found.attributes
            if is_role:
                found.attributes.append("role" if column.name == "role" else f"role={column.name}")
            else:
                found.more_attributes.append(column.name)
        else:
            found.left_over.append(column.name)
    return found


def _are_areas(column: Column) -> bool:
    """Whether most of a column's cells are boxes, whatever is wrong with some of them."""
    return sum(map(_is_areas, column.values)) > len(column.values) / 2


def _is_areas(cell: str) -> bool:
    try:
        read_areas(cell)
    except Unusable as e:
        return e.reason in ("areas_order", "areas_share")
    return True


def _column(name: str, cells: Iterable[Cell]) -> Column:
    values = [v for cell in cells for v in (cell if isinstance(cell, list) else [cell]) if not is_placeholder(v)]
    n_words = sum(len(v.split()) for v in values) / max(1, len(values))
    cleaned = [clean_caption(v) for v in values]
    return Column(name, values, n_words, Counter(map(script, cleaned)), Counter(filter(None, map(garbling, cleaned))))


def _image(table: Table, columns: Sequence[Column], pictures: Pictures | None) -> str:
    """The column that names images: by files as it writes them, by endings, then by what else can be matched."""
    if table.pictures:
        return min(table.pictures, key=lambda name: (name != "image", table.pictures.index(name)))
    scores = {}
    for column in columns:
        different = list(dict.fromkeys(picture_name(v) for v in column.values))
        some = different[:: max(1, len(different) // N_NAMES)]
        named = sum(bool(IMAGE_FILE.search(v)) for v in some)
        matches = list(match_names(some, pictures).values()) if pictures and column.n_words < 4 else []
        exact, matched = (sum(_is_found(m, exact) for m in matches) for exact in (True, False))
        if exact or named or matched >= LEAST_NUMBERS * len(some) > 0:
            scores[column.name] = (exact, named, matched, len(different))
    return max(scores, key=lambda name: scores[name]) if scores else ""


def _is_found(match: Match, exact: bool) -> bool:
    return bool(match.file) and (not exact or not match.how)


def _captions(columns: Sequence[Column], found: Roles) -> None:
    """Columns of sentences by script; where names and script disagree, the script is right and it is said."""
    for column in columns:
        if column.garblings and column.n_words >= 2:
            how, n = column.garblings.most_common(1)[0]
            found.remarks.append(
                f"The column {column.name} is garbled ({how}) in {n:,} of the {len(column.values):,} cells looked at. "
                f"{MEND_GARBLED}"
            )
    sentences = [c for c in columns if c.n_words >= 2 and not c.is_garbled]
    for lang, language in LANGUAGE_NAME.items():
        mine = [c for c in sentences if c.share(lang) >= 0.6]
        mixed = [c for c in sentences if min(c.share("en"), c.share("ar")) >= 0.2 and c not in mine]
        if mine:
            best = max(mine, key=lambda c: (c.is_named(LANGUAGE_NAMES[lang]), c.is_named(CAPTION_NAMES), c.n_words))
            found.captions[lang] = _pattern(best.name, [c.name for c in mine], [c.name for c in columns])
            others = [c.name for c in mine if not _covers(found.captions[lang], c.name)]
            if others:
                found.remarks.append(f"{language} is written in {', '.join(others)} too; not used.")
            if best.is_named(LANGUAGE_NAMES["ar" if lang == "en" else "en"]):
                found.remarks.append(f"The column {best.name} holds {language}, whatever its name says: taken as such.")
        elif mixed:
            found.captions[lang] = mixed[0].name
            found.remarks.append(
                f"The column {mixed[0].name} holds both languages, a row each: it is read for "
                f"{language} too, and captions in the other one are passed over."
            )
    if not any(found.captions.values()):
        found.remarks.append("No column holds sentences in Latin or Arabic script.")
    for lang, language in LANGUAGE_NAME.items():
        for column in columns:
            if column.is_named(LANGUAGE_NAMES[lang]) and not found.captions[lang] and not column.is_garbled:
                held = "nothing" if not column.values else f"no {language} script"
                found.remarks.append(f"The column {column.name} holds {held}.")


def _pattern(best: str, mine: Sequence[str], all_names: Sequence[str]) -> str:
    """The name, or caption_* where it is one of several that differ in a number at the end and no other column fits."""
    pattern = re.sub(r"\d+$", "*", best)
    fitting = [name for name in all_names if _covers(pattern, name)]
    return pattern if pattern != best and len(fitting) > 1 and set(fitting) <= set(mine) else best


def _covers(pattern: str, name: str) -> bool:
    return name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1]))


def _is_attribute(column: Column) -> bool:
    """Whether a column sorts the images into a few named kinds, or is named as one that does."""
    different = len(set(column.values))
    is_number = sum(v.strip().replace(".", "", 1).lstrip("-").isdigit() for v in column.values) > len(column.values) / 2
    if is_number or column.n_words > 4 or different < 2 or column.is_named(NOT_ABOUT_THE_IMAGE):
        return False
    return column.is_named(ROLE_NAMES) or different <= min(MOST_VALUES, len(column.values) / 2)
