"""The gendered words of a caption, with offsets; what gender a caption names, and what gender an image has."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from core.words import generic
from core.words.arabic import ArabicWords
from core.words.generic import UNMARKED, is_symmetric, under
from core.words.lexicon import EXCEPTION, Entry, Found, Phrases, Word, all_entries, animals, lexicon_path, split_words

HYPHEN = re.compile("[-\u2010\u2011]")
BEHIND_HYPHEN = ("in", "to", "and", "or")  # mother-in-law, bride-to-be, husband-and-wife are persons; man-made is none
ANNOTATED = ("male", "female", "neutral")
NAMED = ("male", "female", "both", UNMARKED, "neutral", "none")
"""What a caption may name, as of ``caption_gender``."""
NO_ANNOTATION = ("", "unknown")


class EnglishWords:
    """Finds the forms of an English lexicon."""

    def __init__(self, entries: Sequence[Entry]):
        self._forms = {entry.form.casefold(): entry for entry in reversed(entries)}
        self._phrases = Phrases(entries)
        self._animals = animals("en")

    def at(self, words: Sequence[Word], at: int, may_be_or: bool = False) -> Found | None:
        """What the word ``words[at]`` is; ``may_be_or`` is asked of Arabic alone."""
        del may_be_or
        phrase = self._phrases.match(words[at].plain, words, at)
        if phrase:
            entry, n_words = phrase
            return Found(entry.gender, entry.word_class, entry.lemma, n_words=n_words)
        entry = self._forms.get(words[at].plain)
        following = words[at + 1] if at + 1 < len(words) else None
        if entry is None or not self._fits(entry, words[at], following):
            return None
        if "not-animal" in entry.only and at and words[at - 1].plain == "its":
            return None  # an animal's mother, an animal's baby
        return Found(entry.gender, entry.word_class, entry.lemma)

    def _fits(self, entry: Entry, word: Word, following: Word | None) -> bool:
        if "title" in entry.only:
            return word.text.istitle() and following is not None and following.text[0].isupper()
        if following is None:
            return True
        if HYPHEN.fullmatch(following.gap):
            return following.plain in self._forms or following.plain in BEHIND_HYPHEN
        return not ("not-animal" in entry.only and following.gap.isspace() and following.plain in self._animals)


FINDERS: dict[str, Callable[..., ArabicWords | EnglishWords]] = {"en": EnglishWords, "ar": ArabicWords}


class Hit(NamedTuple):
    """One gendered word: ``text[start:end] == word``; gender is male, female, neutral, or unmarked: generic masculine.

    ``lemma`` is the lexicon's; ``clitics`` are what was taken off to find it, with a + on the side of the word
    ("و+ ل+", "+ها"), or "".
    """

    start: int
    end: int
    word: str
    gender: str
    word_class: str
    lemma: str = ""
    clitics: str = ""


def find(text: str, lang: str, lexicon_file: str | Path = "") -> list[Hit]:
    """All lexicon words in a text of ``lang`` ("en" or "ar"), in order, not overlapping.

    Words are compared whole, never as parts of others. Class "agreement" follows the grammar of what it speaks of,
    person or thing: verbs, adjectives, demonstratives, and pronouns attached to a preposition. The Arabic generic
    masculine is "unmarked", whatever is made of it when it is counted (``core.words.generic``). ``lexicon_file`` is a
    TSV in the place of the project's own. Raises ValueError for another language, UserError for an unusable lexicon.
    """
    path = lexicon_path(lang, lexicon_file)
    finder = _finder(lang, path, path.stat().st_mtime_ns if path.is_file() else 0)
    words, asks = split_words(text), "؟" in text
    hits: list[Hit] = []
    at = 0
    while at < len(words):
        found = finder.at(words, at, may_be_or=asks or _ends_before(hits, words, at))
        if found and found.gender != EXCEPTION:
            start, end = words[at].start, words[at + found.n_words - 1].end
            hits.append(Hit(start, end, text[start:end], found.gender, found.word_class, found.lemma, found.clitics))
        at += found.n_words if found else 1
    return generic.read(hits, words) if lang == "ar" else hits


def describe(hit: Hit) -> str:
    """What a word was counted as, in one line for a hover: gender, class, lemma, and the clitics around it."""
    parts = [f"{hit.gender} {hit.word_class}"]
    if hit.lemma and hit.lemma.casefold() != hit.word.casefold():
        parts.append(f"of \u2068{hit.lemma}\u2069")
    if hit.clitics:
        parts.append("with " + ", ".join(f"\u2068{clitic.replace('+', '')}\u2069" for clitic in hit.clitics.split()))
    return " ".join(parts)


def _ends_before(hits: Sequence[Hit], words: Sequence[Word], at: int) -> bool:
    """Whether the word just before is a person of the lexicon."""
    return bool(at and hits and hits[-1].end == words[at - 1].end and hits[-1].word_class != "agreement")


@functools.lru_cache(8)
def _finder(lang: str, path: Path, _mtime: int) -> ArabicWords | EnglishWords:
    return FINDERS[lang](all_entries(lang, path))


class ImageGender(NamedTuple):
    """Gender of an image (male, female, neutral, unknown) and where it comes from.

    ``source`` is "annotation", "references" or ""; ``share`` the share of the gendered references that agree (1.0
    annotated, NaN where no reference names a gender); ``why`` says how it was decided: annotation, agreement, neutral
    words, tie, conflict, no person, no reference.
    """

    gender: str
    source: str
    share: float
    n_references: int
    why: str


def decides(hit: Hit) -> bool:
    """Whether a word says the gender of a person: all classes do but agreement, which things have as well."""
    return hit.word_class != "agreement"


def caption_gender(hits: Iterable[Hit], policy: str = UNMARKED) -> str:
    """What a caption names, one of NAMED, with the generic masculine counted by ``policy`` (``generic.POLICIES``).

    "unmarked": no gender but by the generic masculine; "neutral": only words for persons of either. Agreement does not
    decide: شخص يقف is a person of no stated gender, تقف سيارة a car.
    """
    found = {hit.gender for hit in under(hits, policy) if decides(hit)}
    if {"male", "female"} <= found:
        return "both"
    return next((gender for gender in ("male", "female", UNMARKED, "neutral") if gender in found), "none")


def matched_gender(hits: Iterable[Hit]) -> str:
    """The gender that a caption says by words that both genders must say alike: male, female, both or none.

    It rests on رجل and امرأة, he and she, أب and أم, and on no role: طبيب may be said of a woman and طبيبة not of a
    man, so that counting either would compare what grammar marks. The same in every language and under every policy.
    """
    found, person = set(), False
    for hit in hits:
        if decides(hit):
            found |= {hit.gender} if is_symmetric(hit, person) else set()
            person = True
    if {"male", "female"} <= found:
        return "both"
    return next((gender for gender in ("male", "female") if gender in found), "none")


def image_gender(annotation: str, references: Sequence[str], consensus: float) -> ImageGender:
    """Gender of an image from its annotation, or else from the genders that its reference captions name.

    ``references`` are values of ``caption_gender``. Those that name a gender decide (captions that say person leave it
    open, as captioners do; so Zhao et al. 2017): at least the share ``consensus`` of them, and more than half, must
    name one gender and it alone, "both" speaking against either. Ties and conflicts are unknown. Where none names a
    gender, but some name a person (by a neutral word or the generic masculine), the image is neutral. Raises ValueError
    for an unknown annotation.
    """
    n = len(references)
    if annotation in ANNOTATED:
        return ImageGender(annotation, "annotation", 1.0, n, "annotation")
    if annotation not in NO_ANNOTATION:
        raise ValueError(f"{annotation!r} is no annotated gender")
    count = Counter(references)
    n_gendered = count["male"] + count["female"] + count["both"]
    if not n_gendered:
        if count["neutral"] or count[UNMARKED]:
            return ImageGender("neutral", "references", float("nan"), n, "neutral words")
        return ImageGender("unknown", "", float("nan"), n, "no person" if n else "no reference")
    gender = "male" if count["male"] > count["female"] else "female"
    share = count[gender] / n_gendered
    if count["male"] == count["female"]:
        return ImageGender("unknown", "", share, n, "tie")
    if share < consensus or share <= 0.5:
        return ImageGender("unknown", "", share, n, "conflict")
    return ImageGender(gender, "references", share, n, "agreement")
