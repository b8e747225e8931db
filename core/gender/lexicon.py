"""The lexicons: tab-separated tables of word forms, one a language, made and read by hand.

Columns: lemma, form (one word, or two with a space), language, gender (male, female, neutral), class (pronoun, noun,
kinship, role, agreement), only, note. ``only`` says in which dress an Arabic form is meant: "bare" without ال and
without a possessive, "bound" only with one of them, "article" only with ال, "no-suffix" without a possessive, "alone"
with nothing before or after it, "" in any.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

LEXICON_DIR = Path(__file__).resolve().parent / "lexicons"
LANGUAGES = ("en", "ar")
GENDERS = ("male", "female", "neutral")
WORD_CLASSES = ("pronoun", "noun", "kinship", "role", "agreement")
DRESSES = ("", "bare", "bound", "article", "no-suffix", "alone")


@dataclass(frozen=True)
class Entry:
    """One row of a lexicon."""

    lemma: str
    form: str
    gender: str
    word_class: str
    only: str
    note: str


@functools.cache
def lexicon(lang: str) -> tuple[Entry, ...]:
    """All entries of a language ("en" or "ar"); ValueError for another language or a row that breaks the rules."""
    if lang not in LANGUAGES:
        raise ValueError(f"there is no lexicon for the language {lang!r}")
    with open(LEXICON_DIR / f"{lang}.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    entries = []
    for number, row in enumerate(rows, start=2):
        entry = Entry(row["lemma"], row["form"], row["gender"], row["class"], row["only"], row["note"])
        known = entry.gender in GENDERS and entry.word_class in WORD_CLASSES and entry.only in DRESSES
        if not known or row["language"] != lang or not entry.form:
            raise ValueError(f"{lang}.tsv, line {number}: {row}")
        entries.append(entry)
    return tuple(entries)
