"""The analyser farahidi behind the interface of ``morphology``: an optional extra, imported only when asked for."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from core.errors import UserError
from core.gender.lexicon import MARKS
from core.gender.morphology import Reading
from core.gender.tokens import split_words

NOUN = {"مذكر": "male", "مؤنث": "female"}
SHE = ("هي", "هنّ", "هن")
HE = ("هو", "هم")
OWNERS = {"ه": "male", "ها": "female"}


class FarahidiGenderAnalyzer:
    """A word by itself is taken in its most frequent reading, a word of a text in the one that its context favours.

    It knows grammar and not persons, so ``person`` is None.

    UserError where the package farahidi is not installed.
    """

    name = "farahidi"

    def __init__(self) -> None:
        try:
            package = importlib.import_module("farahidi")
        except ModuleNotFoundError as e:
            why = "It is an optional extra under GPL-3.0 and off by default."
            do = "pip install farahidi==0.4.0, or use the analyser rules, which needs nothing."
            raise UserError("The Arabic analyser farahidi is not installed.", why, do) from e
        self._analyzer: Any = package.Analyzer()
        self._disambiguator: Any = package.Disambiguator()
        self._cached = functools.lru_cache(50_000)(self._analyze)

    def analyze(self, word: str) -> Reading:
        """One word by itself, clitics included."""
        return Reading(0, len(word), word, *self._cached(word))

    def analyze_text(self, text: str) -> list[Reading]:
        """Every word of an Arabic text, in order."""
        words = split_words(text)
        chosen = self._disambiguator.disambiguate([w.text for w in words])
        return [
            Reading(w.start, w.end, w.text, *self._cached(w.text, c.lemma, c.stem))
            for w, c in zip(words, chosen, strict=True)
        ]

    def _analyze(self, word: str, lemma: str = "", stem: str = "") -> tuple[str, str, bool | None, str, str]:
        readings = self._analyzer.analyze(word)
        if not readings:
            return "", "", None, "", ""
        first = next((r for r in readings if lemma and (r.lemma, r.stem) == (lemma, stem)), readings[0])
        pronoun = MARKS.sub("", first.pronoun or "")
        gender = NOUN.get(first.gender or "", "")
        gender = gender or ("female" if pronoun in SHE else "male" if pronoun in HE else "")
        attached = [MARKS.sub("", affix.form) for affix in first.enclitics]
        owner = next((OWNERS[form] for form in attached if form in OWNERS), "")
        return gender, MARKS.sub("", first.pos or ""), None, "", owner
