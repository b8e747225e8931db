"""Arabic words and the lexicon: spelling made even, clitics taken off where a known form remains.

A possessive or an article is taken off only to find the word itself: طبيبها (her doctor) is a man. Nothing is guessed
from an ending: سيارة (car) is feminine and no person, حمزة is a man's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from core.words.lexicon import EXCEPTION, Entry, Found, Phrases, Word, animals, bare, plain
from core.words.neighbours import settle

PRONOUNS = {"ه": "male", "ها": "female", "هم": "neutral", "هن": "female", "هما": "neutral"}
SUFFIXES = (*PRONOUNS, "ك", "كم", "كن", "كما", "نا", "ي")
PREPOSITION_WORDS = """
ل ب مع من عن علي الي في عند لدي بين فوق تحت حول خلف امام وراء قرب بقرب جانب بجانب جوار بجوار قبل بعد
نحو
"""
PREPOSITIONS = frozenset(PREPOSITION_WORDS.split())
FRONTS = tuple(re.compile(p) for p in ("()ال", "()[وف]", "([وف]?)[بكلس]", "([وف]?)[بك]?ال", "([وف]?)لل"))
MAX_KNOWN = 200_000  # words that are kept with what they were found to be
SETTLED = {"adjective", "agent", "machine", "boys", "counted", "head"}  # conditions that the neighbours decide
OR_WORDS = frozenset(map(plain, ("هل", "سواء", "أكان", "أهو", "أهي")))


class Parts(NamedTuple):
    """A word taken apart; ``article`` says whether ال was taken off, ``suffix`` is the pronoun that was."""

    prefix: str
    stem: str
    article: bool
    suffix: str

    @property
    def clitics(self) -> str:
        """What was taken off, with a + on the side of the word."""
        fronts = [self.prefix.removesuffix("ال").removesuffix("لل"), "ل" * self.prefix.endswith("لل")]
        marks = [f"{letter}+" for letter in "".join(fronts)] + ["ال+"] * self.article
        return " ".join(marks + ([f"+{self.suffix}"] if self.suffix else []))


class Place(NamedTuple):
    """Where a word stands, as far as that decides what it is."""

    first: bool = False
    may_be_or: bool = True
    animal: bool = False


class ArabicWords:
    """Finds the forms of an Arabic lexicon."""

    def __init__(self, entries: Sequence[Entry]):
        self._forms: dict[str, Entry] = {}
        for spelling in (lambda form: form, lambda form: form.replace("آ", "ا")):
            for entry in entries:
                self._forms.setdefault(plain(spelling(entry.form)), entry)
        self._phrases = Phrases(entries)
        self._animals = animals("ar")
        self._known: dict[tuple[str, Place], Found | None] = {}
        self._opening: dict[str, tuple[Parts, ...]] = {}

    def hits(self, words: Sequence[Word], asks: bool = False) -> list[tuple[int, Found]]:
        """Where a form of the lexicon was found and what it is among its neighbours, exceptions left out.

        ``asks``: in a question or after a person, أم is "or" and no mother.
        """
        found: list[tuple[int, Found]] = []
        at = 0
        while at < len(words):
            person = (
                bool(found) and found[-1][0] + found[-1][1].n_words == at and found[-1][1].word_class != "agreement"
            )
            here = self.at(words, at, asks or person)
            if here and here.gender != EXCEPTION:
                found.append((at, here))
            at += here.n_words if here else 1
        return settle(words, found, self._plural_before_noun) if found else found

    def at(self, words: Sequence[Word], at: int, may_be_or: bool = False) -> Found | None:
        """What the word ``words[at]`` is by itself; ``may_be_or``: أم may be "or"."""
        word, following = words[at], words[at + 1] if at + 1 < len(words) else None
        for parts in self._openings(word.text) if following else ():
            found = self._phrases.match(plain(parts.stem), words, at, "ال")
            if found:
                entry, n_words = found
                return _found(entry, parts, n_words)
        animal = bool(following) and following.gap.isspace() and following.plain.removeprefix("ال") in self._animals
        asked = word.plain == "ام" and (may_be_or or any(w.plain in OR_WORDS for w in words))
        return self.look_up(word.text, Place(word.first, asked, animal))

    def _plural_before_noun(self, found: Found) -> Found | None:
        """راكبي الدراجات: not "my rider" but riders, who lose their ن before another noun."""
        entry = self._forms.get(plain(found.form) + "ين")
        if entry is None or "plural" not in entry.number:
            return None
        return found._replace(clitics=found.clitics.removesuffix("+ي").strip(), form=entry.form, number=entry.number)

    def _openings(self, word: str) -> tuple[Parts, ...]:
        """The ways to read a word as the first of several that are one form."""
        if word not in self._opening:
            if len(self._opening) > MAX_KNOWN:
                self._opening.clear()
            ways = [parts for parts in take_apart(bare(word)) if not parts.suffix]
            self._opening[word] = tuple(parts for parts in ways if self._phrases.begins(plain(parts.stem)))
        return self._opening[word]

    def look_up(self, word: str, place: Place | None = None) -> Found | None:
        """What one written Arabic word is, by itself where no ``place`` is given."""
        key = (word, place or Place())
        if key not in self._known:
            if len(self._known) > MAX_KNOWN:
                self._known.clear()
            self._known[key] = self._look_up(*key)
        return self._known[key]

    def _look_up(self, word: str, place: Place) -> Found | None:
        word = bare(word)
        preposition = _preposition(word)
        if preposition:
            return preposition  # ولديها is "and she has", and not her two boys
        for parts in take_apart(word):
            for stem in self._stems(parts):
                entry = self._forms.get(plain(stem))
                if entry and _fits(entry, parts, stem, place):
                    return _found(entry, parts)
        return self._heh_for_teh(word)

    def _heh_for_teh(self, word: str) -> Found | None:
        """امرأه, written with ه for ة: only where nothing else was found, and with no preposition before it."""
        if not word.endswith("ه") or len(word) < 4:
            return None
        for parts in take_apart(word[:-1] + "ة"):
            entry = None if parts.suffix else self._forms.get(plain(parts.stem))
            free = entry is not None and not set(entry.only) - SETTLED
            if entry and free and entry.form.endswith("ة") and not set(parts.prefix) & set("بكلس") - {"ل"}:
                return _found(entry, parts)
        return None

    def _stems(self, parts: Parts) -> Iterator[str]:
        """The stem, and what it is written as without what was taken off or without the accusative ا."""
        stem = parts.stem
        yield stem
        if parts.suffix:
            last = {"ت": "ة", "ئ": "ء", "ؤ": "ء"}.get(stem[-1])
            if last:
                yield stem[:-1] + last
            if stem[-1] in "وي" and plain(stem[:-1]) in self._forms:
                yield stem + "ن"  # معلموها, without the ن of معلمون
            dual = self._forms.get(plain(stem + "ن")) if stem[-1] == "ا" else None
            if dual and "dual" in dual.number.split():
                yield stem + "ن"  # طفلاها
        elif not parts.article and len(stem) > 3:
            if stem.endswith(("و", "تا")):
                yield stem + "ن"  # لاعبو الفريق, the same before another noun
            if stem.endswith("ا"):
                yield stem[:-1]  # رجلا


def _found(entry: Entry, parts: Parts, n_words: int = 1) -> Found:
    return Found(
        entry.gender, entry.word_class, entry.lemma, parts.clitics, n_words, entry.form, entry.only, entry.number
    )


def take_apart(word: str) -> Iterator[Parts]:
    """The word as it is, then without suffix, prefixes and both; the fewest letters taken off first."""
    fronts = [("", word, False)]
    for pattern in FRONTS:
        match = pattern.match(word)
        if match and len(word) > match.end():
            fronts.append((match[0], word[match.end() :], match[0].endswith(("ال", "لل"))))
    for prefix, stem, article in fronts:
        yield Parts(prefix, stem, article, "")
    for prefix, stem, article in fronts:
        for suffix in SUFFIXES:
            if not article and stem.endswith(suffix) and len(stem) > len(suffix) + 1:
                yield Parts(prefix, stem.removesuffix(suffix), False, suffix)


def _fits(entry: Entry, parts: Parts, stem: str, place: Place) -> bool:
    """Whether a form may stand in this dress and place."""
    particle = parts.prefix.removesuffix("ال").removesuffix("لل")
    if entry.gender == EXCEPTION and (parts.suffix or parts.stem != stem):
        return False
    if stem[0] == "إ" and entry.form[0] == "أ":
        return False  # إبطال is no misspelt أبطال; the other way round it is a common one
    if "hamza" in entry.only and any(letter in entry.form and letter not in stem for letter in "أإ"):
        return parts.article and entry.form[0] not in "أإ"  # المراة, but مراة is a mirror and امام "in front of"
    if entry.word_class == "pronoun" and (parts.article or parts.suffix or particle not in ("", "و", "ف")):
        return False
    verb = entry.word_class == "agreement" and entry.form[0] in "يت"
    if ("س" in particle and not verb) or (verb and (parts.article or set(particle) & {"ب", "ك"})):
        return False
    if entry.word_class == "agreement" and parts.suffix == "ي":
        return False
    if particle and not parts.article:  # باب (door) is not ب + أب, وجدها (found her) not و + جد + ها
        if entry.form[0] in "أإ" and stem[0] not in "أإ":
            return False
        if len(stem) < 3 and stem[0] not in "أإ" and entry.word_class != "pronoun":
            return False
    return all(_wears(only, parts, stem, place) for only in entry.only if only not in ("first", "mother")) or (
        not particle and parts.stem == stem and not parts.suffix and _stands(entry, place)
    )


def _stands(entry: Entry, place: Place) -> bool:
    """Whether a form that needs ال or a possessive may do without, in this place."""
    return not place.animal and (
        ("first" in entry.only and place.first) or ("mother" in entry.only and not place.may_be_or)
    )


def _wears(only: str, parts: Parts, stem: str, place: Place) -> bool:
    """Whether one condition of ``lexicon.DRESSES`` holds."""
    accusative = not parts.suffix and len(parts.stem) == len(stem) + 1
    match only:
        case "bare":
            return not parts.article and not parts.suffix
        case "bound":
            return (parts.article or bool(parts.suffix)) and not accusative
        case "article":
            return parts.article
        case "no-suffix":
            return not parts.suffix
        case "not-mine":
            return parts.suffix != "ي"
        case "alone":
            return parts.prefix in ("", "و") and not parts.suffix
        case "yeh":
            return not stem.endswith("ى")
        case "not-animal":
            return not place.animal
    return True


def _preposition(word: str) -> Found | None:
    """A preposition with the pronoun of a third person (وبجانبها, له, عليها): it speaks of persons and of things."""
    for front in ("", word[:1] if word[:1] in ("و", "ف") else ""):
        for suffix, gender in PRONOUNS.items():
            stem = word.removeprefix(front).removesuffix(suffix)
            known = stem[:-1] + "ء" if stem[-1:] in ("ئ", "ؤ") else stem
            if word.endswith(suffix) and plain(known) in PREPOSITIONS:
                return Found(gender, "agreement", suffix, " ".join(f"{part}+" for part in (front, stem) if part))
    return None
