"""A visitor's own picture: bounded before it is decoded, upright, without its metadata, and in memory alone."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass, field

from PIL import Image

from core.errors import UserError
from core.samples.checks import Dropped, decode_image

FORMATS = ("PNG", "JPEG", "WEBP")  # told by the content; a name says nothing
MOST_BYTES = 20_000_000
MOST_PIXELS = 32_000_000
LEAST_SIDE, MOST_SIDES = 16, 20  # pixels; how many times as long as wide
MODELS_SIDE = 896  # pixels; more than any model here looks at
DO = f"Choose a PNG, JPEG or WebP of at most {MOST_PIXELS // 1_000_000} megapixels and {MOST_BYTES // 1_000_000} MB."


@dataclass(frozen=True)
class Upload:
    """A picture and the key under which its captions are kept in memory."""

    key: str
    image: Image.Image = field(compare=False, repr=False)


def read_upload(data: bytes) -> Upload:
    """The picture in a file's bytes as upright RGB of at most MODELS_SIDE a side, with no metadata.

    Bytes and pixels are counted before anything is decoded. UserError for all that is no such picture.
    """
    if len(data) > MOST_BYTES:
        raise UserError("This file is too large.", f"It has {len(data) / 1e6:.0f} MB.", DO)
    _check_header(data)
    try:
        image = decode_image(data)
    except Dropped as e:
        raise UserError("This picture cannot be read.", f"The file is damaged or incomplete ({e.detail}).", DO) from e
    image.thumbnail((MODELS_SIDE, MODELS_SIDE))
    bare = Image.frombytes("RGB", image.size, image.tobytes())  # pixels alone: no EXIF, no profile, no text
    return Upload(f"upload-{hashlib.sha256(bare.tobytes()).hexdigest()[:16]}", bare)


def _check_header(data: bytes) -> None:
    """Look at the format and the size that the file's head tells."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError as e:
        raise UserError("This picture is too large.", "Its head promises more pixels than any camera has.", DO) from e
    except Exception as e:  # decoders raise nearly everything on what is no picture
        raise UserError(
            "This is no picture that can be shown to the model.",
            "Its content, whatever its name says, is no PNG, JPEG or WebP.",
            DO,
        ) from e
    if width * height > MOST_PIXELS:
        raise UserError(
            "This picture is too large.", f"It has {width} x {height} = {width * height / 1e6:.0f} million pixels.", DO
        )
    if min(width, height) < LEAST_SIDE or max(width, height) > MOST_SIDES * min(width, height):
        why = f"It has {width} x {height} pixels; nothing could be seen on it."
        raise UserError("This picture is too small or too narrow.", why, DO)
