"""Words for things in Arabic captions and their grammatical gender: a car (سيارة) is feminine, a house (بيت) masculine.

Where the source knows what its images show, the word for the object is the thing. Elsewhere a word for a thing is one
that stands with the article somewhere in the captions and is no word for a person. Such words may be adjectives: they
agree with their noun, so that their gender is grammatical as well.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from core.run import Run
from core.words.lexicon import plain
from core.words.morphology import MorphologicalGenderAnalyzer

FEMININE_BY_USE_WORDS = """
بيتزا شمس نار أرض سماء حرب ريح دار بئر كأس فأس سن عصا يد عين أذن قدم ساق نفس روح كاميرا سينما موسيقى
دنيا ذكرى حلوى
"""
FEMININE_BY_USE = frozenset(map(plain, FEMININE_BY_USE_WORDS.split()))
MASCULINE_IN_HAMZA_WORDS = """
ماء غذاء هواء بناء غداء عشاء فضاء حذاء رداء شتاء مساء دواء لقاء إناء
"""
MASCULINE_IN_HAMZA = frozenset(map(plain, MASCULINE_IN_HAMZA_WORDS.split()))
MIN_CAPTIONS, MAX_SHARE = 5, 0.5


@functools.cache
def _analyzer() -> MorphologicalGenderAnalyzer:
    return MorphologicalGenderAnalyzer()


def grammatical_gender(word: str) -> str:
    """Gender (female or male) of an Arabic word for a thing: by its form, words feminine by use, and اء of adjectives.

    A noun that nothing marks is masculine.
    """
    if plain(word) in FEMININE_BY_USE:
        return "female"
    reading = _analyzer().analyze(word)
    if reading.marker and not reading.marker.startswith("-"):  # what begins with - is the prefix of a verb
        return reading.grammatical
    marked = word.endswith("ة") or (word.endswith("اء") and plain(word) not in MASCULINE_IN_HAMZA)
    return "female" if marked else "male"


def words_for_things(run: Run, known: Sequence[str]) -> tuple[csr_array, NDArray[np.bool_]]:
    """Which words for things stand in each sample's Arabic caption, and which of the words are feminine.

    ``known`` are the words for the objects that the samples are known to show, "" where that is not known.
    """
    captions = run.table("captions", ["sample_id", "lang", "text"]).to_pylist()
    texts = {row["sample_id"]: row["text"] for row in captions if row["lang"] == "ar"}
    said = run.table("words", ["word", "lang"]).to_pylist()
    persons = {row["word"] for row in said if row["lang"] == "ar"}
    words, stands = things([texts.get(i, "") for i in range(len(known))], known, persons)
    return stands, np.array([grammatical_gender(word) == "female" for word in words], bool)


def things(texts: Sequence[str], known: Sequence[str], persons: Collection[str]) -> tuple[list[str], csr_array]:
    """Words for things and in which captions each stands, (n_captions, n_words) of 0 and 1.

    Where the object of every image is ``known`` (n_captions,) by its word, that is the thing.
    ``persons`` are the words of the captions that name persons or agree with them.
    """
    standing = [{word} for word in known] if known and all(known) else _common(texts, persons)
    counts = Counter(word for words in standing for word in words)
    words = sorted(w for w, n in counts.items() if n >= MIN_CAPTIONS and n <= MAX_SHARE * len(texts))
    place = {word: i for i, word in enumerate(words)}
    pairs = [(row, place[w]) for row, found in enumerate(standing) for w in sorted(found) if w in place]
    rows, columns = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
    return words, csr_array((np.ones(len(pairs)), (rows, columns)), shape=(len(texts), len(words)))


def _common(texts: Sequence[str], persons: Collection[str]) -> list[set[str]]:
    """Words of each caption that stand with the article in some caption, without it, persons left out."""
    left_out = {plain(word) for word in persons}
    split = [[w for w in re.findall(r"\w+", plain(text)) if w not in left_out] for text in texts]
    named = {w.removeprefix("ال") for words in split for w in words if w.startswith("ال") and len(w) > 4}
    return [{w.removeprefix("ال") for w in words} & named for words in split]
