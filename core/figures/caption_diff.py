"""What steering did to a caption, word by word: removed, added, or turned to the other gender."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

WORD = re.compile(r"[\w\u064B-\u065F\u0670\u0640]+(?:['’-]\w+)*")  # vowel signs and tatweel stay in their word
OPPOSITE = {"male": "female", "female": "male"}

Gendered = Iterable[tuple[int, int, str]]
"""(start, end, gender) of the gendered words of a text."""


@dataclass(frozen=True)
class Change:
    """Characters start to end of one text, and what became of them: "removed", "added" or "flipped"."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Difference:
    """The changes to be marked in the text before and in the text after, and what became of the text as a whole."""

    before: tuple[Change, ...]
    after: tuple[Change, ...]
    n_words: int  # of the text before
    flipped: bool
    broken: bool  # the text after is one word over and over

    @property
    def changed(self) -> bool:
        """Whether any word differs."""
        return bool(self.before or self.after)


def caption_difference(
    before: str, after: str, gendered: Callable[[str], Gendered], finished: bool = True
) -> Difference:
    """Compare two captions word by word (case and punctuation apart).

    A gender has flipped where a word of the one went and a word of the other came, wherever in the caption: sentences
    are often built anew around it. While the second text is still being written (not `finished`), words that it has
    not reached yet are not called removed.
    """
    one, two = _words(before), _words(after)
    gender_one, gender_two = _genders(one, gendered(before)), _genders(two, gendered(after))
    blocks = SequenceMatcher(None, [w[2] for w in one], [w[2] for w in two], autojunk=False).get_opcodes()
    gone: list[int] = []
    new: list[int] = []
    for kind, i, j, k, m in blocks:
        if kind == "equal" or (not finished and m == len(two) and kind == "delete"):
            continue
        gone += range(i, j if finished or m < len(two) else min(j, i + (m - k)))
        new += range(k, m)
    came = {gender_two[x] for x in new}
    turned = {gender_one[x] for x in gone if OPPOSITE.get(gender_one[x]) in came}
    turned |= {OPPOSITE[gender] for gender in turned}
    removed = [_change(one[x], gender_one[x] in turned, "removed") for x in gone]
    added = [_change(two[x], gender_two[x] in turned, "added") for x in new]
    flipped = bool(turned)
    return Difference(tuple(removed), tuple(added), len(one), flipped, _broken([w[2] for w in two]))


def _broken(words: list[str]) -> bool:
    """Whether one word makes up more than half of a text of at least eight words."""
    return len(words) >= 8 and Counter(words).most_common(1)[0][1] > len(words) / 2


def _words(text: str) -> list[tuple[int, int, str]]:
    return [(m.start(), m.end(), m.group().casefold()) for m in WORD.finditer(text)]


def _genders(words: list[tuple[int, int, str]], hits: Gendered) -> list[str]:
    found = list(hits)
    return [next((g for s, e, g in found if s < end and e > start), "") for start, end, _ in words]


def _change(word: tuple[int, int, str], turned: bool, kind: str) -> Change:
    return Change(word[0], word[1], "flipped" if turned else kind)
