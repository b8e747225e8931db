"""What an image and a caption must be before they are used, and the report of what was dropped and why."""

from __future__ import annotations

import functools
import io
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageOps, features

from core.config import LANGUAGE_NAME
from core.samples.encodings import garbling
from core.samples.rows import KEPT, LEFT_OUT, OddRow, place_of

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # no format that runs an interpreter (EPS)
ENDINGS = ("jpe?g", "jpe", "jfif", "png", "webp", "gif", "bmp", "tiff?", "ppm", "avif", "hei[cf]")
IMAGE_FILE = re.compile(rf"\.(?:{'|'.join(ENDINGS)})$", re.IGNORECASE)
BRANDS = {  # of the box ftyp, which AVIF and HEIC begin with
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
}
READ_BY = {
    "AVIF": "a Pillow with AVIF: pip install -U pillow",
    "HEIC": "the package pillow-heif: pip install pillow-heif",
}
MIN_SIDE = 16  # pixels
MAX_PIXELS = 64_000_000
MAX_BYTES = 100_000_000  # of one image file
N_NAMED = 200  # dropped things named in the report, per reason

REASONS = {
    "outside": "the path leads out of the image folder",
    "missing": "there is no such image file",
    "ambiguous": "more than one image file, or another name of the table, could be meant",
    "unreadable": "the file is no image that can be read",
    "format": "the image is in a format that needs a package which is not installed",
    "too_small": f"a side is shorter than {MIN_SIDE} pixels",
    "too_large": f"more than {MAX_PIXELS // 1_000_000} million pixels or {MAX_BYTES // 1_000_000} MB",
    "duplicate": "the same picture as an earlier image",
    "unpaired": "no usable caption in a language of the run",
    "empty": "the caption has no words, or a placeholder in their place (nan, None, N/A, null)",
    "language": "the caption is written in another script than its language (are the columns swapped?)",
    "encoding": "letters were lost or garbled when the file was saved",
}
HOW = {
    "written_as_code": "once its quotation marks, %20 and the like were taken away",
    "case": "by small and capital letters taken alike",
    "ending": "by the name without its ending",
    "path": "by the last part of a path that is of another place",
    "folder": "in another folder, where no other file has the name",
    "number": "by the number in it",
}
"""How the file of a name was found that the table writes otherwise."""
MEND_GARBLED = "Export them again as UTF-8 from where they come from: letters that were lost cannot be had back here."
PLACEHOLDERS = frozenset(
    (
        *("", "nan", "none", "n/a", "n.a", "na", "null", "nil", "nat", "<na>", "#n/a", "#na", "\\n", "undefined"),
        *("#value!", "#ref!", "#name?", "#null!", "#num!", "#div/0!", "missing", "empty", "-", "--", "—", "?", "."),
        *("not available", "no caption", "no caption available", "no description"),
        *("غير متوفر", "غير متاح", "لا يوجد", "فارغ"),
    )
)
"""Whole cells that stand for nothing, as pandas, R, SQL, Excel and people write them."""
INVISIBLE = re.compile(
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0]"
)


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
            image = Image.open(io.BytesIO(data), formats=formats())
            _check_size(image)
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise Dropped("too_large", str(e)) from e
    except Dropped:
        raise
    except Exception as e:  # decoders raise nearly everything on a damaged file
        kind = _brand(data)
        if kind in READ_BY and not _is_read(kind):
            raise Dropped("format", f"{kind}, which is read with {READ_BY[kind]}") from e
        text = re.sub(r"\s*<[^>]*>", "", f"{type(e).__name__}: {e}")  # objects and their addresses differ every time
        raise Dropped("unreadable", text.splitlines()[0][:200]) from e


@functools.cache
def formats() -> tuple[str, ...]:
    """The formats that are read: Pillow's own, AVIF where it has it, and HEIC where pillow-heif is installed."""
    found = [*FORMATS]
    if features.check("avif"):
        found.append("AVIF")
    try:
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports] an extra
    except ImportError:
        return tuple(found)
    register_heif_opener()
    return (*found, "HEIF")


def _brand(data: bytes) -> str:
    """AVIF or HEIC by the first bytes; "" for anything else."""
    return BRANDS.get(data[8:12], "") if data[4:8] == b"ftyp" else ""


def _is_read(kind: str) -> bool:
    return {"AVIF": "AVIF", "HEIC": "HEIF"}[kind] in formats()


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


def is_placeholder(text: str) -> bool:
    """Whether a whole cell stands for nothing: blank, invisible, or nan, None, N/A, null and their like."""
    bare = INVISIBLE.sub("", text).strip()
    if len(bare) > 40:
        return False
    bare = bare.casefold()
    return bare in PLACEHOLDERS or bare.strip("\"'[](){}. ") in PLACEHOLDERS


