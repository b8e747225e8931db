"""Find the gendered words of a text: whole words only, with offsets into the text as it was written."""

from __future__ import annotations

import functools
import itertools
import re
from typing import NamedTuple

from core.gender import arabic
from core.gender.lexicon import lexicon

WORD = re.compile("[\\w\u0300-\u036f\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed]+")
COMPOUND = re.compile(r"[-\u2010\u2011](?!in-law\b)\w")  # man-made is no man; mother-in-law is a mother


class Hit(NamedTuple):
    """One gendered word: ``text[start:end] == word``; gender is male, female or neutral."""

    start: int
    end: int
    word: str
    gender: str
    word_class: str


def find(text: str, lang: str) -> list[Hit]:
    """All lexicon words in a text of ``lang`` ("en" or "ar"), in order, not overlapping.

    Words are compared whole, never as parts of others. Class "agreement" (verbs, participles) is said of feminine and
    masculine things too. Raises ValueError for another language.
    """
    lexicon(lang)  # refuses an unknown language
    english = _english() if lang == "en" else None
    words = list(WORD.finditer(text))
    hits: list[Hit] = []
    skip = False
    for match, following in itertools.zip_longest(words, words[1:]):
        if skip:
            skip = False
            continue
        start, end, found = match.start(), match.end(), None
        if english is not None:
            found = None if COMPOUND.match(text, end) else english.get(match[0].casefold())
        else:
            if following and text[end : following.start()].isspace():
                found = arabic.look_up_pair(match[0], following[0])
            if found and following:
                end, skip = following.end(), True
            found = found or arabic.look_up(match[0])
        if found:
            hits.append(Hit(start, end, text[start:end], *found))
    return hits


@functools.cache
def _english() -> dict[str, tuple[str, str]]:
    return {entry.form: (entry.gender, entry.word_class) for entry in lexicon("en")}
