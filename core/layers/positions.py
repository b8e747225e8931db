"""Where a caption's gender is written: the activation rows from which its first gendered and its first word came.

The residual at a position is what the next token is chosen from, so a word is read one position before it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from core.features.tokens import LANGUAGES, PROMPT, TokenIndex
from core.gender.logit_words import WordSets
from core.gender.positions import token_at

POSITIONS = ("prompt", "word")
Ids = Mapping[int, Sequence[int]]


class Place(NamedTuple):
    """One position of one caption: its activation row, the token written next, and that token's slot in the caption."""

    caption: int
    row: int
    said: int
    slot: int


def caption_row(sample_id: int, lang: str) -> int:
    """The number of a caption among all: 2 * sample_id + (lang == "ar")."""
    return len(LANGUAGES) * sample_id + LANGUAGES.index(lang)


def telling_slots(
    words: Iterable[Mapping[str, Any]],
    captions: Ids,
    sets: Mapping[str, WordSets],
    decode: Callable[[list[int]], str],
) -> dict[int, int]:
    """By caption row, the slot of the token that says the gender of its first male or female word.

    ``words`` are rows of words.parquet; captions without such a word are left out.
    """
    first: dict[int, Mapping[str, Any]] = {}
    for word in words:
        caption = caption_row(word["sample_id"], word["lang"])
        counts = word["source"] == "own" and word["gender"] in ("male", "female") and caption in captions
        if counts and (caption not in first or word["start"] < first[caption]["start"]):
            first[caption] = word
    slots = {}
    for caption, word in first.items():
        ids = captions[caption]
        begin, last = (token_at(ids, offset, decode) for offset in (word["start"], word["end"] - 1))
        if begin < len(ids):
            slots[caption] = sets[word["lang"]].place(ids, begin, last + 1)
    return slots


def places(tokens: TokenIndex, captions: Ids, slots: Mapping[int, int]) -> list[Place]:
    """The place from which slot ``slots[c]`` of each caption row c was written, in the order of the captions.

    Rows of one sequence follow one another in the store; ValueError where the token index says otherwise.
    """
    prompt = np.flatnonzero(tokens.group == PROMPT)
    last = np.full(len(tokens.caption_length), -1, np.int64)
    in_order = prompt[np.argsort(tokens.position[prompt], kind="stable")]
    last[tokens.sequence[in_order]] = in_order  # the last one written stays
    found = []
    for caption in sorted(slots):
        row, slot = int(last[caption]) + slots[caption], slots[caption]
        said = int(captions[caption][slot])
        if tokens.sequence[row + 1] != caption or tokens.token_id[row + 1] != said or tokens.sequence[row] != caption:
            raise ValueError(f"caption {caption} does not stand in its rows of the activation store")
        found.append(Place(caption, row, said, slot))
    return found
