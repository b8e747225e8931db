"""The activation rows from which a caption's gender and its first word were written.

The residual at a position is what the next token is chosen from, so a token is read one position before it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from core.features.tokens import LANGUAGES, PROMPT, TokenIndex

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


def places(tokens: TokenIndex, captions: Ids, slots: Mapping[int, int], end_id: int = -1) -> list[Place]:
    """The place from which slot ``slots[c]`` of each caption row c was written, in the order of the captions.

    A slot may lie one behind the caption, where ``end_id`` ends it. Rows of one sequence follow one another in the
    store; ValueError where the token index says otherwise.
    """
    prompt = np.flatnonzero(tokens.group == PROMPT)
    last = np.full(len(tokens.caption_length), -1, np.int64)
    in_order = prompt[np.argsort(tokens.position[prompt], kind="stable")]
    last[tokens.sequence[in_order]] = in_order  # the last one written stays
    found = []
    for caption in sorted(slots):
        row, slot = int(last[caption]) + slots[caption], slots[caption]
        ended = slot == len(captions[caption])
        said = end_id if ended else int(captions[caption][slot])
        if tokens.sequence[row] != caption or not (
            ended or (tokens.sequence[row + 1] == caption and tokens.token_id[row + 1] == said)
        ):
            raise ValueError(f"caption {caption} does not stand in its rows of the activation store")
        found.append(Place(caption, row, said, slot))
    return found
