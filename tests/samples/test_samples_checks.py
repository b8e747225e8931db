"""Images and captions that must be mended or refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from core.samples import checks
from core.samples.checks import Dropped, Report, bounded, caption_problem, clean_caption, decode_image
from core.samples.encodings import garbling

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def reason(data: bytes) -> str:
    with pytest.raises(Dropped) as e:
        decode_image(data)
    return e.value.reason


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_plain_pictures_come_out_as_they_are(format):
    image = decode_image(encoded(Image.new("RGB", (20, 30), RED), format))
    assert image.mode == "RGB" and image.size == (20, 30) and image.getpixel((3, 3)) == RED


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGBA", (20, 20), (255, 0, 0, 0)),
        Image.new("LA", (20, 20), (0, 0)),
    ],
)
def test_transparency_is_laid_on_white(image):
    assert decode_image(encoded(image)).getpixel((5, 5)) == WHITE


def test_half_transparency_and_transparent_palettes():
    half = decode_image(encoded(Image.new("RGBA", (20, 20), (255, 0, 0, 128)))).getpixel((5, 5))
    assert half[0] == 255 and abs(half[1] - 127) <= 1
    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert decode_image(encoded(palette, transparency=1)).getpixel((5, 5)) == WHITE
    assert decode_image(encoded(palette)).getpixel((5, 5)) == RED


def test_cmyk_grey_and_one_bit():
    r, g, b = decode_image(encoded(Image.new("CMYK", (20, 20), (0, 255, 255, 0)), "JPEG", quality=100)).getpixel((5, 5))
    assert r > 240 and g < 15 and b < 15
    assert decode_image(encoded(Image.new("L", (20, 20), 90))).getpixel((5, 5)) == (90, 90, 90)
    assert decode_image(encoded(Image.new("1", (20, 20), 1))).getpixel((5, 5)) == WHITE


def test_sixteen_bits_are_scaled_not_cut():
    values = np.full((20, 20), 0x8080, np.uint16)
    for format in ("PNG", "TIFF"):
        assert decode_image(encoded(Image.fromarray(values), format)).getpixel((5, 5)) == (128, 128, 128)
    assert decode_image(encoded(Image.fromarray(np.full((20, 20), 0.5, np.float32)), "TIFF")).getpixel((1, 1))[0] == 128
    assert reason(encoded(Image.fromarray(np.full((20, 20), -3, np.float32)), "TIFF")) == "unreadable"


def test_exif_orientation_turns_the_picture_upright_and_is_not_handed_on():
    image = Image.new("RGB", (40, 20), WHITE)
    image.paste(RED, (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"  # turn a quarter clockwise
    turned = decode_image(encoded(image, exif=exif))
    assert turned.size == (20, 40) and turned.getpixel((10, 5)) == RED and turned.getpixel((10, 35)) == WHITE
    assert not turned.info and not turned.getexif()


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_animated_pictures_and_pages_the_first_counts(format):
    frames = [Image.new("RGB", (40, 30), colour) for colour in (RED, WHITE, (0, 0, 255))]
    options = {"lossless": True} if format == "WEBP" else {}
    image = decode_image(encoded(frames[0], format, save_all=True, append_images=frames[1:], **options))
    assert image.size == (40, 30) and image.getpixel((5, 5)) == RED


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_whatever_is_changed_in_a_file_it_is_read_or_dropped(format):
    whole, rng = encoded(Image.effect_noise((40, 40), 60), format), np.random.default_rng(0)
    n_dropped = 0
    for _ in range(60):
        data = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        try:
            assert decode_image(bytes(data)).mode == "RGB"
        except Dropped:
            n_dropped += 1
    assert n_dropped


def test_damaged_and_foreign_files_are_unreadable():
    whole = encoded(Image.effect_noise((64, 64), 50), "JPEG")
    assert reason(whole[: len(whole) // 2]) == "unreadable"
    for data in (
        b"",
        b"GIF89a",
        b"not an image",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ):
        assert reason(data) == "unreadable"


def bomb(side: int) -> bytes:
    """A PNG that says it is ``side`` pixels square and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [8_001, 9_700, 60_000])
def test_decompression_bombs_are_refused_before_they_are_decoded(side):
    assert reason(bomb(side)) == "too_large"


def test_size_bounds(monkeypatch):
    assert reason(encoded(Image.new("RGB", (checks.MIN_SIDE - 1, 50)))) == "too_small"
    assert decode_image(encoded(Image.new("RGB", (checks.MIN_SIDE, 50)))).size == (checks.MIN_SIDE, 50)
    monkeypatch.setattr(checks, "MAX_BYTES", 10)
    assert reason(encoded(Image.new("RGB", (20, 20)))) == "too_large"


@given(st.integers(16, 900), st.integers(16, 900), st.integers(16, 400))
def test_bounded_keeps_the_shape(width, height, side):
    image = bounded(Image.new("L", (width, height)), side)
    assert max(image.size) == min(max(width, height), side)
    shorter = min(width, height) * max(image.size) / max(width, height)
    assert min(image.size) == 1 or abs(min(image.size) - shorter) <= 0.5


