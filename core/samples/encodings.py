"""Encodings of text: which one a file is in, told by its bytes, and which misreading a garbled text shows.

Nothing is guessed: a file in no encoding that can be told is refused, and a garbled text is named, never mended.
"""

from __future__ import annotations

import codecs
import functools
import re
import unicodedata

from core.errors import UserError

MOST_DAMAGED = 1 / 3  # of the lines beyond ASCII, up to which a text with bytes that do not fit is still that encoding
DO = "Save it again as UTF-8 (in Excel: CSV UTF-8)."
MARKS = (  # the longer ones first: the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


OWN = "# CaptionScope "  # begins the line that tables downloaded from the app have above their header


def decode_table(data: bytes, name: str = "The table") -> str:
    """The text of a table, see ``decode``; without the line above it that says where a download comes from."""
    text = decode(data, name)[0]
    return text.partition("\n")[2] if text.startswith(OWN) else text


def decode(data: bytes, name: str = "The table") -> tuple[str, str]:
    """The text of a table and the codec that it is in; UserError where it is in none that can be told.

    Told are UTF-8, UTF-16 and UTF-32, Arabic in Windows-1256, and Western text whose bytes Windows-1252 and
    Windows-1256 read alike. Where a few lines do not fit, their letters become U+FFFD, and their captions are dropped.
    """
    encoding = _by_marks(data)
    if encoding.startswith("utf-8"):
        text = _utf8(data)
        if text is not None:
            return text.lstrip("\ufeff"), encoding
        return _windows(data, name)
    text = data.decode(encoding, "replace").lstrip("\ufeff")
    lines = text.split("\n")
    if "\ufffd" in text and sum("\ufffd" in line for line in lines) > MOST_DAMAGED * len(lines):
        why = f"Many of its characters are none in {encoding.upper()}."
        raise UserError(f"{name} looks like {encoding[:6].upper()} but is damaged.", why, DO)
    return text, encoding


def _by_marks(data: bytes) -> str:
    """The codec by its byte order mark, or UTF-16 by the zeros at every other byte; else utf-8."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return encoding
    head = data[:4000]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) >= 0.05 * len(head) and max(even, odd) > 10 * min(even, odd):
        return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8"


def _utf8(data: bytes) -> str | None:
    """The text, with U+FFFD in lines that are not UTF-8 where these are few; None where it is another encoding."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    beyond = [line for line in data.split(b"\n") if not line.isascii()]
    n_damaged = sum(not _is_utf8(line) for line in beyond)
    return text if n_damaged <= MOST_DAMAGED * len(beyond) else None


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _windows(data: bytes, name: str) -> tuple[str, str]:
    text = data.decode("cp1256")
    letters = [c for c in text if ord(c) > 127 and (c.isalpha() or c in "×÷")]
    is_arabic = sum("\u0600" <= c <= "\u06ff" for c in letters) >= 0.98 * len(letters)
    n_mixed = len(re.findall(r"[A-Za-z][\u0621-\u06ff]|[\u0621-\u06ff][A-Za-z]", text))  # letters of one word
    if letters and is_arabic and n_mixed <= 0.02 * len(letters):
        return text, "cp1256"
    if _reads_alike(data) and not re.search(r"[^\W\x00-\x7f]{2}|\w[–“”•…‘]\w", text):  # Mac Roman has ñ for –
        return text, "cp1252"
    raise UserError(
        f"{name} is in an encoding that was not recognised.",
        "It is neither UTF-8, UTF-16 nor Windows-1256 or -1252 without doubt; guessing would garble the captions.",
        DO,
    )


def _reads_alike(data: bytes) -> bool:
    """Whether Windows-1252 and Windows-1256 read the same, as they do of é, ’ and “, which English text has."""
    try:
        return data.decode("cp1252") == data.decode("cp1256")
    except UnicodeDecodeError:
        return False


# --- garbled texts ----------------------------------------------------------------------------------------------------

LOST = "letters were lost"
CODES = "letters written as codes"
_QUESTIONS = re.compile(r"\?{3}")
_CODES = re.compile(r"&#(?:1[5-9]\d\d|x0?6[0-9a-f]{2});|\\u06[0-9a-f]{2}|%D[89]%[89AB][0-9A-F]", re.IGNORECASE)
_RUNS = re.compile(r"[^\x00-\x7f]{2,}")
_LIKELY = re.compile(r"[\u00a0-\u017f\u0600-\u06ff\u2000-\u206f\u20ac]*")  # what was meant, if it was UTF-8
MISREAD_AS = (  # codec, its name, the fewest letters that must have been meant
    ("cp1252", "Windows-1252", 1),
    ("cp1256", "Windows-1256", 2),
    ("mac_roman", "Mac Roman", 2),
    ("cp1251", "Windows-1251", 2),
    ("cp437", "code page 437", 2),
    ("cp850", "code page 850", 2),
)
UNDEFINED = "\x81\x8d\x8f\x90\x9d"  # in Windows-1252, whose readers show these bytes as the control of that number


def garbling(text: str) -> str:
    """How a text was garbled, such as "UTF-8 read as Windows-1252"; "" where it was not.

    Seen are U+FFFD and rows of question marks, UTF-8 and Windows-1256 read as something else, letters written as
    codes of HTML, JSON or URLs, and control characters.
    """
    if "\ufffd" in text:
        return LOST
    if _QUESTIONS.search(text) and text.count("?") > sum(c.isalpha() for c in text):
        return LOST
    if len(_CODES.findall(text)) >= 2:
        return CODES
    if not text.isascii():
        for run in _RUNS.findall(text):
            if name := _misread_utf8(run):
                is_latin = name == "Windows-1252" and any("\x80" <= c <= "\x9f" and c not in UNDEFINED for c in text)
                return f"UTF-8 read as {'Latin-1' if is_latin else name}"
        if _is_arabic_read_as_latin(text):
            return "Windows-1256 read as Windows-1252"
    return "control characters" if any(unicodedata.category(c) == "Cc" for c in text) else ""


@functools.lru_cache(100_000)  # words return
def _misread_utf8(run: str) -> str:
    """As what letters beyond ASCII, if they are bytes of UTF-8, were read; "" where these would make no sense.

    That they must make sense keeps quotes and commas after a letter (É», ا،) from being taken for such bytes. Of a long
    run a few bytes may be lost: no-break blanks, and bytes that have no letter.
    """
    for codec, name, fewest in MISREAD_AS:
        data = _bytes(run, codec)
        if data is None:
            continue
        meant = data.decode("utf-8", "ignore")
        n_whole = len(meant.encode("utf-8"))
        is_whole = n_whole == len(data) and len(meant) >= fewest
        if (is_whole or (len(meant) >= 3 and n_whole >= 0.7 * len(data))) and _LIKELY.fullmatch(meant):
            return name
    return ""


def _bytes(run: str, codec: str) -> bytes | None:
    """The bytes that were shown as these letters; those that Windows leaves undefined are shown as controls."""
    try:
        return run.encode(codec)
    except UnicodeEncodeError:
        if not codec.startswith("cp125") or not re.search(r"[\x80-\x9f]", run):
            return None
    try:
        return b"".join(bytes([ord(c)]) if "\x80" <= c <= "\x9f" else c.encode(codec) for c in run)
    except UnicodeEncodeError:
        return None


def _is_arabic_read_as_latin(text: str) -> bool:
    """Whether nearly all letters are accented Latin ones, as of no language, and would be Arabic in Windows-1256."""
    letters = "".join(c for c in text if c.isalpha())
    accented = sum("\u00c0" <= c <= "\u00ff" for c in letters)
    if accented < 4 or accented < 0.8 * len(letters):
        return False
    meant = letters.encode("cp1252", "ignore").decode("cp1256")
    return sum("\u0600" <= c <= "\u06ff" for c in meant) >= 0.8 * len(letters)
