"""Which image file each name of a table means, where the table writes names otherwise than the files have them.

Names lose leading zeros and endings, gain paths of other machines, and change letters. A name is matched where one file
alone can be meant and no other name of the table means that file; else it is refused by name. Nothing is guessed, and
how each file was found is told.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol
from urllib.parse import unquote

from core.errors import UserError
from core.samples.checks import IMAGE_FILE, INVISIBLE

MAX_FILES = 1_000_000
NUMBER = re.compile(r"(\d+)(?:\.0+)?")  # 7, 0007, and 7.0 as a column of numbers has it
NUMBERED = re.compile(r"(|.*[_\- ]|[^\W\d_]+)(\d+)")  # COCO_val2014_000000000007, img7: what stands before, number
CUT_NUMBER = re.compile(r"\d(?:[.,]\d+)?E\+\d+", re.IGNORECASE)  # what a spreadsheet makes of a long number
MAX_DIGITS = 40
LONG_NUMBER = 6  # digits from which on COCO_val2014_000000391895 may be 000000391895; a1 is not 1
N_SHOWN = 3  # files that are named where several could be meant


class Files(Protocol):
    """Images by name, as ``pictures`` has them."""

    def has(self, name: str) -> bool:
        """Whether there is such an image."""
        ...

    def listed(self) -> Iterable[str]:
        """The names of all image files, each as ``has`` knows it."""
        ...


@dataclass(frozen=True)
class Match:
    """The file that a name means ("" where there is none), how it was found ("" = as written), and why it was not."""

    file: str = ""
    how: str = ""
    problem: str = ""


@dataclass(frozen=True)
class _Name:
    """A name or a file taken apart: folders in small letters, stem, ending, and the stem's number."""

    folders: tuple[str, ...]
    stem: str
    ending: str
    before: str | None = None  # what stands before the number; None where there is no number
    number: int = -1

    @property
    def base(self) -> str:
        return self.stem + self.ending

    @property
    def path(self) -> tuple[str, ...]:
        return (*self.folders, self.base)


def match_names(names: Iterable[str], files: Files) -> dict[str, Match]:
    """The match of each name; the files are listed only where a name is not that of a file as it is written."""
    found: dict[str, Match] = {}
    finder = None
    for name in dict.fromkeys(names):
        if files.has(name):
            found[name] = Match(name)
        elif name and "\0" not in name and ".." not in PurePosixPath(name).parts:
            finder = finder or _Finder(files)
            found[name] = finder.find(name)
        else:
            found[name] = Match()
    return found if finder is None else _claimed_once(found)


@dataclass
class _Index:
    """Files by some key of their names."""

    key: Callable[[_Name], object]
    files: dict[object, list[str]] = field(default_factory=dict)


class _Finder:
    """The files of a folder or archive, by all that a table may have kept of their names."""

    def __init__(self, files: Files):
        self.has = files.has
        self.parts: dict[str, _Name] = {}
        for file in files.listed():
            if len(self.parts) >= MAX_FILES:
                raise UserError(
                    f"Some names of the table are not those of files, and there are more than {MAX_FILES:,} files.",
                    "Which file is meant is looked up among all of them.",
                    "Give a smaller folder or archive: --set samples.images=...",
                )
            self.parts[file] = _taken_apart(file)
        self.ways = [
            ("case", _Index(lambda n: n.path)),
            ("ending", _Index(lambda n: (*n.folders, n.stem))),
            ("folder", _Index(lambda n: n.base)),
            ("ending", _Index(lambda n: n.stem)),
            ("number", _Index(lambda n: n.number if n.before is not None else None)),
        ]
        for _, index in self.ways:
            for file, parts in self.parts.items():
                index.files.setdefault(index.key(parts), []).append(file)

    def find(self, name: str) -> Match:
        """The one file that a name can mean, by the first of the ways in which any file can be meant."""
        plain = plain_name(name)
        if plain != name and self.has(plain):
            return Match(plain, "written_as_code")
        parts = _taken_apart(plain)
        if not parts.stem:
            return Match()
        for how, index in self.ways:
            key = index.key(parts)
            files = index.files.get(key, []) if key is not None else []
            if how == "number":
                files = [f for f in files if _same_number(parts, self.parts[f])]
                if parts.before and len(parts.stem) - len(parts.before) < LONG_NUMBER:
                    files = [f for f in files if self.parts[f].before]
            files = _nearest(files, parts, self.parts)
            if len(files) > 1:
                shown = ", ".join(files[:N_SHOWN]) + (", ..." if len(files) > N_SHOWN else "")
                return Match(problem=f"{name} may be {shown}")
            if files:
                is_path = how == "folder" and len(parts.folders) > len(self.parts[files[0]].folders)
                return Match(files[0], "path" if is_path else how)
        return Match(problem=f"a spreadsheet has cut digits off {name}" if CUT_NUMBER.fullmatch(plain) else "")


