"""Tokens of a caption as a person reads them: whole words where a piece goes on with one, and never half a letter."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Protocol

from core.gender.word_ends import RESERVED, goes_on
from core.words.lexicon import INNER, UNSEEN

LAST_WORD = re.compile(f"[\\w{INNER}{UNSEEN}]+$")
PART, END, BLANK, LINE = "(part of a letter)", "(end)", "(blank)", "(new line)"
MARK, NONE = "(mark of the chat)", "(no token)"  # in brackets what is no text of a caption
GOES_ON, TATWEEL = "-", "\u0640"  # behind what is known to be the beginning of a word
NOT_JOINING = frozenset("ءآأؤإاةدذرزوى")  # Arabic letters that do not join the next one
HALF = "\ufffd"  # what decoding puts where bytes are no whole character


class Spelling(Protocol):
    """The part of core.vlm's VLM that is used here."""

    tokenizer: Any

    @property
    def eos_ids(self) -> tuple[int, ...]: ...

    @property
    def special_ids(self) -> frozenset[int]: ...

    def token_strings(self, ids: Sequence[int]) -> list[str]: ...


class LensWords:
    """Reads what a token would write behind the caption tokens before it; remembers what it has read."""

    def __init__(self, vlm: Spelling):
        self.vlm = vlm
        self._pieces: dict[int, str] = {}
        self._read: dict[tuple[tuple[int, ...], int], str] = {}

    def piece(self, token: int) -> str:
        """The token alone, with its blank; "" for a row of W_U without a token."""
        if token not in self._pieces:
            self._pieces[token] = self.vlm.token_strings([token])[0]
        return self._pieces[token]

    def joined(self, before: Sequence[int], token: int) -> bool:
        """Whether the token goes on with the word that the tokens before it have begun."""
        return not self._told(token) and bool(self._begun(before)) and self._goes_on(before, token)

    def read(self, before: Sequence[int], token: int) -> str:
        """The word that stands there once ``token`` is written behind the caption tokens ``before``.

        A piece that goes on with a word is read with what the word has so far; bytes that make no letter yet are told
        as what they are, as are the end of the caption, marks of the chat, blanks and new lines.
        """
        key = tuple(before[-LOOK_BACK:]), token
        if key not in self._read:
            self._read[key] = self._as_read(key[0], token)
        return self._read[key]

    def _as_read(self, before: Sequence[int], token: int) -> str:
        if told := self._told(token):
            return told
        piece = self.piece(token)
        if not piece.strip():
            return LINE if "\n" in piece else BLANK
        if self._goes_on(before, token):
            text = self._decoded([*before, token])
            if text.endswith(HALF):
                return PART
            found = LAST_WORD.search(text)
            return found.group() if found else piece.strip()
        return PART if HALF in piece else piece.strip()

    def _told(self, token: int) -> str:
        """Of a token that is no text, what it is."""
        if token in self.vlm.eos_ids:
            return END
        piece = self.piece(token)
        if token in self.vlm.special_ids or RESERVED.fullmatch(piece):
            return MARK
        if not piece:
            return NONE
        return PART if all(unicodedata.category(c) == "Cc" and not c.isspace() for c in piece) else ""

    def _goes_on(self, before: Sequence[int], token: int) -> bool:
        """Whether the piece may go on with a word; one in another script stands beside it (موutil is no word)."""
        piece = self.piece(token)
        if piece.startswith(HALF):
            return True
        word = self._begun(before)
        return goes_on(piece) and (not word or _arabic(word[-1]) == _arabic(piece[0]) or not piece[0].isalpha())

    def _begun(self, before: Sequence[int]) -> str:
        found = LAST_WORD.search(self._decoded(before).rstrip(HALF))
        return found.group() if found else ""

    def _decoded(self, ids: Sequence[int]) -> str:
        return self.vlm.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _arabic(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("ARABIC")


def begun(word: str) -> str:
    """A word that goes on, as it is marked in its script: wo-, طبيـ."""
    joins = "\u0620" <= word[-1:] <= "\u064a" and word[-1] not in NOT_JOINING
    return word + (TATWEEL if joins else GOES_ON)


LOOK_BACK = 24  # tokens of a word at most; byte-level Arabic takes up to two a letter
