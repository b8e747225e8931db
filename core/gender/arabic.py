"""Arabic words and the lexicon: spelling made even, clitics taken off where a known form remains.

A possessive or an article is taken off only to find the word itself: طبيبها (her doctor) is a man. Nothing is guessed
from an ending: سيارة (car) is feminine and no person, حمزة is a man's name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

from core.gender.lexicon import Entry, lexicon

MARKS = re.compile("[\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed\u200c-\u200f]")  # vowel signs, tatweel
EVEN = str.maketrans({"ٱ": "ا", "ی": "ي", "ى": "ي", "ې": "ي", "ک": "ك", "ۃ": "ة", "ۀ": "ة"})
HAMZA = str.maketrans({"أ": "ا", "إ": "ا"})
PRONOUNS = {"ه": "male", "ها": "female", "هم": "neutral", "هن": "female", "هما": "neutral"}
SUFFIXES = (*PRONOUNS, "ك", "كم", "كن", "نا")
PREPOSITIONS = frozenset((
    "ل", "ب", "مع", "من", "عن", "علي", "الي", "في", "عند", "لدي", "بين", "فوق", "تحت", "حول", "خلف", "امام", "وراء",
    "قرب", "بقرب", "جانب", "بجانب", "جوار", "بجوار", "قبل", "بعد", "نحو",
))  # fmt: skip


class Parts(NamedTuple):
    """A word taken apart; ``article`` and ``possessive`` say whether ال and a pronoun were taken off."""

    prefix: str
    stem: str
    article: bool
    possessive: bool


def even(word: str) -> str:
    """A word without vowel signs and tatweel, with one spelling for alef wasla, yeh and teh marbuta; keeps أ إ آ."""
    return MARKS.sub("", word).translate(EVEN)


def plain(word: str) -> str:
    """``even`` with أ and إ written ا; آ stays, for مرآة (mirror) is not مرأة."""
    return even(word).translate(HAMZA)


@functools.cache
def _forms() -> dict[str, Entry]:
    """Entries by their plain form; forms that begin with آ are also found written with ا."""
    forms: dict[str, Entry] = {}
    for entry in lexicon("ar"):
        for spelling in (plain(entry.form), plain(entry.form.replace("آ", "ا"))):
            forms.setdefault(spelling, entry)
    return forms


@functools.cache
def _phrases() -> dict[tuple[str, str], Entry]:
    return {(first, second): e for form, e in _forms().items() for first, _, second in [form.partition(" ")] if second}


def look_up(word: str) -> tuple[str, str] | None:
    """Gender and word class of one written Arabic word, or None."""
    word = even(word)
    for parts in _ways(word):
        for stem in _stems(parts):
            entry = _forms().get(plain(stem))
            if entry and _fits(entry, parts, stem):
                return entry.gender, entry.word_class
    return _preposition(word)


def look_up_pair(word: str, following: str) -> tuple[str, str] | None:
    """The same for two words that are one form (مصاصة دماء); the article may stand on the second."""
    second = plain(following).removeprefix("ال")
    for parts in _ways(even(word)):
        entry = None if parts.possessive else _phrases().get((plain(parts.stem), second))
        if entry:
            return entry.gender, entry.word_class
    return None


def _ways(word: str) -> Iterator[Parts]:
    """The word as it is, then without suffix, prefixes and both; the fewest letters taken off first."""
    fronts = [("", word, False)]
    for match in (re.match(p, word) for p in ("()ال", "()[وف]", "([وف]?)[بكلس]", "([وف]?)[بك]?ال", "([وف]?)لل")):
        if match and len(word) > match.end():
            fronts.append((match[0], word[match.end() :], match[0].endswith(("ال", "لل"))))
    for prefix, stem, article in fronts:
        yield Parts(prefix, stem, article, False)
    for prefix, stem, article in fronts:
        for suffix in SUFFIXES:
            if not article and stem.endswith(suffix) and len(stem) > len(suffix) + 1:
                yield Parts(prefix, stem.removesuffix(suffix), False, True)


def _stems(parts: Parts) -> Iterator[str]:
    """The stem, and what it is written as without what was taken off or without the accusative ا."""
    stem = parts.stem
    yield stem
    if parts.possessive:
        last = {"ت": "ة", "ئ": "ء", "ؤ": "ء"}.get(stem[-1])
        if last:
            yield stem[:-1] + last
        if stem[-1] in "ويا" and plain(stem[:-1]) in _forms():
            yield stem + "ن"  # معلموها, without the ن of معلمون
    elif not parts.article and stem.endswith("ا") and len(stem) > 3:
        yield stem[:-1]  # رجلا


def _fits(entry: Entry, parts: Parts, stem: str) -> bool:
    """Whether a form may stand in this dress; see ``lexicon`` for ``only``."""
    particle = parts.prefix.removesuffix("ال").removesuffix("لل")
    if entry.only == "alone" and (parts.prefix or parts.possessive):
        return False
    if entry.word_class == "pronoun" and (parts.article or parts.possessive or particle not in ("", "و", "ف")):
        return False
    if "س" in particle and not (entry.word_class == "agreement" and entry.form[0] in "يت"):
        return False
    if particle and not parts.article:  # باب (door) is not ب + أب, وجدها (found her) not و + جد + ها
        if entry.form[0] in "أإ" and stem[0] not in "أإ":
            return False
        if len(stem) < 3 and stem[0] not in "أإ" and entry.word_class != "pronoun":
            return False
    accusative = not parts.possessive and len(parts.stem) == len(stem) + 1
    return {
        "bare": not parts.article and not parts.possessive,
        "bound": (parts.article or parts.possessive) and not accusative,
        "article": parts.article,
        "no-suffix": not parts.possessive,
    }.get(entry.only, True)


def _preposition(word: str) -> tuple[str, str] | None:
    """A preposition with the pronoun of a third person (وبجانبها, له, عليها)."""
    for start in (word, word[1:] if word[:1] in ("و", "ف") else ""):
        for suffix, gender in PRONOUNS.items():
            stem = start.removesuffix(suffix)
            stem = stem[:-1] + "ء" if stem[-1:] in ("ئ", "ؤ") else stem
            if start.endswith(suffix) and plain(stem) in PREPOSITIONS:
                return gender, "pronoun"
    return None
