"""The gold sets: sentences whose gendered words are marked by hand, and how many of them a finder finds.

A hit stands in brackets, then its gender (m, f, n; u unmarked), then ``a`` where it is agreement with a person:
``A [man]m``, ``[تقف]fa``. ``[هذه]?`` is agreement with a thing: it may be found or not, and counts neither way. What is
a hit: docs/gender-counting.md. ``part`` is work, on which rules and lexicon were mended, or held-out, on which they
were not.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
MARKED = re.compile(r"\[([^\]]+)\]([mfnu]a?|\?)")
GENDERS = {"m": "male", "f": "female", "n": "neutral", "u": "unmarked"}


class Wanted(NamedTuple):
    """One marked word; gender is "" where the mark is a question mark."""

    start: int
    end: int
    gender: str
    agreement: bool


@dataclass(frozen=True)
class Sentence:
    part: str
    text: str
    wanted: tuple[Wanted, ...]
    note: str


@dataclass
class Score:
    """True and false hits, and marked words that were missed."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        return self.right / (self.right + self.wrong)

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.missed)

    def __str__(self) -> str:
        counts = f"{self.right} right, {self.wrong} wrong, {self.missed} missed"
        return f"precision {self.precision:.3f}, recall {self.recall:.3f} ({counts})"


def gold(lang: str, part: str = "") -> list[Sentence]:
    """The sentences of a language, of one part or of both."""
    with open(HERE / f"gold_{lang}.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [_sentence(row) for row in rows if part in ("", row["part"])]


def _sentence(row: dict[str, str]) -> Sentence:
    text, at, wanted = "", 0, []
    for match in MARKED.finditer(row["sentence"]):
        text += row["sentence"][at : match.start()]
        mark = match[2]
        wanted.append(Wanted(len(text), len(text) + len(match[1]), GENDERS.get(mark[0], ""), mark.endswith("a")))
        text, at = text + match[1], match.end()
    return Sentence(row["part"], text + row["sentence"][at:], tuple(wanted), row["note"] or "")


def score(sentences: Iterable[Sentence], find: Callable[[str], list], only_persons: bool = False) -> Score:
    """How a finder does: a hit is right with the marked offsets and gender, as agreement or as a word for a person.

    The gender is that of the form, so the generic masculine is male here; test_words_generic.py asks what it says.
    """
    total = Score()
    for sentence in sentences:
        wanted = [w._replace(gender=_form(w.gender)) for w in sentence.wanted]
        free = {(w.start, w.end) for w in wanted if not w.gender}
        wanted = {w for w in wanted if w.gender and not (only_persons and w.agreement)}
        found = {Wanted(h.start, h.end, _form(h.gender), h.word_class == "agreement") for h in find(sentence.text)}
        found = {f for f in found if (f.start, f.end) not in free and not (only_persons and f.agreement)}
        total.right += len(found & wanted)
        total.wrong += len(found - wanted)
        total.missed += len(wanted - found)
    return total


def _form(gender: str) -> str:
    return "male" if gender == "unmarked" else gender
