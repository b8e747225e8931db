"""The gendered words of a caption, with offsets; what gender a caption names, and what gender an image has."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from core.words import generic
from core.words.arabic import ArabicWords
from core.words.english import EnglishWords
from core.words.generic import UNMARKED, is_symmetric, under
from core.words.lexicon import all_entries, lexicon_state, split_words

ANNOTATED = ("male", "female", "neutral")
NAMED = ("male", "female", "both", UNMARKED, "neutral", "none")
"""What a caption may name, as of ``caption_gender``."""
NO_ANNOTATION = ("", "unknown")


FINDERS: dict[str, Callable[..., ArabicWords | EnglishWords]] = {"en": EnglishWords, "ar": ArabicWords}


class Hit(NamedTuple):
    """One gendered word: ``text[start:end] == word``; gender is male, female, neutral, or unmarked: generic masculine.

    ``lemma`` is the lexicon's; ``clitics`` are what was taken off to find it, with a + on the side of the word
    ("و+ ل+", "+ها"), or ""; ``form`` is what the lexicon has, without them (the ن of راكبين, which راكبي has lost).
    """

    start: int
    end: int
    word: str
    gender: str
    word_class: str
    lemma: str = ""
    clitics: str = ""
    form: str = ""


def find(text: str, lang: str, lexicon_file: str | Path = "") -> list[Hit]:
    """All lexicon words in a text of ``lang`` ("en" or "ar"), in order, not overlapping.

    Words are compared whole, never as parts of others. Class "agreement" follows the grammar of what it speaks of,
    person or thing: verbs, adjectives, demonstratives, and pronouns attached to a preposition. The Arabic generic
    masculine is "unmarked", whatever is made of it when it is counted (``core.words.generic``). ``lexicon_file`` is a
    TSV in the place of the project's own. Raises ValueError for another language, UserError for an unusable lexicon.
    """
    finder = _finder(lang, *lexicon_state(lang, lexicon_file))
    words = split_words(text)
    hits: list[Hit] = []
    for at, found in finder.hits(words, "؟" in text):
        start, end = words[at].start, words[at + found.n_words - 1].end
        said = (found.gender, found.word_class, found.lemma, found.clitics, found.form)
        hits.append(Hit(start, end, text[start:end], *said))
    return generic.read(hits, words) if lang == "ar" else hits


def describe(hit: Hit) -> str:
    """What a word was counted as, in one line for a hover: gender, class, lemma, and the clitics around it."""
    parts = [f"{hit.gender} {hit.word_class}"]
    if hit.lemma and hit.lemma.casefold() != hit.word.casefold():
        parts.append(f"of \u2068{hit.lemma}\u2069")
    if hit.clitics:
        parts.append("with " + ", ".join(f"\u2068{clitic.replace('+', '')}\u2069" for clitic in hit.clitics.split()))
    return " ".join(parts)


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
