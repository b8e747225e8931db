"""A visitor's own picture: what is one comes out upright and bare; all else is refused in three lines, undecoded."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from core.errors import UserError
from pages.causes import steering_image
from pages.causes.steering_image import MODELS_SIDE, read_upload
from tests.pages.pictures import picture_bytes, png_of, text_bomb, with_exif, zip_bytes


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_told_by_its_content(format: str) -> None:
    image = read_upload(picture_bytes(format=format, **({} if format == "PNG" else {"quality": 95}))).image
    assert image.mode == "RGB" and image.size == (64, 48)
    red, blue = np.asarray(image)[24, 10], np.asarray(image)[24, 54]
    assert red[0] > 200 > blue[0] and blue[2] > 200 > red[2]


def test_the_cameras_orientation_is_applied_and_its_data_dropped() -> None:
    image = read_upload(with_exif(6)).image  # turned a quarter to the right
    assert image.size == (48, 64)
    assert np.asarray(image)[5, 24][0] > 200 and np.asarray(image)[60, 24][2] > 200
    assert not image.info and not image.getexif()


def test_a_large_photograph_becomes_as_large_as_models_look_at() -> None:
    image = read_upload(picture_bytes((3000, 2000), "JPEG")).image
    assert max(image.size) == MODELS_SIDE and image.size[1] == pytest.approx(MODELS_SIDE * 2 / 3, abs=1)


def test_transparency_is_laid_on_white_and_an_animation_is_its_first_picture() -> None:
    import io

    out = io.BytesIO()
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save(out, "PNG")
    assert np.asarray(read_upload(out.getvalue()).image).min() == 255
    out = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), c) for c in ("red", "blue")]
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert np.asarray(read_upload(out.getvalue()).image)[0, 0].tolist() == [255, 0, 0]


def test_a_picture_for_print_is_shown_in_the_colours_of_a_screen() -> None:
    import io

    out = io.BytesIO()
    Image.new("CMYK", (40, 30), (0, 255, 255, 0)).save(out, "JPEG", quality=95)
    image = read_upload(out.getvalue()).image
    assert image.mode == "RGB" and np.asarray(image)[15, 20][0] > 200 > 60 > np.asarray(image)[15, 20][1]


def test_twenty_megapixels_are_scaled_down() -> None:
    image = read_upload(picture_bytes((5200, 3900), "JPEG", quality=40)).image
    assert image.size == (MODELS_SIDE, round(MODELS_SIDE * 3 / 4))


def test_the_key_is_of_the_pixels_alone() -> None:
    plain, commented = picture_bytes(), picture_bytes(pnginfo=_comment())
    assert plain != commented and read_upload(plain).key == read_upload(commented).key
    assert read_upload(picture_bytes((64, 50))).key != read_upload(plain).key


def _comment():
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", "home")
    return info


BAD = {
    "a zip renamed .png": (zip_bytes, "no picture"),
    "forty megapixels": (lambda: png_of(8000, 5000), "too large"),
    "a decompression bomb": (lambda: png_of(60_000, 60_000), "too large"),
    "a comment of a hundred megabytes": (text_bomb, "cannot be read|no picture"),
    "a truncated picture": (lambda: picture_bytes((400, 400), "JPEG")[:-900], "cannot be read"),
    "half a head": (lambda: picture_bytes()[:20], "no picture"),
    "nothing": (lambda: b"", "no picture"),
    "text": (lambda: b"<svg onload=alert(1)>", "no picture"),
    "another format": (lambda: picture_bytes(format="BMP"), "no picture"),
    "an animation": (lambda: picture_bytes(format="GIF"), "no picture"),
    "a single line": (lambda: picture_bytes((2000, 17)), "too narrow"),
    "a dot": (lambda: picture_bytes((2, 2)), "too small"),
    "too many bytes": (lambda: picture_bytes() + bytes(steering_image.MOST_BYTES), "too large"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_usable_picture_is_refused_in_three_lines(what: str) -> None:
    make, said = BAD[what]
    data = make()
    with pytest.raises(UserError, match=said) as error:
        read_upload(data)
    assert len(str(error.value).splitlines()) == 3 and "0x" not in str(error.value)


@pytest.mark.parametrize("data", [png_of(8000, 5000), png_of(60_000, 60_000), zip_bytes()])
def test_refusing_does_not_decode(data: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(UserError):
        read_upload(data)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
