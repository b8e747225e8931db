"""Where images lie: a folder, a zip or a tar, from which they are read by name and never from anywhere else.

An archive is listed once and its members are read one by one into memory, nothing being written under their names.
Links, devices, encrypted members and names that lead out of it are never read, and every size is bounded.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import lzma
import os
import re
import stat
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from PIL import Image

from core.config import PROJECT_ROOT
from core.errors import UserError
from core.samples import checks
from core.samples.checks import Dropped, decode_image

MAX_MEMBERS = 1_000_000
MAX_TOTAL = 1_000_000_000_000  # bytes of all members together
MAX_RATIO, RATIO_FROM = 200, 1_000_000_000  # of a compressed tar, past so many bytes: images hardly shrink
MAX_HEADER = 4_000_000  # bytes of a tar header
PACKERS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
IGNORED = ("__MACOSX", ".DS_Store")  # what some systems put beside the files


class Pictures(Protocol):
    """Images by name."""

    def read(self, name: str) -> bytes:
        """The bytes of an image file; raises Dropped where there is none to be had."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such an image; it may still be broken."""
        ...

    def listed(self) -> Iterable[str]:
        """The names of all image files, as ``read`` knows them; none where a table alone gives names."""
        ...

    def add_to(self, total: Any, names: Callable[[], Iterable[str]]) -> None:
        """Add the content of the named images to a hash."""
        ...

    def notes(self) -> list[str]:
        """What is to be said of the whole collection."""
        ...


def open_picture(pictures: Pictures, name: str) -> Image.Image:
    """The decoded image of that name; raises Dropped."""
    return decode_image(pictures.read(name))


def place(value: str) -> Path:
    """The place that a setting names; relative paths are looked up from the project root."""
    return PROJECT_ROOT / Path(value).expanduser()


def pictures_at(value: str) -> Pictures:
    """The images of ``samples.images``, a folder or an archive; UserError where there is neither."""
    path = place(value)
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        return Archived(path)
    do = "Put the images there, or give a folder, a zip or a tar: --set samples.images=/your/images"
    raise UserError(f"There is no image folder {path}.", "It is the setting samples.images.", do)


def picture_name(text: str) -> str:
    """An image's name as a table writes it: / between folders, no leading ./ ."""
    name = text.strip().replace("\\", "/")
    return str(PurePosixPath(name)) if name else ""


def is_image_file(name: str) -> bool:
    """Whether a file is one of images by its ending, and none of those that some systems put beside them."""
    return bool(checks.IMAGE_FILE.search(name)) and not PurePosixPath(name).name.startswith("._")


def check_name(name: str) -> None:
    """Raise Dropped where a name leads outside of any folder, or is none."""
    relative = PurePosixPath(name)
    if not name or relative.is_absolute() or ".." in relative.parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise Dropped("outside" if name else "missing", name)


def locate(folder: Path, name: str) -> Path:
    """The file that ``name`` means inside ``folder``; Dropped where it leads outside or there is no such file."""
    check_name(name)
    root = folder.resolve()
    for form in dict.fromkeys((name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))):
        try:
            path = (root / form).resolve()
            is_file = path.is_file()
        except (OSError, RuntimeError) as e:  # names too long, links in a circle
            raise Dropped("missing", getattr(e, "strerror", "") or type(e).__name__) from e
        if not path.is_relative_to(root):
            raise Dropped("outside", name)
        if is_file:
            return path
    raise Dropped("missing", name)


