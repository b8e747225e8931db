"""Archives of images: found under their names, and nothing that leads out, links, or grows without bound is read."""

import io
import os
import struct
import tarfile
import zipfile

import pytest

from core.errors import UserError
from core.samples import checks
from core.samples import pictures as archives
from core.samples.checks import Dropped
from core.samples.pictures import Archived, open_picture
from tests.own_data import picture, png, write_tar, write_zip

DATA = png(picture(3))


def entry(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info, data


def tar_of(path, *entries):
    with tarfile.open(path, "w") as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return path


def reason(pictures: Archived, name: str) -> str:
    with pytest.raises(Dropped) as e:
        pictures.read(name)
    return e.value.reason


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_members_are_found_under_their_name_and_below_the_only_folder(tmp_path, name):
    write = write_zip if name.endswith("zip") else write_tar
    inside = {"photos/x.png": DATA, "photos/sub/cafe\u0301.png": DATA, "__MACOSX/photos/._x.png": b"?"}
    pictures = Archived(write(tmp_path / name, inside, top=""))
    assert pictures.read("x.png") == DATA == pictures.read("photos/x.png")
    assert pictures.has("sub/café.png") and not pictures.has("y.png") and not pictures.has("../x.png")
    assert open_picture(pictures, "x.png").size == (64, 48)
    odd = Archived(write(tmp_path / f"odd-{name}", {"sub\\x.png": DATA, "sub\\..\\..\\y.png": DATA}, top=""))
    assert odd.read("sub/x.png") == DATA and odd.archive.n_refused == 1
    flat = Archived(write(tmp_path / f"flat-{name}", {"x.png": DATA, "sub/x.png": b"1"}, top=""))
    assert flat.read("x.png") == DATA and flat.read("sub/x.png") == b"1"


def test_links_devices_and_names_that_lead_out_of_a_tar_are_not_read(tmp_path):
    (tmp_path / "secret.png").write_bytes(DATA)
    path = tar_of(
        tmp_path / "a.tar",
        entry("ok.png", DATA),
        entry("../secret.png", DATA),
        entry("/etc/x.png", DATA),
        entry("soft.png", kind=tarfile.SYMTYPE, link=str(tmp_path / "secret.png")),
        entry("hard.png", kind=tarfile.LNKTYPE, link="ok.png"),
        entry("device.png", kind=tarfile.CHRTYPE),
        entry("pipe.png", kind=tarfile.FIFOTYPE),
    )
    pictures = Archived(path)
    assert pictures.read("ok.png") == DATA
    for name in ("soft.png", "hard.png", "device.png", "pipe.png", "../secret.png", "/etc/x.png"):
        assert reason(pictures, name) == "outside"
    assert "6 links" in pictures.notes()[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "secret.png"], "nothing is unpacked"


def test_links_encryption_and_odd_packers_in_a_zip_are_not_read(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("soft.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/hostname")
        archive.writestr("../secret.png", DATA)
        archive.writestr("/root.png", DATA)
        archive.writestr("lzma.png", DATA, zipfile.ZIP_LZMA)
        archive.writestr("locked.png", DATA)
        archive.writestr("ok.png", DATA, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"locked.png") - 46
    assert data[at : at + 4] == b"PK\1\2"
    data[at + 8] |= 1  # the mark of encryption
    path.write_bytes(data)
    pictures = Archived(path)
    assert pictures.read("ok.png") == DATA
    assert reason(pictures, "soft.png") == "outside" and reason(pictures, "../secret.png") == "outside"
    assert reason(pictures, "lzma.png") == "unreadable" == reason(pictures, "locked.png")
    assert reason(pictures, "root.png") == "missing"


def test_a_member_that_grows_is_cut_off_at_the_bound_whatever_it_says_of_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "MAX_BYTES", 10_000)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("honest.png", b"\0" * 1_000_000)
        archive.writestr("liar.png", b"\0" * 1_000_000)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"liar.png") - 46
    data[at + 24 : at + 28] = struct.pack("<I", 500)  # its size unpacked, as the list of members tells it
    path.write_bytes(data)
    pictures = Archived(path)
    assert reason(pictures, "honest.png") == "too_large"
    assert reason(pictures, "liar.png") in ("too_large", "unreadable")
    assert reason(Archived(tar_of(tmp_path / "a.tar", entry("big.png", b"\0" * 20_000))), "big.png") == "too_large"


@pytest.mark.parametrize("bound, most", [("MAX_MEMBERS", 2), ("MAX_TOTAL", 2 * len(DATA))])
@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_number_and_total_of_members_are_bounded(tmp_path, monkeypatch, bound, most, write):
    path = write(tmp_path / "a", {f"{i}.png": DATA for i in range(3)})
    assert Archived(path).has("2.png")
    monkeypatch.setattr(archives, bound, most)
    with pytest.raises(UserError, match="cannot be read") as e:
        Archived(path).has("2.png")
    assert "more than" in e.value.why


def test_a_compressed_tar_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "a.tar.gz", {"x.png": b"\0" * 3_000_000})
    assert Archived(path).has("x.png")
    monkeypatch.setattr(archives, "RATIO_FROM", 1_000_000)
    with pytest.raises(UserError) as e:
        Archived(path).has("x.png")
    assert "unpacks to more than" in e.value.why


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_archives_that_end_too_early_are_refused(tmp_path, name):
    write = write_zip if name.endswith("zip") else write_tar
    path = write(tmp_path / name, {f"{i}.png": os.urandom(3000) for i in range(4)})
    path.write_bytes(path.read_bytes()[:7000])
    with pytest.raises(UserError, match="cannot be read"):
        Archived(path).has("3.png")


def test_a_tar_damaged_in_its_middle_is_not_taken_for_a_shorter_one(tmp_path):
    path = write_tar(tmp_path / "a.tar", {f"{i}.png": DATA for i in range(4)}, top="")
    data = bytearray(path.read_bytes())
    at = data.index(b"2.png")
    data[at : at + 5] = b"wrong"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"cannot be read") as e:
        Archived(path).has("0.png")
    assert "damaged at byte" in e.value.why


def test_a_header_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    path = tmp_path / "a.tar"
    tar_of(path, entry("ok.png", DATA), entry("x", b"a" * 9000, tarfile.GNUTYPE_LONGNAME), entry("y.png", DATA))
    monkeypatch.setattr(archives, "MAX_HEADER", 2000)
    with pytest.raises(UserError) as e:
        Archived(path).has("ok.png")
    assert "header is too long" in e.value.why


def test_what_is_no_archive_is_refused(tmp_path):
    for name, data in (("a.rar", b"Rar!\x1a\x07"), ("a.zip", b"PK but nothing else"), ("empty.tar", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match="cannot be read"):
            Archived(tmp_path / name).has("x.png")


def test_the_last_of_two_members_with_one_name_counts_as_unpackers_do(tmp_path):
    path = tar_of(tmp_path / "a.tar", entry("x.png", b"old"), entry("x.png", b"new"))
    assert Archived(path).read("x.png") == b"new"
