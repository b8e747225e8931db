"""Find the gendered words of a text: whole words only, with offsets into the text as it was written."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from core.gender.arabic import ArabicWords
from core.gender.english import EnglishWords
from core.gender.lexicon import EXCEPTION, all_entries, lexicon_path
from core.gender.tokens import Word, split_words

FINDERS: dict[str, Callable[..., ArabicWords | EnglishWords]] = {"en": EnglishWords, "ar": ArabicWords}


class Hit(NamedTuple):
    """One gendered word: ``text[start:end] == word``; gender is male, female or neutral.

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
    person or thing: verbs, adjectives, demonstratives, and pronouns attached to a preposition. ``lexicon_file`` is a
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
    return hits


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