class Folder:
    """Images that are files in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, name: str) -> bytes:
        path = locate(self.folder, name)
        try:
            if path.stat().st_size > checks.MAX_BYTES:
                raise Dropped("too_large", f"{path.stat().st_size:,} bytes")
            return path.read_bytes()
        except OSError as e:
            raise Dropped("unreadable", e.strerror or "") from e

    def has(self, name: str) -> bool:
        try:
            return bool(locate(self.folder, name))
        except Dropped:
            return False

    def listed(self) -> Iterator[str]:
        for place, folders, files in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if name not in IGNORED)
            inside = Path(place).relative_to(self.folder)
            yield from ((inside / name).as_posix() for name in sorted(files) if is_image_file(name))

    def add_to(self, total: Any, names: Callable[[], Iterable[str]]) -> None:
        for name in names():
            try:
                with open(locate(self.folder, name), "rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            except Dropped as e:
                content = e.reason
            except OSError:
                content = "unreadable"
            total.update(f"\0{name}\0{content}".encode())

    def notes(self) -> list[str]:
        return []


class Archived:
    """Images that are members of a zip or tar, under their name in it or below its only top folder."""

    def __init__(self, path: Path):
        self.path = path
        self.archive = open_archive(path)

    def read(self, name: str) -> bytes:
        return self.archive.read(self._member(name))

    def has(self, name: str) -> bool:
        try:
            return bool(self._member(name))
        except Dropped:
            return False

    def listed(self) -> Iterator[str]:
        top = f"{self.archive.top}/"
        yield from (name.removeprefix(top) for name in self.archive.members if is_image_file(name))

    def _member(self, name: str) -> str:
        check_name(name)
        form = unicodedata.normalize("NFC", name)
        for member in (form, f"{self.archive.top}/{form}"):
            if member in self.archive.members:
                return member
        raise Dropped("missing", name)

    def add_to(self, total: Any, names: Callable[[], Iterable[str]]) -> None:
        with open(self.path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())

    def notes(self) -> list[str]:
        return self.archive.notes


def open_archive(path: Path) -> Archive:
    """A zip or tar (also gz, bz2, xz), told by its content; UserError where the file is neither."""
    with open(path, "rb") as file:
        head = file.read(8)
    if head.startswith(b"PK"):
        return ZipArchive(path)
    unpack = next((opener for magic, opener in PACKERS if head.startswith(magic)), None)
    if unpack is None and not tarfile.is_tarfile(path):
        raise _refused(path, "It is no zip and no tar (plain, gz, bz2 or xz).")
    return TarArchive(path, unpack)


def _refused(path: Path, why: str) -> UserError:
    return UserError(
        f"The archive {path.name} cannot be read.",
        why,
        "Unpack it yourself and give the folder: --set samples.images=/your/images",
    )


class Archive:
    """What both kinds share: ``members`` maps a name to where it is, or to the reason why it is not read."""

    def __init__(self, path: Path):
        self.path = path
        self.n_refused = 0

    @functools.cached_property
    def members(self) -> dict[str, Any]:
        """Every file of the archive by its name, in one pass; UserError where the archive is damaged or too large."""
        found: dict[str, Any] = {}
        total = 0
        try:
            for name, size, where in self._listed():
                total += max(0, size)
                if len(found) >= MAX_MEMBERS or total > MAX_TOTAL:
                    raise _refused(self.path, f"It holds more than {MAX_MEMBERS:,} files or {MAX_TOTAL:,} bytes.")
                relative = PurePosixPath(name.replace("\\", "/"))
                if relative.is_absolute() or ".." in relative.parts or "\0" in name:
                    self.n_refused += 1
                elif not set(IGNORED) & set(relative.parts) and not relative.name.startswith("._"):
                    self.n_refused += isinstance(where, str)
                    found[unicodedata.normalize("NFC", str(relative))] = where  # the last of a name counts
        except DAMAGE as e:
            raise _refused(self.path, f"{type(e).__name__}: {e}") from e
        return found

    @functools.cached_property
    def top(self) -> str:
        """The one folder that all files lie in, or "."."""
        tops = {name.partition("/")[0] if "/" in name else "." for name in self.members}
        return tops.pop() if len(tops) == 1 else "."

    @property
    def notes(self) -> list[str]:
        if not self.n_refused:
            return []
        return [
            f"{self.path.name}: {self.n_refused} links, devices, encrypted files or names that lead out of the "
            "archive are not read"
        ]

    def read(self, name: str) -> bytes:
        """The bytes of a member; raises Dropped (outside, too_large, unreadable)."""
        where = self.members[name]
        if isinstance(where, str):
            raise Dropped(where, name)
        try:
            data = self._bytes(where)
        except DAMAGE as e:
            raise Dropped("unreadable", f"{type(e).__name__}: {e}"[:200]) from e
        if len(data) > checks.MAX_BYTES:
            raise Dropped("too_large", f"more than {checks.MAX_BYTES:,} bytes")
        return data

    def _listed(self) -> Iterator[tuple[str, int, Any]]:
        """Name, size, and where it is (a text is the reason why it is not read) of every member but folders."""
        raise NotImplementedError

    def _bytes(self, where: Any) -> bytes:
        """At most one byte more than MAX_BYTES of a member."""
        raise NotImplementedError


class ZipArchive(Archive):
    """A zip; its list of members stands at its end."""

    @functools.cached_property
    def _zip(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.path)

    def _listed(self) -> Iterator[tuple[str, int, Any]]:
        for info in self._zip.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir() or kind == stat.S_IFDIR:
                continue
            name = _zip_name(info)
            if kind not in (0, stat.S_IFREG):
                yield name, 0, "outside"
            elif info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                yield name, 0, "unreadable"  # other packers have no bound on what one read gives
            else:
                yield name, info.file_size, info

    def _bytes(self, where: zipfile.ZipInfo) -> bytes:
        if where.file_size > checks.MAX_BYTES:
            raise Dropped("too_large", f"{where.file_size:,} bytes")
        with self._zip.open(where) as file:
            return file.read(checks.MAX_BYTES + 1)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name of a member; some packers write UTF-8 without saying so, which is then read as code page 437."""
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


