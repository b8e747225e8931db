"""The gender that words go with: of those that a feature fires on, and of any word over a corpus of captions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from core.words.captions import FINDERS, caption_gender, find
from core.words.generic import UNMARKED, under
from core.words.lexicon import plain, split_words

GENDERED = ("male", "female")
MIN_COUNT = 5  # below which no share and no PMI is said


@dataclass(frozen=True)
class Association:
    """How words go with gender: counts, the share that is female with its 95 % interval, and PMI in bits.

    ``n`` are all words (or captions), of which ``n_male``, ``n_female`` and ``n_neutral`` have that gender.
    ``share_female`` is of the male and female ones, ``base_female`` the same share of the whole corpus: the control.
    NaN, with ``enough`` false, where fewer than MIN_COUNT are male or female.
    """

    n: int
    n_male: int
    n_female: int
    n_neutral: int
    share_female: float
    low: float
    high: float
    base_female: float
    pmi_male: float
    pmi_female: float
    enough: bool

    @property
    def leans(self) -> str:
        """male or female where the interval excludes the corpus's share, else ""."""
        if not self.enough or self.low <= self.base_female <= self.high:
            return ""
        return "female" if self.low > self.base_female else "male"


class SemanticGenderAnalyzer:
    """Lexical gender of words and of the words a feature fires on, against a corpus of captions in one language.

    ``captions`` are the corpus, ``genders`` the gender of each (of the image, say); without them that of the caption's
    own words, which makes the company of those very words circular. ``policy`` is what the generic masculine counts as
    (``core.words.generic.POLICIES``). UserError where the lengths differ, for another
    language than "en" and "ar", and for one text in the place of a list.
    """

    def __init__(
        self,
        captions: Sequence[str],
        lang: str,
        genders: Sequence[str] | None = None,
        lexicon_file: str | Path = "",
        policy: str = UNMARKED,
    ):
        if isinstance(captions, str):
            why = "Words are held against all captions of a corpus."
            raise UserError("The captions are one text.", why, "Give a list of captions: [text].")
        if lang not in FINDERS:
            why, do = f"There are lexicons for {', '.join(FINDERS)}.", "Choose one of these."
            raise UserError(f"Words of {lang!r} have no known gender.", why, do)
        if genders is not None and len(genders) != len(captions):
            what = f"There are {len(captions)} captions and {len(genders)} genders."
            raise UserError(what, "Each caption has the gender of its image.", "Give one gender for each caption.")
        self._lang, self._lexicon, self._policy = lang, lexicon_file, policy
        self._lexical: dict[str, str] = {}
        self._tokens: Counter[str] = Counter()  # words of the corpus by lexical gender
        self._captions: Counter[str] = Counter()  # captions by gender
        self._company: dict[str, Counter[str]] = {}  # captions that hold a word, by gender
        for number, text in enumerate(captions):
            words = [word.plain for word in split_words(text)]
            self._tokens.update(self.lexical(word) for word in words)
            gender = caption_gender(find(text, lang, lexicon_file), policy) if genders is None else genders[number]
            self._captions[gender] += 1
            for word in set(words):
                self._company.setdefault(word, Counter())[gender] += 1

    def lexical(self, word: str) -> str:
        """Gender of one word by the lexicon, agreement included: male, female, unmarked, neutral, or "" for none."""
        word = plain(word.strip())
        if word not in self._lexical:
            hits = under(find(word, self._lang, self._lexicon), self._policy)
            self._lexical[word] = hits[0].gender if len(hits) == 1 and hits[0].word == word else ""
        return self._lexical[word]

    def feature(self, words: Mapping[str, int] | Iterable[str]) -> Association:
        """Association of the words that a feature fires on: each firing a word, or words with how often.

        PMI(feature, g) = log2(share of the firings on words of gender g / share of such words in the corpus).
        """
        count: Counter[str] = Counter()
        for word, times in words.items() if isinstance(words, Mapping) else Counter(words).items():
            count[self.lexical(word)] += times
        return _associate(count, self._tokens)

    def word(self, word: str) -> Association:
        """Association of any word (dress, tie) with the gender of the captions that it stands in.

        PMI(word, g) = log2(P(word, g) / (P(word) P(g))) over captions (Church and Hanks 1990).
        """
        return _associate(self._company.get(plain(word), Counter()), self._captions)


def _associate(count: Counter[str], corpus: Counter[str]) -> Association:
    from core.intervals import (
        clopper_pearson,  # scipy takes a second to load, which those who only find words need not wait for
    )

    male, female = (count[g] for g in GENDERED)
    enough = male + female >= MIN_COUNT
    low, high = (float(x) for x in clopper_pearson(female, male + female)) if enough else (math.nan, math.nan)
    pmi = {g: _pmi(count[g], count.total(), corpus[g], corpus.total()) if enough else math.nan for g in GENDERED}
    share = female / (male + female) if enough else math.nan
    base = _share(corpus["female"], corpus["male"] + corpus["female"])
    return Association(
        count.total(), male, female, count["neutral"], share, low, high, base, pmi["male"], pmi["female"], enough
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _pmi(n_both: int, n_here: int, n_gender: int, n_all: int) -> float:
    """Bits; minus infinity where they never meet, NaN where the corpus has no such gender."""
    if not n_here or not n_gender:
        return math.nan
    return math.log2(n_both * n_all / (n_here * n_gender)) if n_both else -math.inf
