"""Arabic gender by the form of the word: what grammar marks, and whether it is a person's, kept apart.

سيارة (car) is feminine and no person; حمزة ends like a woman and is a man; طبيبها (her doctor) is a man, hers. Beside
the rules here stands the analyser farahidi: an optional extra, imported only when asked for.
"""

from __future__ import annotations

import csv
import functools
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from core.errors import UserError
from core.words.arabic import ArabicWords, Parts, take_apart
from core.words.lexicon import LEXICON_DIR, MARKS, all_entries, bare, plain, split_words

ENDINGS = (("تان", "female"), ("تين", "female"), ("ات", "female"), ("ة", "female"), ("ون", "male"), ("ين", "male"))
OWNERS = {"ه": "male", "ها": "female"}
# Words whose last or first letters only look like an ending or a verb's prefix.
ROOTED_WORDS = """
أصوات أوقات أبيات أموات أقوات نبات فرات ثبات بات شتات سبات هات
زيتون صابون ليمون قانون تلفزيون كانون عيون فنون جنون سكون شؤون ديون بالون صالون كرتون عشرون ثلاثون أربعون خمسون
طين تين سكين بنزين عين يمين سنين ياسمين حنين تمرين تدخين تزيين تلوين تكوين حين دين لين ثمين متين عرين جبين طحين
عشرين ثلاثين أربعين خمسين ملايين بساتين براهين فساتين سلاطين شياطين عناوين قوانين فلسطين صين
وجه مياه فواكه شبه اتجاه انتباه فقه منتزه وجوه تجاه شفاه جباه أشباه رفاه كره أبله تافه
يد يوم يسار يخت يناير يونيو يوليو يورو ياقوت يقين يتيم ينبوع
تحت تاج تل تمر توت تراب تفاح تمثال تلفاز تذكار تقويم تاريخ تاكسي تصميم تركيب ترام تنين تيار تقرير تيشرت
تقليدي تقريبا تماما
"""
ROOTED = frozenset(map(plain, ROOTED_WORDS.split()))
NOUN = {"مذكر": "male", "مؤنث": "female"}
SHE = ("هي", "هنّ", "هن")
HE = ("هو", "هم")


class Reading(NamedTuple):
    """What the form of one word says; ``text[start:end] == word``.

    ``grammatical`` is the gender that grammar marks ("" where nothing marks it), ``marker`` what marks it; ``person``
    whether a person is meant (None: it cannot be told), and ``gender`` that person's, "" where ``person`` is not True.
    ``owner`` is the gender of an attached ه or ها.
    """

    start: int
    end: int
    word: str
    grammatical: str
    marker: str
    person: bool | None
    gender: str
    owner: str


class ArabicAnalyzer(Protocol):
    """What reads the gender of Arabic words; see ``gender_analyzer``."""

    name: str

    def analyze(self, word: str) -> Reading:
        """One word by itself."""
        ...

    def analyze_text(self, text: str) -> list[Reading]:
        """Every word of a text, in order."""
        ...


class MorphologicalGenderAnalyzer:
    """Reads the suffixes ة ات ها ه ون ين and the verb prefixes ي ت, after the lexicon of persons and a list of names.

    A word that neither knows is no person where an ending marks it (سيارة, مدينة), and unknown (None) elsewhere. Words
    are read by themselves, so the generic masculine has the gender of its form; ``core.words.find`` reads it in place.
    """

    name = "rules"

    def __init__(self, lexicon_file: str | Path = ""):
        self._words = ArabicWords(all_entries("ar", lexicon_file))
        self._cached = functools.lru_cache(50_000)(self._analyze)

    def analyze(self, word: str) -> Reading:
        """One word by itself, clitics included; UserError for what is no text."""
        _check(word)
        return Reading(0, len(word), word, *self._cached(word))

    def analyze_text(self, text: str) -> list[Reading]:
        """Every word of an Arabic text, in order; UserError for what is no text."""
        _check(text)
        return [Reading(w.start, w.end, w.text, *self._cached(w.text)) for w in split_words(text)]

    def _analyze(self, word: str) -> tuple[str, str, bool | None, str, str]:
        letters = bare(word)
        known = self._words.look_up(word)
        if known and known.gender in ("male", "female", "neutral"):
            person = None if known.word_class == "agreement" else True
            grammatical = known.gender if known.gender != "neutral" else _by_ending(letters)[0]
            owner = OWNERS.get(known.clitics.rpartition("+")[2], "") if known.clitics else ""
            return grammatical, "lexicon", person, known.gender if person else "", owner
        name = next(
            (
                n
                for parts in take_apart(letters)
                if not parts.suffix and not parts.article
                for n in [names().get(plain(parts.stem), "")]
                if n
            ),
            "",
        )
        if name:
            return name, "name", True, name, ""
        grammatical, marker, owner = _by_ending(letters)
        return grammatical, marker, False if marker and not marker.startswith("-") else None, "", owner


def _check(text: object) -> None:
    if not isinstance(text, str):
        what, why = f"A {type(text).__name__} has no gender to read.", "The form of Arabic words is read."
        raise UserError(what, why, "Give one word to analyze, or a text to analyze_text.")


def _by_ending(word: str) -> tuple[str, str, str]:
    """(grammatical gender, marker, gender of an attached pronoun) by the letters alone; a verb's prefix is "-ي"."""
    if any(plain(stem) in ROOTED for stem in _fronts_off(word)):
        return "", "", ""
    for ending, gender in ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return gender, ending, ""
    for suffix, owner in (("ها", "female"), ("ه", "male")):
        stem = word.removesuffix(suffix)
        if word.endswith(suffix) and len(stem) > 2:
            ta = stem.endswith("ت") and len(stem) > 3 and plain(stem) not in ROOTED
            return ("female", "ة", owner) if ta else ("", "", owner)
    for stem in _fronts_off(word):
        if len(stem) > 3 and stem[0] in "يت" and not word.startswith("ال"):
            return ("male" if stem[0] == "ي" else "female"), f"-{stem[0]}", ""
    return "", "", ""


def _fronts_off(word: str) -> Iterator[str]:
    """The word as it is, and without و ف س and ال."""
    parts: Parts
    for parts in take_apart(word):
        if not parts.suffix and parts.prefix in ("", "ال", "و", "ف", "س", "وس", "فس", "وال", "بال", "لل"):
            yield parts.stem


@functools.cache
def names() -> dict[str, str]:
    """Given names with their gender, as compared; among them the men's names that end in ة."""
    with open(LEXICON_DIR / "names_ar.tsv", encoding="utf-8", newline="") as file:
        return {plain(row["form"]): row["gender"] for row in csv.DictReader(file, delimiter="\t")}


def gender_analyzer(name: str = "rules") -> ArabicAnalyzer:
    """The analyser of that name: "rules" (MorphologicalGenderAnalyzer) or "farahidi" (an optional extra, GPL-3).

    UserError where farahidi is asked for and not installed, ValueError for another name.
    """
    if name == "rules":
        return MorphologicalGenderAnalyzer()
    if name == "farahidi":
        return FarahidiGenderAnalyzer()
    raise ValueError(f"there is no analyser called {name!r}; known are rules, farahidi")


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
