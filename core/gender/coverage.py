"""For how many captions, and for how many word forms of a tokenizer, the contrasts of core.gender.contrast speak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from core.config.sections import MIN_COVERAGE
from core.gender.contrast import WORD_END, contrast
from core.words.captions import find
from core.words.pairs import counterpart, pairs

CARRIERS = {"en": "A photo of {} here.", "ar": "في الصورة {} هنا."}  # a word within a sentence
AT_MOST = 500  # forms that a tokenizer is asked about
PARTS = ("first", "second", "third", "later", "end")  # the piece of a word at which it parts from its counterpart


class Coverage(NamedTuple):
    """For how many captions of a language the contrasts speak."""

    n_captions: int
    n_gendered: int  # that hold a gendered word
    n_covered: int  # of these, with a contrast
    reasons: Mapping[str, int]  # why the others have none, the most frequent first

    @property
    def share(self) -> float:
        """Covered of gendered captions; NaN without any."""
        return self.n_covered / self.n_gendered if self.n_gendered else float("nan")

    @property
    def why(self) -> str:
        """Why these contrasts say nothing of the language, "" where they do."""
        if not self.n_gendered:
            return "no caption names a woman or a man"
        if self.share >= MIN_COVERAGE:
            return ""
        covered = f"{self.n_covered} of {self.n_gendered} captions that name a gender have a pair of words to compare"
        return f"{covered}; {MIN_COVERAGE:.0%} are needed (most often: {next(iter(self.reasons))})"


def coverage(contrasts: Iterable[Mapping[str, Any]], n_captions: int) -> Coverage:
    """Coverage of one language, from its rows of contrasts.parquet (one a caption that holds a gendered word)."""
    reasons = Counter(row["why"] for row in contrasts)
    n_covered = reasons.pop("", 0)
    return Coverage(n_captions, n_covered + reasons.total(), n_covered, dict(reasons.most_common()))


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
