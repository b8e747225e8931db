"""English words and the lexicon: possessives, misspellings, compounds in which a word for a person names a thing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from core.words.lexicon import EXCEPTION, Entry, Found, Phrases, Word, animals, heads, on_a_sign

HYPHEN = re.compile("[-\u2010\u2011]")
APOSTROPHE = re.compile("['’ʼ＇`´]")
BEHIND_HYPHEN = ("in", "to", "and", "or")  # mother-in-law, bride-to-be, husband-and-wife are persons; man-made is none
PERSONS = ("noun", "kinship", "role")
COUNTING = ("the", "these", "those", "two", "three", "four", "five", "several", "both")
MISSPELT = """
woman girl lady gentleman person child toddler teenager female someone everyone mother father brother sister daughter
husband grandmother grandfather girlfriend boyfriend fireman fisherman policeman businessman
"""
COMMON = frozenset(MISSPELT.split())  # lemmas whose misspellings are known
MAX_KNOWN = 200_000  # words that are kept with whether the lexicon may have them
SHORTEST = 6  # letters of a form whose misspellings are known
SHORTER = ("woman", "women", "child", "girls")
KEYS = ("wertyuiop", "asdfghjkl", "cvbnm")  # without the rare q, x and z


class EnglishWords:
    """Finds the forms of an English lexicon."""

    def __init__(self, entries: Sequence[Entry]):
        self._forms = {entry.form.casefold(): entry for entry in reversed(entries)}
        self._phrases = Phrases(entries)
        self._animals = animals("en")
        self._plurals = {form for form, entry in self._forms.items() if entry.word_class == "noun" and _is_plural(form)}
        self._misspelt = dict(self._misspellings())
        self._known: dict[str, bool] = {}

    def hits(self, words: Sequence[Word], asks: bool = False) -> list[tuple[int, Found]]:
        """Where a word or phrase was found and what it is, exceptions left out; ``asks`` is meant for Arabic alone."""
        del asks
        found, at = [], 0
        while at < len(words):
            here = self.at(words, at) if self._may_begin(words[at].plain) else None
            if here and here.gender != EXCEPTION:
                found.append((at, here))
            at += here.n_words if here else 1
        return found

    def _may_begin(self, word: str) -> bool:
        """Whether anything of the lexicon begins with a word; asked of each word once."""
        known = self._known.get(word)
        if known is None:
            if len(self._known) > MAX_KNOWN:
                self._known.clear()
            known = self._known[word] = self._phrases.begins(word) or self._entry(word) is not None
        return known

    def at(self, words: Sequence[Word], at: int) -> Found | None:
        """What the word ``words[at]`` is."""
        word = words[at]
        phrase = self._phrases.match(word.plain, words, at)
        if phrase:
            entry, n_words = phrase
            return Found(entry.gender, entry.word_class, entry.lemma, n_words=n_words, form=entry.form)
        entry = self._entry(word.plain)
        if entry is None or entry.gender == EXCEPTION:
            return None
        following = words[at + 1] if at + 1 < len(words) else None
        if (
            not self._fits(entry, word, following)
            or self._names_a_thing(entry, words, at)
            or on_a_sign(words, at, "en")
        ):
            return None
        if "not-animal" in entry.only and at and words[at - 1].plain == "its":
            return None  # an animal's mother, an animal's baby
        return Found(entry.gender, entry.word_class, entry.lemma, form=entry.form)

    def _entry(self, word: str) -> Entry | None:
        return self._forms.get(word) or self._without_apostrophe(word) or self._misspelt.get(word)

    def _without_apostrophe(self, word: str) -> Entry | None:
        """mans, childrens: a possessive whose apostrophe was left out."""
        entry = self._forms.get(word[:-1]) if word.endswith("s") else None
        return entry if entry and entry.word_class in PERSONS and not entry.only else None

    def _fits(self, entry: Entry, word: Word, following: Word | None) -> bool:
        if "title" in entry.only:
            return word.text.istitle() and following is not None and following.text[0].isupper()
        if following is None:
            return True
        if HYPHEN.fullmatch(following.gap):
            return following.plain in self._forms or following.plain in BEHIND_HYPHEN
        return not ("not-animal" in entry.only and following.gap.isspace() and following.plain in self._animals)

    def _names_a_thing(self, entry: Entry, words: Sequence[Word], at: int) -> bool:
        """A cowboy shirt, a child seat, the men's room, women's clothing: what a thing is for or looks like."""
        if at + 1 == len(words):
            return False
        following, kinds = words[at + 1], heads("en")
        if following.gap.isspace() and words[at].plain == entry.lemma:  # princesses dress, children swing
            if entry.word_class == "role" or entry.lemma in kinds["costume"]:
                return following.plain in kinds["garment"]
            if entry.lemma in kinds["young"]:
                return following.plain in kinds["equipment"]
        if words[at].plain not in self._plurals and words[at].plain in self._forms:
            return False
        thing, owned = following, "'" in following.gap or "’" in following.gap or words[at].plain not in self._forms
        if following.plain == "s" and APOSTROPHE.fullmatch(following.gap) and at + 2 < len(words):
            thing = words[at + 2]
        if thing.plain in kinds["place"]:
            return True
        return owned and thing.plain in kinds["category"] and not (at and words[at - 1].plain in COUNTING)

    def _misspellings(self) -> Iterator[tuple[str, Entry]]:
        """Common words with one letter wrong; a word of its own that is near one has a row of gender none."""
        for form, entry in self._forms.items():
            if entry.lemma in COMMON and entry.gender != EXCEPTION and (len(form) >= SHORTEST or form in SHORTER):
                yield from ((wrong, entry) for wrong in misspellings(form) if wrong not in self._forms)


def _is_plural(form: str) -> bool:
    return form.endswith(("men", "children", "people")) or (form.endswith("s") and not form.endswith("ss"))


def misspellings(word: str) -> Iterator[str]:
    """The ways to get one letter wrong but the first (Damerau 1964): left out, too many, swapped with the next, missed.

    A missed letter is one beside it on the keyboard; a letter too many at the end is no s, which would be a plural.
    """
    for at in range(1, len(word)):
        before, letter, after = word[:at], word[at], word[at + 1 :]
        if after or letter != "s":
            yield before + after
        if after and after[0] != letter:
            yield before + after[0] + letter + after[1:]
        for row in KEYS:
            place = row.find(letter)
            if place >= 0:
                yield from (before + near + after for near in row[max(0, place - 1) : place + 2] if near != letter)
        yield from (before + more + letter + after for more in "".join(KEYS))
    yield from (word + more for more in "".join(KEYS) if more != "s")
