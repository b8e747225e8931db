"""The lexicons, tab-separated tables of word forms that a linguist can read and edit, and the words of a text.

Columns: lemma, form (one word, or several with a space), language, gender (male, female, neutral), class (pronoun,
noun, kinship, role, agreement), only, number (of Arabic nouns), note. Rows of gender "none" are exceptions: words that
look like a person and are none (king size, رجل ثلج). ``only`` says where a form is meant: see DRESSES; several are
parted by a space.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from core.errors import UserError

if TYPE_CHECKING:
    from core.config import Config


LEXICON_DIR = Path(__file__).resolve().parent / "lexicons"
LANGUAGES = ("en", "ar")
GENDERS = ("male", "female", "neutral")
EXCEPTION = "none"
WORD_CLASSES = ("pronoun", "noun", "kinship", "role", "agreement")
DRESSES = {
    "bare": "without ال and without a possessive",
    "bound": "only with ال or with a possessive",
    "first": "also without them where it begins a sentence (with bound)",
    "mother": "also without them, but not where it may be the word for or (with bound)",
    "article": "only with ال",
    "no-suffix": "without a possessive",
    "not-mine": "without the possessive ي, which would make an adjective of it",
    "alone": "with nothing before or after it but و",
    "yeh": "ends in ي and never in ى",
    "hamza": "only with its hamza written",
    "not-animal": "not of an animal that is named right after it",
    "title": "only with a capital, before a word with a capital",
    "agent": "also the name of an activity: a person where its place shows one (see core.words.neighbours)",
    "machine": "also the name of a thing: a person where what follows it is said of persons alone",
    "boys": "boys, but one girl where what agrees with it is feminine and singular",
    "counted": "also a number: a person where no plural follows that it could count",
    "adjective": "of age or sex: after a person it agrees with it describes that person (agreement)",
    "head": "also an adjective of things: a person where there is no noun before it that it may go with",
}
COLUMNS = ("lemma", "form", "language", "gender", "class")
MARKS = re.compile("[\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed\u200c-\u200f]")  # vowel signs, tatweel
EVEN = str.maketrans({"ٱ": "ا", "ی": "ي", "ى": "ي", "ې": "ي", "ک": "ك", "ۃ": "ة", "ۀ": "ة", "أ": "ا", "إ": "ا"})
HEH = str.maketrans("ہھە", "ههه")  # the Urdu and Kurdish letters
UNSEEN = (  # Unicode's default ignorable code points: soft hyphen, joiners, marks of direction, variation selectors
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff"
)
INVISIBLE = re.compile(f"[{UNSEEN}]")
INNER = "\u0300-\u036f\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"  # marks that stand on letters
WORD = re.compile(f"[\\w{INNER}]+(?:[{UNSEEN}]+[\\w{INNER}]+)*")
TYPED_APOSTROPHE = re.compile("[\u02b9-\u02bf]")  # letters to Unicode, apostrophes to those who write them
JOINED = re.compile(r"['’＇]?\s+|['’＇\-\u2010\u2011]")  # what may stand within a form of several words
SHORT = ("mr", "mrs", "ms", "dr", "st")  # a full stop behind them ends no form
QUOTE = re.compile('["“”„«»]')
SENTENCE_END = re.compile(r"[.!?؟…:;؛\n]")


@dataclass(frozen=True)
class Entry:
    """One row of a lexicon; ``only`` are keys of DRESSES."""

    lemma: str
    form: str
    gender: str
    word_class: str
    only: tuple[str, ...] = ()
    note: str = ""
    number: str = ""  # "singular", "dual", "plural", "dual plural" (لاعبين), or "" where the lexicon does not say


@functools.lru_cache(100_000)
def bare(word: str) -> str:
    """A word without vowel signs, tatweel and what is not seen, its letters as they are typed.

    Letters copied from a PDF (ﻣﺮﺃﺓ in presentation forms, ligatures, wide Latin letters) become the usual ones (NFKC).
    """
    if word.isascii():
        return word
    typed = unicodedata.normalize("NFKC", INVISIBLE.sub("", word))
    return MARKS.sub("", re.sub(f" (?=[{INNER}])", "", typed)).translate(HEH)


@functools.lru_cache(100_000)
def plain(word: str) -> str:
    """How a word is compared: ``bare``, without case, with one alef, yeh and teh; آ stays: مرآة is a mirror."""
    return bare(word).translate(EVEN).casefold()


@functools.lru_cache(64)
def lexicon_path(lang: str, path: str | Path = "") -> Path:
    """The file of a language's lexicon, ``path`` where one is given; ValueError for an unknown language."""
    if lang not in LANGUAGES:
        raise ValueError(f"there is no lexicon for the language {lang!r}")
    return Path(path).expanduser() if path else LEXICON_DIR / f"{lang}.tsv"