def plain_name(name: str) -> str:
    """A name without what programs put around it: invisible letters, quotation marks, ="...", file://, %20, #0."""
    text = INVISIBLE.sub("", unicodedata.normalize("NFC", name)).strip()
    text = re.sub(r'^="(.*)"$', r"\1", text).strip("\"'")
    if re.match(r"[a-z]+:/", text, re.IGNORECASE):
        text = re.sub(r"^file:/+", "/", text, flags=re.IGNORECASE).partition("?")[0]
    text = re.sub(r"(\.\w+)#\w+$", r"\1", text)  # image#n, as Flickr8k counts captions
    return str(PurePosixPath(unquote(text))) if text else ""


def _taken_apart(name: str) -> _Name:
    """Small letters, composed (NFC); the ending only where it is one of images."""
    *folders, base = unicodedata.normalize("NFC", name).casefold().strip("/").split("/")
    ending = IMAGE_FILE.search(base)
    stem = base[: ending.start()] if ending else base
    whole = NUMBER.fullmatch(stem)
    if whole and len(stem) < MAX_DIGITS:
        return _Name(tuple(folders), stem, ending[0] if ending else "", "", int(whole[1]))
    numbered = NUMBERED.fullmatch(stem)
    before, number = (numbered[1], int(numbered[2])) if numbered and len(numbered[2]) < MAX_DIGITS else (None, -1)
    return _Name(tuple(folders), stem, ending[0] if ending else "", before, number)


def _same_number(one: _Name, other: _Name) -> bool:
    """Whether two names mean the same number: after the same words, or one of them after none."""
    if one.before is None or other.before is None or one.number != other.number:
        return False
    return one.before == other.before or "" in (one.before, other.before)


def _nearest(files: Sequence[str], parts: _Name, known: Mapping[str, _Name]) -> list[str]:
    """Of several files those that share most folders with a name, from the last folder up."""
    if len(files) < 2:
        return list(files)
    shared = {file: _n_shared(known[file].folders, parts.folders) for file in files}
    most = max(shared.values())
    return [file for file in files if shared[file] == most]


def _n_shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many last folders two paths have in common."""
    n = 0
    while n < min(len(one), len(other)) and one[-1 - n] == other[-1 - n]:
        n += 1
    return n


def _claimed_once(found: dict[str, Match]) -> dict[str, Match]:
    """Without the matches of names that mean one file and cannot mean the same image, such as train/7 and val/7."""
    claims: dict[str, list[str]] = {}
    for name, match in found.items():
        if match.file:
            claims.setdefault(match.file, []).append(name)
    for file, names in claims.items():
        if len(names) < 2:
            continue
        exact = [name for name in names if not found[name].how]
        first = _taken_apart(plain_name(exact[0] if exact else names[0]))
        others = [name for name in names if name not in exact]
        if not exact and all(_may_be_one(first, _taken_apart(plain_name(name))) for name in others):
            continue
        for name in others:
            if not exact or not _may_be_one(first, _taken_apart(plain_name(name))):
                rival = next(other for other in names if other != name)
                found[name] = Match(problem=f"{name} and {rival} would both be {file}")
    return found


def _may_be_one(one: _Name, other: _Name) -> bool:
    """Whether two names can be two spellings of one: the endings, folders and stems they have do not contradict."""
    endings = {re.sub("^.jp(e|eg|g)$|^.jfif$", ".jpg", name.ending) for name in (one, other)} - {""}
    n = min(len(one.folders), len(other.folders))
    is_same_folder = _n_shared(one.folders, other.folders) == n
    return len(endings) < 2 and is_same_folder and (one.stem == other.stem or _same_number(one, other))
