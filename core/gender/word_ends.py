"""Tokens that end a word: where pieces carry the blank in front, that a word is over is said by the token behind it.

The probability of a word is that of its pieces times that of a word end behind them (Pimentel and Meister 2024, "How
to compute the probability of a word", EMNLP; Oh and Schuler 2024, "Leading whitespaces of language models' subword
vocabulary pose a confound for calculating word probabilities", EMNLP).
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool
from torch import Tensor

from core.words.lexicon import WORD

RESERVED = re.compile(r"[<\[]/?(?:unused|reserved|extra_id|pad|unk)[\w ]*[>\]]", re.IGNORECASE)
WITHIN = ("M", "Cf")  # categories of marks on letters, and of joiners, direction marks, soft hyphens


class Spelling(Protocol):
    """The part of core.vlm's VLM that is used here."""

    @property
    def eos_ids(self) -> tuple[int, ...]: ...

    @property
    def special_ids(self) -> frozenset[int]: ...

    def vocabulary(self) -> list[str]: ...

    def unembed(self) -> Tensor: ...


_known: WeakKeyDictionary[Any, Tensor] = WeakKeyDictionary()


def word_ends(vlm: Spelling) -> Bool[Tensor, " vocab"]:
    """Which tokens say that the word before them is over (vocab,), on the CPU; computed once a model.

    True for tokens that begin with a blank, a newline, punctuation or any sign that ``core.words`` parts words at, and
    for special tokens such as the end of a turn. False for tokens that go on with a letter, a digit or a mark on a
    letter; for single bytes and pieces of characters, which may become a letter; and for reserved, unknown and missing
    tokens, which are nothing in either way. A hyphen and an apostrophe end a word ("woman's").
    """
    if vlm not in _known:
        pieces = vlm.vocabulary()[: vlm.unembed().shape[0]]
        special = vlm.special_ids | set(vlm.eos_ids)
        _known[vlm] = torch.tensor([ends_word(piece, i in special) for i, piece in enumerate(pieces)])
        _known[vlm][[i for i in vlm.eos_ids if i < len(pieces)]] = True
    return _known[vlm]


def ends_word(piece: str, special: bool = False) -> bool:
    """Whether a token with this readable piece ends the word before it."""
    if not piece or RESERVED.fullmatch(piece):
        return False
    return special or not (goes_on(piece) or piece.startswith("\ufffd"))


def goes_on(piece: str) -> bool:
    """Whether a piece begins with what a word is spelled with: a letter, a digit, a mark or an invisible sign."""
    return bool(WORD.match(piece)) or unicodedata.category(piece[0]).startswith(WITHIN)
