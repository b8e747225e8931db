"""What may be asked of a picture: a question in each language, and a text that is read in the place of a caption.

Both come from visitors. They are bounded, cleaned of what nobody sees, and refused in three lines where the model could
not take them, or where what fires on them would say nothing about the language.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from core.config import LANGUAGE_NAME
from core.errors import UserError
from core.samples.checks import is_placeholder, script

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

MOST_CHARACTERS = 400  # of a question or a text
MOST_TOKENS = 128  # of a text
BYTE = re.compile("<0x[0-9A-F]{2}>")  # how a vocabulary of pieces names a single byte
UNSEEN = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
"""Marks of direction and other signs without a shape; what joins letters (U+200C, U+200D) is none of them."""


@dataclass(frozen=True)
class Asked:
    """Questions by language that are not the run's own, and texts by language that the model reads and does not write.

    Both are pairs of (language, text), cleaned, in the order of the run's languages.
    """

    questions: tuple[tuple[str, str], ...] = ()
    texts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class OwnText:
    """A text as the model reads it: its token ids, and what is to be said of it (sentences)."""

    ids: tuple[int, ...]
    notes: tuple[str, ...] = ()


def cleaned(text: str) -> str:
    """One line of composed letters (NFC) without control characters and marks that nobody sees."""
    text = UNSEEN.sub("", unicodedata.normalize("NFC", text))
    return " ".join("".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs")).split())


def question_ids(vlm: VLM, question: str, max_new_tokens: int) -> list[int]:
    """The chat prompt of a question, ready for a caption.

    Raises UserError for one that is too long, that holds special tokens, or that leaves no room for a caption.
    """
    _check_length(question, "question")
    ids = vlm.prompt_ids(question)
    vlm._known_prompts.pop(question, None)  # the model keeps its prompts; those of visitors would never end
    if (room := _room(vlm)) and len(ids) + max_new_tokens > room:
        raise UserError(
            "This question leaves no room for a caption.",
            f"With the image it takes {len(ids)} of the {room} tokens that the model can hold, and a caption may have "
            f"{max_new_tokens}.",
            "Ask it in fewer words.",
        )
    return ids


def own_text(vlm: VLM, text: str, lang: str, n_prompt: int) -> OwnText:
    """A cleaned text in the place of a caption behind ``n_prompt`` tokens.

    Raises UserError for a text without letters, of another language, that is too long or of which the vocabulary knows
    nothing; what is read only in part as words is said in the notes.
    """
    name = LANGUAGE_NAME[lang]
    _check_length(text, "text")
    written = script(text)
    if is_placeholder(text) or not written:
        raise UserError(f"There is no {name} word in this text.", "It has no letters.", f"Write a caption in {name}.")
    if written != lang:
        others = LANGUAGE_NAME.get(written, "of another script")
        do = f"Write a caption in {name} here; each language has a place of its own."
        raise UserError(f"This text is not {name}.", f"Most of its letters are {others}.", do)
    ids = vlm.caption_ids(text)
    room = _room(vlm)
    most = min(MOST_TOKENS, room - n_prompt) if room else MOST_TOKENS
    if len(ids) > most:
        raise UserError("This text is too long.", f"It has {len(ids)} tokens; {most} fit.", "Write a shorter caption.")
    known, pieces = known_pieces(vlm, ids), vlm.token_strings(ids)
    if not any(k and any(map(str.isalnum, piece)) for k, piece in zip(known, pieces, strict=True)):
        raise UserError(
            "The model's vocabulary knows no piece of this text.",
            "It would be read byte by byte, and what fires on bytes says nothing about words.",
            "Use other words.",
        )
    notes = []
    if foreign := sum(1 for c in text if c.isalpha() and script(c) != lang):
        letters = "letter is" if foreign == 1 else "letters are"
        notes.append(f"{foreign} {letters} of another script; the model reads them as they stand.")
    unread = dict.fromkeys(p for p, k in zip(pieces, known, strict=True) if not k and not p.isascii())
    if unread:
        shown = " ".join("◌" + p if unicodedata.combining(p[0]) else p for p in list(unread)[:12])
        notes.append(f"Not in the model’s vocabulary and read byte by byte: {shown}")
    return OwnText(tuple(ids), tuple(notes))


def known_pieces(vlm: VLM, ids: list[int]) -> list[bool]:
    """Which tokens stand for whole characters: no bytes, and no unknown token."""
    names = [vlm.tokenizer.convert_ids_to_tokens(i) or "" for i in ids]
    pieces = [*vlm.token_strings(ids), "."]  # a character spread over tokens stands on the first, "" on the others
    whole = [piece != "" and after != "" for piece, after in pairwise(pieces)]
    unknown = vlm.tokenizer.unk_token_id
    return [i != unknown and not BYTE.fullmatch(name) and one for i, name, one in zip(ids, names, whole, strict=True)]


def _check_length(text: str, what: str) -> None:
    if len(text) > MOST_CHARACTERS:
        why = f"It has {len(text):,} characters; {MOST_CHARACTERS} are read."
        raise UserError(f"This {what} is too long.", why, "Write it in fewer words.")


def _room(vlm: VLM) -> int:
    """How many tokens a row may have; 0 where the model does not say."""
    return int(getattr(vlm.model.config.get_text_config(), "max_position_embeddings", 0) or 0)
