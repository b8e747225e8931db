"""What an image and a caption must be before they are used, and the report of what was dropped and why."""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # no format that runs an interpreter (EPS)
MIN_SIDE = 16  # pixels
MAX_PIXELS = 64_000_000
MAX_BYTES = 100_000_000  # of one image file
N_NAMED = 200  # dropped things named in the report, per reason

REASONS = {
    "outside": "the path leads out of the image folder",
    "missing": "there is no such image file",
    "unreadable": "the file is no image that can be read",
    "too_small": f"a side is shorter than {MIN_SIDE} pixels",
    "too_large": f"more than {MAX_PIXELS // 1_000_000} million pixels or {MAX_BYTES // 1_000_000} MB",
    "duplicate": "the same picture as an earlier image",
    "unpaired": "no usable caption in a language of the run",
    "empty": "the caption has no words",
    "language": "the caption is written in another script than its language (are the columns swapped?)",
    "encoding": "letters were lost or garbled when the file was saved",
}


class Dropped(Exception):
    """One image or caption cannot be used; ``reason`` is a key of REASONS."""

    def __init__(self, reason: str, detail: str = ""):
        self.reason, self.detail = reason, detail
        super().__init__(reason, detail)


def decode_image(data: bytes) -> Image.Image:
    """The picture in an image file's bytes as upright 8-bit RGB; transparency is laid on white.

    Raises Dropped (unreadable, too_small, too_large); the size is looked at before any pixel is decoded.
    """
    if len(data) > MAX_BYTES:
        raise Dropped("too_large", f"{len(data):,} bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            _check_size(image)
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise Dropped("too_large", str(e)) from e
    except Dropped:
        raise
    except Exception as e:  # decoders raise nearly everything on a damaged file
        text = re.sub(r"\s*<[^>]*>", "", f"{type(e).__name__}: {e}")  # objects and their addresses differ every time
        raise Dropped("unreadable", text.splitlines()[0][:200]) from e


def _check_size(image: Image.Image) -> None:
    size = f"{image.width} x {image.height}"
    if image.width * image.height > MAX_PIXELS:
        raise Dropped("too_large", size)
    if min(image.size) < MIN_SIDE:
        raise Dropped("too_small", size)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode as 8-bit RGB: 16-bit greys scaled down, CMYK converted, transparency laid on white."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_deep_grey(image)
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        image = image.convert("RGBA") if image.mode not in ("La", "RGBa") else _unmultiplied(image)
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    rgb = image.convert("RGB")
    rgb.info = {}  # colour profiles, places and dates of the original are not handed on
    return rgb


def _unmultiplied(image: Image.Image) -> Image.Image:
    return image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    top = 1.0 if image.mode == "F" else 65535.0
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > top:
        raise Dropped("unreadable", f"grey values outside 0 ... {top:g}")
    return Image.fromarray((values * (255 / top)).round().astype(np.uint8), "L").convert("RGB")


def bounded(image: Image.Image, max_side: int) -> Image.Image:
    """The image itself, or scaled down so that its longer side is ``max_side`` pixels."""
    longer = max(image.size)
    if longer <= max_side:
        return image
    width, height = (max(1, round(side * max_side / longer)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def clean_caption(text: str | None) -> str:
    """One line, single spaces, no byte order mark, letters in composed form (NFC)."""
    return " ".join(unicodedata.normalize("NFC", (text or "").replace("\ufeff", "")).split())


def caption_problem(text: str, lang: str) -> str:
    """Why a cleaned caption cannot be used in ``lang`` ("empty", "encoding", "language"), or ""."""
    if is_garbled(text):
        return "encoding"
    written = script(text)
    return "" if written == lang else "language" if written else "empty"


def script(text: str) -> str:
    """The language that most letters of a text belong to by their script: en, ar, "other", or "" without letters."""
    arabic = latin = other = 0
    for letter in filter(str.isalpha, text):
        name = unicodedata.name(letter, "")
        arabic += name.startswith("ARABIC")
        latin += name.startswith("LATIN")
        other += not name.startswith(("ARABIC", "LATIN"))
    total = arabic + latin + other
    if not total:
        return ""
    return "en" if 2 * latin > total else "ar" if 2 * arabic > total else "other"


def is_garbled(text: str) -> bool:
    """Whether a text was saved or read in a wrong encoding: U+FFFD, control characters, "???", misread UTF-8."""
    if "\ufffd" in text or any(unicodedata.category(c) == "Cc" for c in text):
        return True
    n_letters = sum(c.isalpha() for c in text)
    if re.search(r"\?{3}", text) and text.count("?") > n_letters:
        return True
    return any(_is_misread_utf8(run) for run in re.findall(r"[^\x00-\x7f]{2,}", text))


def _is_misread_utf8(run: str) -> bool:
    """Whether these non-ASCII letters are bytes of UTF-8 read as Windows-1252 or 1256, and what they meant makes sense.

    The last condition keeps quotes and commas after a letter (É», ا،) from being taken for such bytes.
    """
    for encoding, shortest in (("cp1252", 1), ("cp1256", 2)):
        try:
            meant = b"".join(_byte(c, encoding) for c in run).decode("utf-8")
        except UnicodeError:
            continue
        if len(meant) >= shortest and all(_LIKELY.match(c) for c in meant):
            return True
    return False


_LIKELY = re.compile(r"[\u00a0-\u017f\u0600-\u06ff\u2000-\u206f\u20ac]")


def _byte(letter: str, encoding: str) -> bytes:
    """The byte that was shown as ``letter``; the bytes Windows leaves undefined are shown as U+0080 ... U+009F."""
    return bytes([ord(letter)]) if 0x80 <= ord(letter) < 0xA0 else letter.encode(encoding)


class Report:
    """Counts and names what is dropped; ``as_dict`` is what ``prepare_report.json`` holds."""

    def __init__(self) -> None:
        self.images: dict[str, list[dict[str, str]]] = defaultdict(list)
        self.captions: dict[str, list[dict[str, str]]] = defaultdict(list)
        self.notes: list[str] = []

    def drop_image(self, image: str, reason: str, detail: str = "") -> None:
        self.images[reason].append({"image": image, "detail": detail})

    def drop_caption(self, image: str, lang: str, reason: str, text: str) -> None:
        self.captions[reason].append({"image": image, "lang": lang, "text": text[:120]})

    def as_dict(self, **more: Any) -> dict[str, Any]:
        return {
            **more,
            "images_dropped": _counted(self.images),
            "captions_dropped": _counted(self.captions),
            "notes": self.notes,
        }

    def lines(self) -> list[str]:
        """The report in a few lines of plain text."""
        both = (("images", self.images), ("captions", self.captions))
        return [
            f"{len(items)} {kind} dropped: {REASONS[reason]} ({', '.join(i['image'] for i in items[:3])}"
            f"{', ...' if len(items) > 3 else ''})"
            for kind, reasons in both
            for reason, items in sorted(reasons.items())
        ] + self.notes


def _counted(reasons: Mapping[str, list[dict[str, str]]]) -> dict[str, Any]:
    return {r: {"count": len(x), "what": REASONS[r], "named": x[:N_NAMED]} for r, x in sorted(reasons.items())}
