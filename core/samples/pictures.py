"""Where images lie: a folder or an archive, from which they are read by name and never from anywhere else."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from PIL import Image

from core.config import PROJECT_ROOT
from core.errors import UserError
from core.samples import checks
from core.samples.archives import open_archive
from core.samples.checks import Dropped, decode_image


class Pictures(Protocol):
    """Images by name."""

    def read(self, name: str) -> bytes:
        """The bytes of an image file; raises Dropped where there is none to be had."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such an image; it may still be broken."""
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
