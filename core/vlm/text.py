"""Readable pieces of text for single tokens."""

from __future__ import annotations

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
