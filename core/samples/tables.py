"""Tables of captions: CSV, TSV, JSON lines and Parquet, in the encodings that are met, as rows of named cells.

An encoding is told by the bytes, and refused with a hint where it is not known.
"""

from __future__ import annotations

import csv
import fnmatch
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.config.reading import TEXT_TABLES
from core.errors import UserError

MAX_TEXT = 2_000_000_000  # bytes of a table that is text
Cell = str | list[str]
AGAIN = "Save it again as CSV UTF-8."


def decode_table(data: bytes, name: str = "The table") -> str:
    """The text of a table in UTF-8 (with or without BOM), UTF-16 or Windows-1256; UserError for anything else."""
    do = "Save it again as UTF-8 (in Excel: CSV UTF-8)."
    encoding = encoding_of(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as e:
        if encoding.startswith("utf-16"):
            raise UserError(f"{name} looks like UTF-16 but is damaged.", str(e), do) from e
        raise UserError(f"{name} is in an encoding that was not recognised.", str(e), do) from e
    if encoding != "cp1256":
        return text
    letters = [c for c in text if ord(c) > 127 and (c.isalpha() or c in "×÷")]
    n_arabic = sum("\u0600" <= c <= "\u06ff" for c in letters)
    if letters and n_arabic >= 0.98 * len(letters):
        return text
    why = "It is neither UTF-8, UTF-16 nor Arabic in Windows-1256; guessing would garble the captions."
    raise UserError(f"{name} is in an encoding that was not recognised.", why, do)


def encoding_of(data: bytes) -> str:
    """The codec of a text by its bytes: utf-8, utf-8-sig, utf-16 (-le, -be); cp1256 where it is none of them."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in data[:4000]:
        return "utf-16-le" if data[1:4000:2].count(0) >= data[:4000:2].count(0) else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1256"
    return "utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8"


@dataclass
class Table:
    """Columns and rows of a table; cells are texts or lists of texts, empty where there is nothing.

    ``pictures`` are columns that hold images as bytes; they are in ``columns`` but not in the rows.
    """

    name: str
    columns: list[str]
    rows: Iterable[dict[str, Cell]]
    pictures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    encoding: str = ""

    def matching(self, pattern: str) -> list[str]:
        """The columns that a setting names; ``*`` stands for anything, as in caption_*. Empty for ""."""
        if pattern in self.columns:
            return [pattern]
        return [c for c in self.columns if fnmatch.fnmatchcase(c, pattern)] if "*" in pattern else []

    def require(self, wanted: Sequence[str], do: str = "") -> None:
        """UserError that names the columns that are not there, and those that are."""
        lacking = [w for w in wanted if w and not self.matching(w)]
        if lacking:
            do = do or "Rename them, or name yours: --set samples.en_column=... (image_column, ar_column)"
            raise UserError(
                f"{self.name} has no column {', '.join(lacking)}.",
                f"Its columns: {', '.join(self.columns) or 'none'}.",
                do,
            )


def is_parquet(path: Path) -> bool:
    """Whether a table is Parquet: one file of it, or a folder of them."""
    if path.is_dir():
        return any(path.glob("*.parquet"))
    return path.suffix.lower() in (".parquet", ".pq")


def read_table(path: Path, wanted: Sequence[str] = ()) -> Table:
    """The table in a file (or a folder of Parquet files); UserError where it cannot be read.

    Columns of a text are parted by comma, semicolon or tab: by what finds the wanted columns, else most columns.
    """
    if is_parquet(path):
        return _parquet(path)
    if path.suffix.lower() not in TEXT_TABLES:
        raise UserError(
            f"{path.name} is in no format that is read here.",
            f"It ends in {path.suffix or 'nothing'}.",
            "Give a .csv, .tsv, .txt, .jsonl, .json or .parquet file.",
        )
    text, encoding = read_text(path)
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        table = _json(path, text)
    else:
        table = _delimited(path, text, wanted)
    table.encoding = encoding
    return table


def read_text(path: Path) -> tuple[str, str]:
    """The text of a file and the name of its encoding; UserError where it is too long or of another encoding."""
    if path.stat().st_size > MAX_TEXT:
        raise UserError(
            f"{path.name} is longer than {MAX_TEXT // 1_000_000:,} MB.",
            "A table of text is read whole.",
            "Save it as Parquet, or part it.",
        )
    data = path.read_bytes()
    text = decode_table(data, path.name)
    return text, encoding_of(data)


# --- text -------------------------------------------------------------------------------------------------------------


def _delimited(path: Path, text: str, wanted: Sequence[str]) -> Table:
    best = Table(path.name, [], [])
    try:
        rows: Iterable[list[str]] = []
        for delimiter in ",;\t":
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
            found = Table(path.name, [name.strip() for name in next(reader, [])], [])
            is_it = bool(wanted) and all(found.matching(w) for w in wanted if w)
            if is_it or len(found.columns) > len(best.columns):
                best, rows = found, reader
            if is_it:
                break
        best.rows = list(_cells(best, rows))
    except csv.Error as e:
        raise UserError(f"{path.name} is not a CSV that can be read.", str(e), AGAIN) from e
    return best


def _cells(table: Table, rows: Iterable[list[str]]) -> Iterator[dict[str, Cell]]:
    """The rows with something in them; those with more cells than columns are left out, with a note."""
    too_wide: list[int] = []
    n = len(table.columns)
    for number, values in enumerate(rows, start=2):
        if not any(v.strip() for v in values):
            continue
        if any(v.strip() for v in values[n:]):
            too_wide.append(number)
            continue
        yield {c: _listed(v) for c, v in zip(table.columns, [*values, *[""] * n], strict=False) if c}
    if too_wide:
        named = ", ".join(map(str, too_wide[:5])) + (", ..." if len(too_wide) > 5 else "")
        table.notes.append(
            f"{table.name}: {len(too_wide)} rows have more cells than there are columns (a comma in a caption without "
            f"quotes?) and are left out: {named}"
        )


def _listed(text: str) -> Cell:
    """A cell, or the texts in it where it is a JSON list of them."""
    if text.startswith('["') and text.rstrip().endswith('"]'):
        try:
            found = json.loads(text)
        except ValueError:
            return text
        if all(isinstance(item, str) for item in found):
            return found
    return text


def _json(path: Path, text: str) -> Table:
    """One object a line, or one list of objects."""
    whole = _whole(text)
    if isinstance(whole, list):
        objects = list(enumerate(whole, start=1))
    elif isinstance(whole, dict):
        objects = [(1, whole)]
    else:
        lines = enumerate(text.split("\n"), start=1)
        objects = [(number, _parsed(path, line, number)) for number, line in lines if line.strip()]
    columns: dict[str, None] = {}
    rows = []
    for number, found in objects:
        if not isinstance(found, dict):
            do = "Write one object a line."
            raise UserError(f"{path.name}, entry {number}, is no JSON object.", str(found)[:60], do)
        if {"images", "annotations"} <= found.keys():
            raise UserError(
                f"{path.name} is in the form of COCO.",
                "It holds images and annotations.",
                "Read it so: --set samples.source=coco",
            )
        row = {str(key): _cell(value) for key, value in found.items()}
        rows.append({key: value for key, value in row.items() if value is not None})
        columns |= dict.fromkeys(rows[-1])
    return Table(path.name, list(columns), [{c: row.get(c, "") for c in columns} for row in rows])


def _whole(text: str) -> Any:
    """The JSON value that a whole text is; None where it is several lines of JSON, or none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _parsed(path: Path, line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as e:
        raise UserError(f"{path.name}, line {number}, is no JSON.", str(e), "Write one JSON object a line.") from e


def _cell(value: Any) -> Cell | None:
    """A value of JSON or Arrow as a cell; None for objects and lists of other things, which no setting can name."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return str(value)
    if isinstance(value, list) and all(item is None or isinstance(item, str) for item in value):
        return [item for item in value if item]
    return None


# --- Parquet ----------------------------------------------------------------------------------------------------------


def parquet_files(path: Path) -> list[Path]:
    """The files of a Parquet table: the file itself, or those of the folder by name."""
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def _parquet(path: Path) -> Table:
    files = parquet_files(path)
    try:
        schema = pq.read_schema(files[0])
        for other in files[1:]:
            if not pq.read_schema(other).equals(schema):
                raise UserError(
                    f"{other.name} has other columns than {files[0].name}.",
                    "All Parquet files of a folder are one table.",
                    "Move it elsewhere.",
                )
    except (pa.ArrowException, OSError) as e:
        raise unreadable_parquet(path, e) from e
    return arrow_table(path.name, schema, lambda names: _batches(path, files, names))


def _batches(path: Path, files: Sequence[Path], names: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        for file in files:
            with pq.ParquetFile(file) as parquet:
                yield from parquet.iter_batches(batch_size=4096, columns=names)
    except (pa.ArrowException, OSError) as e:
        raise unreadable_parquet(path, e) from e


def unreadable_parquet(path: Path, error: Exception) -> UserError:
    why = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UserError(f"{path.name} is no Parquet that can be read.", why, "Write or fetch it again.")


def arrow_table(name: str, schema: pa.Schema, batches: Any) -> Table:
    """A table over Arrow batches: ``batches(names)`` iterates over record batches of these columns alone.

    Numbers that Hugging Face has stored in the place of class names are named again.
    """
    pictures = [f.name for f in schema if holds_bytes(f.type)]
    names = [f.name for f in schema if f.name not in pictures and _is_plain(f.type)]
    columns = [f.name for f in schema if f.name in names or f.name in pictures]
    return Table(name, columns, _ArrowRows(batches, names, _class_names(schema)), pictures)


class _ArrowRows:
    """Rows that are read anew each time they are gone through."""

    def __init__(self, batches: Any, names: list[str], classes: dict[str, list[str]]):
        self.batches, self.names, self.classes = batches, names, classes

    def __iter__(self) -> Iterator[dict[str, Cell]]:
        for batch in self.batches(self.names):
            for row in batch.to_pylist():
                yield {name: self._named(name, value) for name, value in row.items()}

    def _named(self, column: str, value: Any) -> Cell:
        known = self.classes.get(column)
        if known and isinstance(value, int):
            return known[value] if 0 <= value < len(known) else ""  # -1: not annotated
        return _cell(value) or ""


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of the classes of each column that Hugging Face calls a ClassLabel, from the schema's metadata."""
    text = (schema.metadata or {}).get(b"huggingface")
    features = (json.loads(text).get("info") or {}).get("features") or {} if text else {}
    return {
        name: kind["names"]
        for name, kind in features.items()
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel"
    }


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds files: bytes, or what Hugging Face writes for images, {bytes, path}."""
    if pa.types.is_struct(kind):
        return "bytes" in kind.names and holds_bytes(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
        return pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_boolean,
            pa.types.is_null,
        )
    )
