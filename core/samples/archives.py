"""Zip and tar archives: listed once, members read one by one into memory, nothing written under their names.

Links, devices, encrypted members and names that lead out of the archive are never read, and every size is bounded.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import stat
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from core.errors import UserError
from core.samples import checks
from core.samples.checks import Dropped

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
            if kind not in (0, stat.S_IFREG):
                yield info.filename, 0, "outside"
            elif info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                yield info.filename, 0, "unreadable"  # other packers have no bound on what one read gives
            else:
                yield info.filename, info.file_size, info

    def _bytes(self, where: zipfile.ZipInfo) -> bytes:
        if where.file_size > checks.MAX_BYTES:
            raise Dropped("too_large", f"{where.file_size:,} bytes")
        with self._zip.open(where) as file:
            return file.read(checks.MAX_BYTES + 1)


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
        with tarfile.open(fileobj=reads, mode="r:") as tar:
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