class TarArchive(Archive):
    """A tar; a compressed one is unpacked once into a nameless temporary file, since it cannot be read in any order."""

    def __init__(self, path: Path, unpack: Any = None):
        super().__init__(path)
        self.unpack = unpack

    @functools.cached_property
    def _file(self) -> IO[bytes]:
        if self.unpack is None:
            return open(self.path, "rb")
        plain = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the archive and has no name to remove)
        most = min(MAX_TOTAL, max(RATIO_FROM, MAX_RATIO * self.path.stat().st_size))
        with self.unpack(self.path, "rb") as packed:
            while block := packed.read(1 << 20):
                plain.write(block)
                if plain.tell() > most:
                    raise ValueError(f"it unpacks to more than {most:,} bytes")
        return plain

    def _listed(self) -> Iterator[tuple[str, int, Any]]:
        self._file.seek(0)
        reads: Any = _BoundedReads(self._file)
        with tarfile.open(fileobj=reads, mode="r:") as opened:
            tar: Any = opened
            while (member := tar.next()) is not None:
                tar.members = []  # else it keeps every member it has seen
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    yield member.name, 0, "outside"
                else:
                    yield member.name, member.size, (member.offset_data, member.size)
            self._file.seek(tar.offset)
            if any(self._file.read(tarfile.BLOCKSIZE)):  # tarfile takes a damaged header for the end
                raise ValueError(f"it is damaged at byte {tar.offset:,}")

    def _bytes(self, where: tuple[int, int]) -> bytes:
        offset, size = where
        self._file.seek(offset)
        data = self._file.read(min(size, checks.MAX_BYTES + 1))
        if len(data) < min(size, checks.MAX_BYTES + 1):
            raise EOFError("the archive ends within this file")
        return data


class _BoundedReads:
    """A file of which tarfile reads no header longer than MAX_HEADER into memory."""

    def __init__(self, file: IO[bytes]):
        self.file = file

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > MAX_HEADER:
            raise ValueError("a header is too long")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()
