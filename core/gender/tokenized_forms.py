"""What a tokenizer does to the word forms of a lexicon: at which piece each parts from its counterpart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from core.gender.contrast import WORD_END, contrast
from core.words.captions import find
from core.words.pairs import counterpart, pairs

CARRIERS = {"en": "A photo of {} here.", "ar": "في الصورة {} هنا."}  # a word within a sentence
AT_MOST = 500  # forms that a tokenizer is asked about
PARTS = ("first", "second", "third", "later", "end")  # the piece of a word at which it parts from its counterpart


class Forms(NamedTuple):
    """Of a lexicon's forms in a tokenizer: how many there are, how many have a contrast, and how many part where."""

    n: int
    n_covered: int
    parts: Mapping[str, int]  # by PARTS


def forms(tokenizer: Any, lang: str, lexicon_file: str = "", at_most: int = AT_MOST) -> Forms:
    """Forms that stand in minimal pairs, ``at_most`` so many of them at even distances, within a sentence.

    It says what a tokenizer does to the lexicon's words, and nothing of how often captions use them.
    """
    front, _, back = CARRIERS[lang].partition("{}")
    known = sorted({form for pair in pairs(lang, lexicon_file) for form in (pair.female, pair.male)})
    found: Counter[str] = Counter()
    n = n_covered = 0
    for form in known[:: -(-len(known) // at_most)]:
        text = front + form + back
        hit = next((h for h in find(text, lang, lexicon_file) if h.start == len(front)), None)
        if hit is None:
            continue  # what stands around it makes it another word
        n += 1
        other = counterpart(text, hit, lang, lexicon_file)
        one = contrast(tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer, hit, other.word, other.why)
        if not one.why:
            n_covered += 1
            ends = WORD_END in (one.female, one.male)
            found["end" if ends else PARTS[min(3, one.slot - one.begins)]] += 1
    return Forms(n, n_covered, {part: found[part] for part in PARTS})


def says(found: Forms) -> str:
    """One line on a tokenizer's forms."""
    if not found.n_covered:
        return f"none of {found.n:,} gendered forms can be told from its counterpart"
    parts = ", ".join(f"{name} {n / found.n_covered:.0%}" for name, n in found.parts.items())
    share = f"{found.n_covered / found.n:.0%} of {found.n:,} gendered forms"
    return f"{share} part from their counterpart; at the piece: {parts}"
