"""Sentences about what fires on one picture, on a part of it or at a word: descriptions of one example, no findings."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

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


def compared_answer(n: int, n_only: int, first: Sequence[Named], n_for: int, n_against: int) -> Answer:
    """Features that are higher on every one of ``n_for`` chosen images than on any of ``n_against`` others; none:
    than is usual."""
    these = "this image" if n_for == 1 else f"every one of these {n_for} images"
    if not n_against:
        if not first:
            return Answer(f"No feature is above what is usual on {these}.", "one example")
        return Answer(f"{n:,} features are above what is usual on {these}: first {_listed(first)}.", "one example")
    those = "the other" if n_against == 1 else f"any of the {n_against} others"
    if not first:
        return Answer(f"No feature is higher on {these} than on {those}.", "one example")
    only = f"{n_only:,} of them do not fire at all on {those}" if n_only else f"all of them fire on {those} too"
    chance = f"Were the images alike, 1 in {comb(n_for + n_against, n_for)} of the features that fire would be."
    fires = "feature is" if n == 1 else "features are"
    return Answer(
        f"{n:,} {fires} higher on {these} than on {those}, first {_listed(first)}; {only}. {chance}", "one example"
    )


def groups_answer(
    n_beyond: int, first: Sequence[Named], names: tuple[str, str], n: tuple[int, int], said: str, least: int
) -> Answer:
    """Features that are higher on one gender's images than on the other's, of those whose captions have the word
    ``said``: ``n_beyond`` lie beyond what the first of all features reaches by chance. ``names`` of both groups, ``n``
    images of each, ``least`` images without which nothing is said."""
    counted = f"{n[0]:,} {names[0]} and {n[1]:,} {names[1]} have {word(said)} in a caption"
    if min(n) < least:
        return Answer(f"{counted}: too few to compare (at least {least} of each).", "not enough data")
    if not n_beyond:
        return Answer(f"{counted}. No feature is higher on the first than chance would make one.", "unclear")
    fires = "feature is" if n_beyond == 1 else "features are"
    return Answer(
        f"{counted}. {n_beyond:,} {fires} higher on {names[0]} than any feature in 95 % of deals of these images: "
        f"first {_listed(first)}.",
        "unclear",
    )