@pytest.mark.parametrize(
    "text, lang, problem",
    [
        ("A man with a dog.", "en", ""),
        ("رجل مع كلب.", "ar", ""),
        ("Café “Noir”, naïve – it’s fine…", "en", ""),
        ("قطة، كلب و USB.", "ar", ""),
        ("ا، ب، ع، ك؟", "ar", ""),
        ("CAFÉ» É»", "en", ""),
        ("Really??? Yes", "en", ""),
        ("", "en", "empty"),
        ("nan", "en", "empty"),
        ("None", "ar", "empty"),
        (" N/A. ", "en", "empty"),
        ("<NA>", "ar", "empty"),
        ("NULL", "en", "empty"),
        ("#N/A", "en", "empty"),
        ("\\N", "en", "empty"),
        ("[None]", "en", "empty"),
        ("-", "ar", "empty"),
        ("لا يوجد", "ar", "empty"),
        ("\u200b\u00ad\u3164", "en", "empty"),
        ("None of them is smiling.", "en", ""),
        ("Nan is cooking.", "en", ""),
        ("Null island", "en", ""),
        ("لا يوجد أحد في الصورة", "ar", ""),
        (" \t\n", "ar", "empty"),
        ("12 - 3!", "en", "empty"),
        ("؟ ١٢", "ar", "empty"),
        ("رجل مع كلب.", "en", "language"),
        ("A man.", "ar", "language"),
        ("一个男人", "en", "language"),
        ("Мужчина", "ar", "language"),
        ("A m\ufffdn", "en", "encoding"),
        ("رج\ufffdل", "ar", "encoding"),
        ("??? ?? ????", "ar", "encoding"),
        ("A\x00man", "en", "encoding"),
    ],
)
def test_captions(text, lang, problem):
    assert caption_problem(clean_caption(text), lang) == problem


@pytest.mark.parametrize("text", ["رجل", "امرأة تقف بجانب سيارة", "قاضية", "it’s", "café", "naïve – “quoted”"])
@pytest.mark.parametrize("encoding", ["cp1252", "cp1256"])
def test_misread_utf8_is_seen(text, encoding):
    garbled = "".join(bytes([b]).decode(encoding) if _known(b, encoding) else chr(b) for b in text.encode("utf-8"))
    if encoding == "cp1252" or len(text.encode("utf-8")) > len(text) + 2:
        assert garbling(garbled) and not garbling(text)


def _known(byte: int, encoding: str) -> bool:
    try:
        bytes([byte]).decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


@given(st.text(st.sampled_from("ابتثجحخدذرزسشصضطظعغفقكلمنهويىةءآأإؤئ، ؟.«»"), max_size=60))
def test_arabic_is_never_taken_for_garbled(text):
    assert not garbling(clean_caption(text))


def test_captions_are_cleaned_to_one_line():
    assert clean_caption("\ufeff A  man\r\n with\ta cafe\u0301 ") == "A man with a café"
    assert clean_caption(None) == ""


def test_the_report_counts_all_and_names_some():
    report = Report()
    for i in range(250):
        report.drop_image(f"{i}", "missing")
    report.drop_caption("7", "ar", "language", "A man.")
    tree = report.as_dict(format=1)
    missing = tree["images_dropped"]["missing"]
    assert missing["count"] == 250 and len(missing["named"]) == 200 and missing["what"]
    assert tree["captions_dropped"]["language"]["named"] == [
        {"image": "7", "lang": "ar", "text": "A man.", "detail": ""}
    ]
    assert "250 images dropped" in report.lines()[0]


def boxes(brand: bytes) -> bytes:
    """The beginning of an AVIF or HEIC file."""
    return struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\0\0mif1" + brand + b"\0" * 40


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read_where_pillow_reads_it(monkeypatch):
    data = encoded(Image.new("RGB", (20, 30), RED), "AVIF", quality=100)
    assert decode_image(data).size == (20, 30)
    monkeypatch.setattr(checks, "formats", lambda: checks.FORMATS)
    assert reason(data) == "format"


def test_formats_that_need_a_package_say_which(monkeypatch):
    monkeypatch.setattr(checks, "formats", lambda: checks.FORMATS)
    for brand, says in ((b"heic", "pip install pillow-heif"), (b"mif1", "HEIC"), (b"avif", "pip install -U pillow")):
        with pytest.raises(Dropped, match=says) as e:
            decode_image(boxes(brand))
        assert e.value.reason == "format"
    monkeypatch.setattr(checks, "formats", lambda: (*checks.FORMATS, "AVIF", "HEIF"))
    assert reason(boxes(b"isom")) == "unreadable"


def test_heic_is_read_where_its_package_is_installed():
    heif = pytest.importorskip("pillow_heif", reason="the optional package pillow-heif is not installed")
    out = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (64, 48), RED)).save(out, quality=90)
    assert decode_image(out.getvalue()).size == (64, 48)