def lexicon_state(lang: str, path: str | Path = "") -> tuple[Path, int]:
    """The file of a language's lexicon, and when it was changed (ns; 0 for no file): what is made of it keeps both."""
    file = lexicon_path(lang, path)
    try:
        return file, file.stat().st_mtime_ns
    except OSError:  # said by read_bytes, which has to open it
        return file, 0


def lexicon(lang: str, path: str | Path = "") -> tuple[Entry, ...]:
    """All words for persons in a language ("en" or "ar"), without the exceptions; see ``all_entries``."""
    return tuple(entry for entry in all_entries(lang, path) if entry.gender != EXCEPTION)


def all_entries(lang: str, path: str | Path = "") -> tuple[Entry, ...]:
    """Words and exceptions of a language, from ``path`` in the place of the project's own where one is given.

    UserError where the file breaks the rules, ValueError for an unknown language.
    """
    file = lexicon_path(lang, path)
    return parse_lexicon(read_bytes(file), lang, file.name)


def read_bytes(file: Path) -> bytes:
    """The bytes of a lexicon; UserError where there is none."""
    try:
        return file.read_bytes()
    except OSError as e:
        do = "Mend words.lexicon_en or words.lexicon_ar, or leave it empty for the project's own."
        raise UserError(f"The lexicon {file} cannot be read.", e.strerror or str(e), do) from e


@functools.lru_cache(8)
def parse_lexicon(data: bytes, lang: str, name: str) -> tuple[Entry, ...]:
    """The entries of a lexicon's bytes; UserError for a wrong encoding, column, class or gender, or a double word."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise UserError(f"The lexicon {name} is not UTF-8.", str(e), "Save it again as UTF-8, tab-separated.") from e
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t")
    lacking = [c for c in COLUMNS if c not in (reader.fieldnames or [])]
    if lacking:
        why = f"Its columns: {', '.join(reader.fieldnames or []) or 'none'}."
        do = f"The first line names them, tab-separated: {', '.join(COLUMNS)}; only and note may be left out."
        raise UserError(f"The lexicon {name} has no column {', '.join(lacking)}.", why, do)
    mistakes: list[str] = []
    seen: dict[str, tuple[int, str]] = {}
    entries = []
    for number, row in enumerate(reader, start=2):
        cells = {key: (value or "").strip() for key, value in row.items() if isinstance(value, str)}
        if not any(cells.values()) or cells.get("language", lang) not in ("", lang):
            continue  # one file may hold both languages
        entry = Entry(
            cells.get("lemma", ""),
            cells.get("form", ""),
            cells.get("gender", ""),
            cells.get("class", ""),
            tuple(cells.get("only", "").split()),
            cells.get("note", ""),
            cells.get("number", ""),
        )
        mistakes += [f"line {number}: {mistake}" for mistake in _mistakes(entry, seen)]
        seen.setdefault(plain(entry.form), (number, entry.gender))
        entries.append(entry)
    if mistakes:
        more = f"\n  and {len(mistakes) - 8} more" if len(mistakes) > 8 else ""
        raise UserError(
            f"The lexicon {name} breaks its rules.",
            "\n".join(f"  {m}" for m in mistakes[:8]) + more,
            "Mend these lines; docs/gender-counting.md says what each column means.",
        )
    if not entries:
        raise UserError(
            f"The lexicon {name} has no word of the language {lang}.",
            "It is empty but for its columns.",
            "Add words, or leave the setting empty for the project's own lexicon.",
        )
    return tuple(entries)


def _mistakes(entry: Entry, seen: dict[str, tuple[int, str]]) -> list[str]:
    found = []
    if not entry.form:
        found.append("no form")
    if entry.gender not in (*GENDERS, EXCEPTION):
        found.append(f"the gender {entry.gender!r} is not {', '.join(GENDERS)} or {EXCEPTION}")
    if entry.word_class not in WORD_CLASSES and entry.gender != EXCEPTION:
        found.append(f"the class {entry.word_class!r} is not one of {', '.join(WORD_CLASSES)}")
    unknown = [only for only in entry.only if only not in DRESSES]
    if unknown:
        found.append(f"only says {unknown[0]!r}, which is none of {', '.join(DRESSES)}")
    number, gender = seen.get(plain(entry.form), (0, entry.gender))
    if gender != entry.gender:
        found.append(f"{entry.form} is {entry.gender} here and {gender} in line {number}")
    return found


@functools.cache
def animals(lang: str) -> frozenset[str]:
    """Words for animals, as compared: of a female elephant no person is female."""
    with open(LEXICON_DIR / "animals.tsv", encoding="utf-8", newline="") as file:
        return frozenset(plain(r["form"]) for r in csv.DictReader(file, delimiter="\t") if r["language"] == lang)


@functools.cache
def heads(lang: str) -> dict[str, frozenset[str]]:
    """Words that decide what a word beside them is, as compared, by kind; ``lexicons/heads.tsv`` says what each is."""
    kinds: dict[str, set[str]] = {}
    with open(LEXICON_DIR / "heads.tsv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["language"] == lang:
                kinds.setdefault(row["kind"], set()).update(map(plain, row["forms"].split()))
    return {kind: frozenset(words) for kind, words in kinds.items()}


def on_a_sign(words: Sequence[Word], at: int, lang: str) -> bool:
    """Whether a word is written on something: behind a quotation mark or "says", and something that is read before."""
    kinds = heads(lang)
    said = at > 0 and words[at - 1].plain in kinds["saying"]
    if not said and not _in_quotes(words, at):
        return False
    return any(word.plain.removeprefix("ال") in kinds["read"] for word in words[max(0, at - 8) : at])


def _in_quotes(words: Sequence[Word], at: int) -> bool:
    inside = False
    for word in words[: at + 1]:
        if word.gap != " ":
            for mark in QUOTE.findall(word.gap):
                inside = not inside if mark == '"' else mark not in "”»"
    return inside


def digest(config: Config) -> str:
    """Hash of the word lists that a run counts with, its own or the project's; UserError where one is unusable."""
    lists = ("animals.tsv", "heads.tsv", "names_ar.tsv", "pairs.tsv")
    total = hashlib.sha256(b"".join((LEXICON_DIR / name).read_bytes() for name in lists))
    for lang, path in (("en", config.words.lexicon_en), ("ar", config.words.lexicon_ar)):
        all_entries(lang, path)
        total.update(f"\0{lang}\0".encode() + read_bytes(lexicon_path(lang, path)))
    return total.hexdigest()


