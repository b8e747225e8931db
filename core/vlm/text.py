"""Readable pieces of text for single tokens."""

from __future__ import annotations

import functools
from collections.abc import Sequence


def readable(names: Sequence[str]) -> list[str]:
    """A piece per token of a sentencepiece-like vocabulary: "▁" as a space, byte tokens joined to characters.

    A character spread over several byte tokens stands on the first of them.
    """
    pieces: list[str] = []
    while len(pieces) < len(names):
        start = end = len(pieces)
        while end < len(names) and _byte(names[end]) is not None:
            end += 1
        if end > start:
            pieces += byte_pieces([_byte(name) or 0 for name in names[start:end]])
        else:
            pieces.append(names[start].replace("▁", " "))
    return pieces


def readable_bytes(names: Sequence[str]) -> list[str]:
    """A piece per token of a byte-level vocabulary (GPT-2, Llama 3, Qwen), in which letters stand for bytes.

    A character spread over several tokens stands on the first of them; a token with other letters is as it is.
    """
    table, pieces = _letters(), [""] * len(names)
    owner = [i for i, name in enumerate(names) if all(c in table for c in name) for _ in name]
    values = [table[c] for name in names if all(c in table for c in name) for c in name]
    for i, piece in zip(owner, byte_pieces(values), strict=True):
        pieces[i] += piece
    return [piece if all(c in table for c in name) else name for name, piece in zip(names, pieces, strict=True)]


@functools.cache
def _letters() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for: itself where it shows, else 256, 257, ..."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [b for b in range(256) if b not in shown]
    return {chr(b): b for b in shown} | {chr(256 + n): b for n, b in enumerate(hidden)}


def _byte(name: str) -> int | None:
    """The byte of a byte-fallback token such as <0xD8>."""
    is_byte = len(name) == 6 and name.startswith("<0x") and name.endswith(">")
    return int(name[3:5], 16) if is_byte else None


def byte_pieces(values: list[int]) -> list[str]:
    """Text of consecutive byte tokens: each character on its first byte, "" on the others."""
    pieces = [""] * len(values)
    start = 0
    for char in bytes(values).decode("utf-8", errors="replace"):
        pieces[start] = char
        start += 1 if char == "�" else len(char.encode())
        if start >= len(values):
            break
    return pieces
