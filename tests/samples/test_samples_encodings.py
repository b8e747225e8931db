"""Encodings: told by the bytes of a file, and garbled texts named by what they were misread as."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.samples.encodings import CODES, LOST, decode, garbling

ARABIC = "امرأة تصلح دراجة في الشارع، ورجل يقف قرب الباب"
ENGLISH = "A woman’s “bike” – a café"


def misread(text: str, written: str, read: str) -> str:
    """What a program shows that takes a text for another encoding; bytes without a letter are lost."""
    return text.encode(written).decode(read, "ignore")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1256"])
def test_arabic_tables_are_read_in_the_encodings_that_are_met(encoding):
    text = f"image,en,ar\r\n1.jpg,A man,{ARABIC}\r\n"
    found, name = decode(text.encode(encoding))
    assert found == text and (name == "cp1256") == (encoding == "cp1256")


def test_western_text_is_read_where_no_two_codecs_disagree():
    text = f"image,en\n1.jpg,{ENGLISH}\n"
    assert decode(text.encode("cp1252")) == (text, "cp1252")
    for other in ("Niño, señor", "Größe", "Łódź"):
        with pytest.raises(UserError, match="encoding"):
            decode(f"image,en\n1.jpg,{other}\n".encode("cp1250" if "Ł" in other else "mac_roman"))


def test_zeros_in_a_text_do_not_make_it_utf16():
    assert decode(b"image,en\n1.jpg,A \0 man\n") == ("image,en\n1.jpg,A \0 man\n", "utf-8")


def test_a_few_lines_of_another_encoding_lose_their_letters_alone():
    lines = [f"{i}.jpg,{ARABIC}".encode() for i in range(9)] + [f"9.jpg,{ARABIC}".encode("cp1256")]
    found, name = decode(b"\n".join(lines))
    assert name == "utf-8" and [("\ufffd" in line) for line in found.split("\n")] == [False] * 9 + [True]
    cut, _ = decode("\n".join([f"{i}.jpg,{ARABIC}" for i in range(9)]).encode("utf-16")[:-1])
    assert cut.count("\ufffd") == 1


@pytest.mark.parametrize(
    "read, name",
    [
        ("cp1252", "Windows-1252"),
        ("latin-1", "Latin-1"),
        ("cp1256", "Windows-1256"),
        ("mac_roman", "Mac Roman"),
        ("cp437", "code page 437"),
        ("cp1251", "Windows-1251"),
    ],
)
def test_utf8_that_was_read_as_something_else_is_named(read, name):
    assert garbling(misread(ARABIC, "utf-8", read)) == f"UTF-8 read as {name}"
    assert garbling(" ".join(misread(ARABIC, "utf-8", read).split())) == f"UTF-8 read as {name}", "blanks are lost too"


def test_other_ways_to_garble_are_named():
    assert garbling(misread(ARABIC, "cp1256", "cp1252")) == "Windows-1256 read as Windows-1252"
    assert garbling(misread(misread("رجل", "utf-8", "latin-1"), "utf-8", "latin-1"))
    assert garbling(ENGLISH.encode().decode("cp1252", "ignore")) == "UTF-8 read as Windows-1252"
    assert garbling("A m\ufffdn") == LOST == garbling("???? ?? ???")
    codes = "".join(f"&#{ord(c)};" for c in "رجل"), "".join(f"\\u{ord(c):04x}" for c in "رجل"), "%D8%B1%D8%AC"
    assert [garbling(code) for code in codes] == [CODES] * 3


@pytest.mark.parametrize(
    "text",
    [
        ARABIC,
        ENGLISH,
        "Ein Mädchen trägt Äpfel",
        "Êtes-vous là ? À côté",
        "Ça été créé",
        "پدر و گربه",
        "50 °C – £5",
        "It&#39;s",
    ],
)
def test_what_is_written_well_is_not_taken_for_garbled(text):
    assert garbling(text) == ""


@given(st.binary(max_size=200))
def test_whatever_bytes_a_file_has_it_is_read_or_refused(data):
    try:
        text, name = decode(data)
    except UserError as e:
        assert e.do
    else:
        assert isinstance(text, str) and name