def caption_problem(text: str, lang: str) -> str:
    """Why a cleaned caption cannot be used in ``lang`` ("empty", "encoding", "language"), or ""."""
    if is_placeholder(text):
        return "empty"
    if garbling(text):
        return "encoding"
    written = script(text)
    return "" if written == lang else "language" if written else "empty"


def script(text: str) -> str:
    """The language that most letters of a text belong to by their script: en, ar, "other", or "" without letters."""
    counts = {"en": 0, "ar": 0, "other": 0}
    for letter in filter(str.isalpha, text):
        counts[_script_of(letter)] += 1
    total = sum(counts.values())
    if not total:
        return ""
    return next((lang for lang in ("en", "ar") if 2 * counts[lang] > total), "other")


@functools.lru_cache(10_000)
def _script_of(letter: str) -> str:
    name = unicodedata.name(letter, "")
    return "ar" if name.startswith("ARABIC") else "en" if name.startswith("LATIN") else "other"


class Report:
    """Counts and names what is dropped, and how names were matched; ``as_dict`` is what prepare_report.json holds."""

    def __init__(self) -> None:
        self.images: dict[str, list[dict[str, str]]] = defaultdict(list)
        self.captions: dict[str, list[dict[str, str]]] = defaultdict(list)
        self.rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.odd_rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.matched: dict[str, list[dict[str, str]]] = defaultdict(list)
        self.notes: list[str] = []

    def drop_image(self, image: str, reason: str, detail: str = "") -> None:
        self.images[reason].append({"image": image, "detail": detail})

    def drop_caption(self, image: str, lang: str, reason: str, text: str) -> None:
        detail = garbling(text) if reason == "encoding" else ""
        self.captions[reason].append({"image": image, "lang": lang, "text": text[:120], "detail": detail})

    def add_rows(self, rows: Iterable[OddRow]) -> None:
        """Rows that were left out, or read with a remark."""
        for row in rows:
            into = self.rows if row.reason in LEFT_OUT else self.odd_rows
            into[row.reason].append({"file": row.file, "line": row.line, "text": row.text})

    def add_matched(self, matched: Mapping[str, list[tuple[str, str]]]) -> None:
        """Names and their files by how these were found, where they are not as the table writes them."""
        for how, pairs in matched.items():
            self.matched[how] += [{"name": name, "file": file} for name, file in pairs]

    def as_dict(self, **more: Any) -> dict[str, Any]:
        return {
            **more,
            "rows_dropped": _counted(self.rows, LEFT_OUT),
            "rows_kept": _counted(self.odd_rows, KEPT),
            "images_dropped": _counted(self.images, REASONS),
            "captions_dropped": _counted(self.captions, REASONS),
            "names_matched": _counted(self.matched, HOW),
            "notes": [*self.garbled(), *self.notes],
        }

    def garbled(self) -> list[str]:
        """What happened to captions whose letters were garbled, and what to do, a line for each kind."""
        counts = Counter((c["lang"], c["detail"]) for c in self.captions.get("encoding", ()))
        return [
            f"{n} {LANGUAGE_NAME.get(lang, lang)} captions are garbled ({how}) and left out. {MEND_GARBLED}"
            for (lang, how), n in counts.most_common()
        ]

    def lines(self) -> list[str]:
        """The report in a few lines of plain text."""
        dropped = [
            f"{len(items)} {kind} dropped: {REASONS[reason]} ({_several([i['image'] for i in items])})"
            for kind, reasons in (("images", self.images), ("captions", self.captions))
            for reason, items in sorted(reasons.items())
        ]
        return [*self.row_lines(), *dropped, *self.matched_lines(), *self.garbled(), *self.notes]

    def row_lines(self) -> list[str]:
        """What is said of rows that were left out, or read with a remark."""
        return [
            f"{len(items)} {'row is' if len(items) == 1 else 'rows are'} {what}: {why[reason]} "
            f"({_several([place_of(i) for i in items])})"
            for what, why, reasons in (("left out", LEFT_OUT, self.rows), ("read as they are", KEPT, self.odd_rows))
            for reason, items in sorted(reasons.items())
        ]

    def matched_lines(self) -> list[str]:
        """How names were matched to files, a line for each way."""
        return [
            f"{len(items):,} {'name is' if len(items) == 1 else 'names are'} matched to a file {HOW[how]}, "
            f"such as {items[0]['name']} to {items[0]['file']}"
            for how, items in sorted(self.matched.items())
        ]


def _several(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _counted(reasons: Mapping[str, list[dict[str, Any]]], what: Mapping[str, str]) -> dict[str, Any]:
    return {r: {"count": len(x), "what": what[r], "named": x[:N_NAMED]} for r, x in sorted(reasons.items())}