class Found(NamedTuple):
    """What a finder says of the word at hand; ``n_words`` are read, more than one for a form of several words."""

    gender: str
    word_class: str
    lemma: str
    clitics: str = ""
    n_words: int = 1
    form: str = ""  # the lexicon's
    only: tuple[str, ...] = ()
    number: str = ""


class Word(NamedTuple):
    """One word of a text: as written, as compared, and what stands between it and the word before."""

    text: str
    start: int
    end: int
    plain: str
    gap: str  # between the word before and this one, without what is not seen; at the first word what is before it
    first: bool  # whether it begins a sentence


def split_words(text: str) -> list[Word]:
    """The words of a text in order: letters, digits and the marks on them; emoji and hyphens are no part of a word."""
    words, before = [], 0
    if not text.isascii() and TYPED_APOSTROPHE.search(text):
        text = TYPED_APOSTROPHE.sub("'", text)
    for match in WORD.finditer(text):
        gap = text[before : match.start()]
        if not gap.isascii():
            gap = INVISIBLE.sub("", gap)
        first = not before or (gap != " " and bool(SENTENCE_END.search(gap)))
        words.append(Word(match[0], match.start(), match.end(), plain(match[0]), gap, first))
        before = match.end()
    return words


class Phrases:
    """Forms of several words, found by their first."""

    def __init__(self, entries: Iterable[Entry]):
        self._by_first: dict[str, list[tuple[tuple[str, ...], Entry]]] = {}
        for entry in entries:
            words = tuple(word.plain for word in split_words(entry.form))
            if len(words) > 1:
                self._by_first.setdefault(words[0], []).append((words, entry))
        for known in self._by_first.values():
            known.sort(key=lambda pair: -len(pair[0]))

    def begins(self, first: str) -> bool:
        """Whether a form of several words begins with this one."""
        return first in self._by_first

    def match(self, first: str, words: Sequence[Word], at: int, article: str = "") -> tuple[Entry, int] | None:
        """The longest form that begins with ``first`` in the place of word ``at``, and its length in words."""
        for form, entry in self._by_first.get(first, ()):
            rest = words[at + 1 : at + len(form)]
            if len(rest) == len(form) - 1 and all(
                (JOINED.fullmatch(word.gap) or (word.gap == ". " and before in SHORT))
                and word.plain in (part, article + part)
                for word, part, before in zip(rest, form[1:], form, strict=False)
            ):
                return entry, len(form)
        return None
