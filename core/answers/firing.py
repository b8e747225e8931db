"""Sentences about what fires on one picture, on a part of it or at a word: descriptions of one example, no findings."""

from __future__ import annotations

from collections.abc import Sequence

from core.answers import Answer
from core.config import LANGUAGE_NAME

NAMED = 3  # features that a sentence names
Named = tuple[int, str]  # feature, label ("" without)


def firing_answer(n: int, first: Sequence[Named], by: str, langs: Sequence[str]) -> Answer:
    """What fires on a whole picture and its captions: ``n`` features in all, ``first`` those that come first ``by``
    "unusual", "raw" or "attention"."""
    captions = "its captions" if len(langs) > 1 else f"its {LANGUAGE_NAME[langs[0]]} caption" if langs else "no caption"
    if not first:
        return Answer(f"Nothing fires on this picture and {captions}.", "not enough data")
    what = {
        "unusual": "What tells it most from the run’s other images",
        "raw": "Strongest on average",
        "attention": "Strongest, beyond what is usual, where the gendered word looks",
    }[by]
    fire = "feature fires" if n == 1 else "features fire"
    return Answer(f"{n:,} {fire} on this picture and {captions}. {what}: {_listed(first)}.", "one example")


def place_answer(n: int, first: Sequence[Named], by: str, where: str) -> Answer:
    """What fires at one place; ``where`` names it, such as "at the word “woman”"."""
    if not first:
        return Answer(f"Nothing fires {where}.", "one example")
    if n == 1:
        return Answer(f"One feature fires {where}: {_listed(first)}.", "one example")
    what = "strongest" if by == "raw" else "furthest above what is usual"
    return Answer(f"{n:,} features fire {where}; {what}: {_listed(first)}.", "one example")


def word(piece: str) -> str:
    """A word of either script, quoted so that it leaves the sentence's direction alone."""
    return f"“\u2068{piece}\u2069”"


def _listed(named: Sequence[Named]) -> str:
    said = [f"feature {feature}" + (f" ({word(label)})" if label else "") for feature, label in named[:NAMED]]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
