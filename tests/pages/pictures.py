"""Files that visitors may bring: good pictures with and without metadata, and what only pretends to be one."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image


def picture_bytes(size: tuple[int, int] = (64, 48), format: str = "PNG", **save: object) -> bytes:
    """A picture whose left half is red and whose right half is blue."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2, 0], pixels[:, size[0] // 2 :, 2] = 255, 255
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, **save)
    return out.getvalue()


def with_exif(orientation: int) -> bytes:
    """A JPEG that says how it is to be turned, where it was taken and by whom."""
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = orientation, "someone"
    exif.get_ifd(0x8825)[1] = "N"
    return picture_bytes((64, 48), "JPEG", exif=exif, quality=95)


def zip_bytes() -> bytes:
    """A zip file of ten megabytes of zeros."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(10_000_000))
    return out.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds a few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def text_bomb() -> bytes:
    """A small PNG with a compressed comment of a hundred megabytes."""
    data = picture_bytes()
    body = b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    return data[:33] + chunk + data[33:]
