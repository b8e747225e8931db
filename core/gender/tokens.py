"""Words of a text with their offsets, and what a finder says of one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from core.gender.lexicon import Entry, plain

INNER = "\u0300-\u036f\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"  # marks that stand on letters
WORD = re.compile(f"[\\w{INNER}]+(?:[\u200c\u200d]+[\\w{INNER}]+)*")
JOINED = re.compile(r"\s+|['’ʼ\-\u2010\u2011]")  # what may stand within a form of several words
SENTENCE_END = re.compile(r"[.!?؟…:;؛\n]")


class Found(NamedTuple):
    """What a finder says of the word at hand; ``n_words`` are read, more than one for a form of several words."""

    gender: str
    word_class: str
    lemma: str
    clitics: str = ""
    n_words: int = 1


@dataclass(frozen=True)
class Word:
    """One word of a text: as written, as compared, and what stands between it and the word before."""

    text: str
    start: int
    end: int
    plain: str
    gap: str  # between the word before and this one; at the first word what stands before it

    @property
    def first(self) -> bool:
        """Whether it begins a sentence."""
        return self.start == len(self.gap) or bool(SENTENCE_END.search(self.gap))


def split_words(text: str) -> list[Word]:
    """The words of a text in order: letters, digits and the marks on them; emoji and hyphens are no part of a word."""
    words, before = [], 0
    for match in WORD.finditer(text):
        words.append(Word(match[0], match.start(), match.end(), plain(match[0]), text[before : match.start()]))
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
                JOINED.fullmatch(word.gap) and (word.plain in (part, article + part))
                for word, part in zip(rest, form[1:], strict=True)
            ):
                return entry, len(form)
        return None
