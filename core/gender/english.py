"""English words and the lexicon: whole words, with hyphens, titles and the young of animals in mind."""

from __future__ import annotations

import re
from collections.abc import Sequence

from core.gender.lexicon import Entry, animals
from core.gender.tokens import Found, Phrases, Word

HYPHEN = re.compile("[-\u2010\u2011]")
BEHIND_HYPHEN = ("in", "to", "and", "or")  # mother-in-law, bride-to-be, husband-and-wife are persons; man-made is none


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
