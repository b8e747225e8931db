"""The encodings in which tables are met: told by their bytes, and refused with a hint where they are not known."""

from __future__ import annotations

from core.errors import UserError


def decode_table(data: bytes, name: str = "The table") -> str:
    """The text of a table in UTF-8 (with or without BOM), UTF-16 or Windows-1256; UserError for anything else."""
    do = "Save it again as UTF-8 (in Excel: CSV UTF-8)."
    encoding = encoding_of(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as e:
        if encoding.startswith("utf-16"):
            raise UserError(f"{name} looks like UTF-16 but is damaged.", str(e), do) from e
        raise UserError(f"{name} is in an encoding that was not recognised.", str(e), do) from e
    if encoding != "cp1256":
        return text
    letters = [c for c in text if ord(c) > 127 and (c.isalpha() or c in "×÷")]
    n_arabic = sum("\u0600" <= c <= "\u06ff" for c in letters)
    if letters and n_arabic >= 0.98 * len(letters):
        return text
    why = "It is neither UTF-8, UTF-16 nor Arabic in Windows-1256; guessing would garble the captions."
    raise UserError(f"{name} is in an encoding that was not recognised.", why, do)


def encoding_of(data: bytes) -> str:
    """The codec of a text by its bytes: utf-8, utf-8-sig, utf-16 (-le, -be); cp1256 where it is none of them."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in data[:4000]:
        return "utf-16-le" if data[1:4000:2].count(0) >= data[:4000:2].count(0) else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1256"
    return "utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8"
