"""What steering did to a caption, word by word: removed, added, or turned to the other gender."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

WORD = re.compile(r"[\w\u064B-\u065F\u0670\u0640]+(?:['’-]\w+)*")  # vowel signs and tatweel stay in their word
OPPOSITE = {"male": "female", "female": "male"}
TURNS = {**OPPOSITE, "unmarked": "female"}  # طالب, of whomever it was said, becomes طالبة
GENDERLESS = frozenset({"neutral", "unmarked"})  # readings of words that may be said of anyone

KINDS = ("flipped", "neutralised", "removed", "added")

Gendered = Iterable[tuple[int, int, str] | tuple[int, int, str, str]]
"""(start, end, gender) or (start, end, gender, word class) of the words for persons in a text."""


@dataclass(frozen=True)
class Change:
    """Characters start to end of one text, and what became of them, one of KINDS.

    ``gender`` and ``word_class`` are those of a word for a person, else "".
    """

    start: int
    end: int
    kind: str
    gender: str = ""
    word_class: str = ""


@dataclass(frozen=True)
class Difference:
    """The changes to be marked in the text before and in the text after, and what became of the text as a whole."""

    before: tuple[Change, ...]
    after: tuple[Change, ...]
    n_words: int  # of the text before
    flipped: bool
    broken: bool  # the text after is one word over and over
    neutralised: bool = False

    @property
    def changed(self) -> bool:
        """Whether any word differs."""
        return bool(self.before or self.after)


def caption_difference(
    before: str, after: str, gendered: Callable[[str], Gendered], finished: bool = True
) -> Difference:
    """Compare two captions word by word (case and punctuation apart).

    A gender has flipped where a word of the one went and a word of the other came, or a generic masculine went and a
    word for a woman came; it is neutralised where no such word but one for any person (neutral, or the generic
    masculine) came, wherever in the caption: sentences are often built anew around it. While the second text is still
    being written (not `finished`), words that it has not reached yet are not called removed.
    """
    one, two = _words(before), _words(after)
    told_one, told_two = _told(one, gendered(before)), _told(two, gendered(after))
    blocks = SequenceMatcher(None, [w[2] for w in one], [w[2] for w in two], autojunk=False).get_opcodes()
    gone: list[int] = []
    new: list[int] = []
    for kind, i, j, k, m in blocks:
        if kind == "equal" or (not finished and m == len(two) and kind == "delete"):
            continue
        gone += range(i, j if finished or m < len(two) else min(j, i + (m - k)))
        new += range(k, m)
    went, came = {told_one[x][0] for x in gone}, {told_two[x][0] for x in new}
    turned = {gender for gender, other in TURNS.items() if gender in went and other in came}
    neutralised = {g for g in OPPOSITE if g in went - turned and came & GENDERLESS}
    became = dict.fromkeys(turned, "flipped") | dict.fromkeys(neutralised, "neutralised")
    brought = dict.fromkeys({TURNS[g] for g in turned}, "flipped")
    brought |= dict.fromkeys(GENDERLESS, "neutralised") if neutralised else {}
    removed = [Change(*one[x][:2], became.get(told_one[x][0], "removed"), *told_one[x]) for x in gone]
    added = [Change(*two[x][:2], brought.get(told_two[x][0], "added"), *told_two[x]) for x in new]
    broken = _broken([w[2] for w in two])
    return Difference(tuple(removed), tuple(added), len(one), bool(turned), broken, bool(neutralised))


def by_class(before: str, after: str, diff: Difference) -> dict[str, dict[str, tuple[list[str], list[str]]]]:
    """Words for women and men that changed: word class -> kind -> (words that went, words that came).

    A neutral word is named where it stands for one of them.
    """
    found: dict[str, dict[str, tuple[list[str], list[str]]]] = {}
    for side, (text, changes) in enumerate(((before, diff.before), (after, diff.after))):
        for change in changes:
            if change.gender in OPPOSITE or (change.gender and change.kind in ("flipped", "neutralised")):
                kinds = found.setdefault(change.word_class or "word", {})
                kinds.setdefault(change.kind, ([], []))[side].append(text[change.start : change.end])
    return found


def _broken(words: list[str]) -> bool:
    """Whether one word makes up more than half of a text of at least eight words."""
    return len(words) >= 8 and Counter(words).most_common(1)[0][1] > len(words) / 2


def _words(text: str) -> list[tuple[int, int, str]]:
    return [(m.start(), m.end(), m.group().casefold()) for m in WORD.finditer(text)]


def _told(words: list[tuple[int, int, str]], hits: Gendered) -> list[tuple[str, str]]:
    """(gender, word class) of each word, "" where it is none for a person."""
    found = [(hit[0], hit[1], hit[2], hit[3] if len(hit) == 4 else "") for hit in hits]
    return [next(((g, c) for s, e, g, c in found if s < end and e > start), ("", "")) for start, end, _ in words]
