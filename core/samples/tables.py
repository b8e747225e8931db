"""Tables of captions: text with delimiters, JSON lines and Parquet, as rows of named cells.

A row that cannot be read is left out and kept among ``Table.odd``; a file of which no row can be read is refused.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.config.reading import TEXT_TABLES
from core.errors import UserError
from core.samples.delimited import read_delimited
from core.samples.encodings import decode
from core.samples.rows import MAX_CELL, Cell, OddRow, Row

MAX_TEXT = 2_000_000_000  # bytes of a table that is text


@dataclass
class Table:
    """Columns and rows of a table; cells are texts or lists of texts, empty where there is nothing.

    ``pictures`` are columns that hold images as bytes; they are in ``columns`` but not in the rows. ``odd`` are rows
    that are left out or read with a remark; whoever goes through the rows adds those that are of no use to it.
    """

    name: str
    columns: list[str]
    rows: Iterable[Row]
    pictures: list[str] = field(default_factory=list)
    odd: list[OddRow] = field(default_factory=list)
    encoding: str = ""

    def leave_out(self, row: Row, reason: str) -> None:
        """Note that a row is of no use."""
        written = " | ".join(v if isinstance(v, str) else "; ".join(v) for v in row.values())
        self.odd.append(OddRow.of(self.name, row.line, reason, written))

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

    The delimiter of a text is told by the ``wanted`` columns and by its rows, see ``delimited``.
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
    return decode(path.read_bytes(), path.name)


# --- text -------------------------------------------------------------------------------------------------------------


def _delimited(path: Path, text: str, wanted: Sequence[str]) -> Table:
    def is_it(columns: Sequence[str]) -> bool:
        found = Table(path.name, list(columns), [])
        return any(wanted) and all(found.matching(w) for w in wanted if w)

    found = read_delimited(path.name, text, is_it)
    for row in found.rows:
        row.update({c: _listed(v) for c, v in row.items() if isinstance(v, str) and v.startswith('["')})
    return Table(path.name, found.columns, found.rows, odd=found.odd)


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
    """One object a line, or one list of objects; what is no object costs itself, UserError where none is one."""
    columns: dict[str, None] = {}
    rows, odd = [], []
    for number, found, written in _values(text):
        if not isinstance(found, dict):
            odd.append(OddRow.of(path.name, number, "no_json", written))
            continue
        if {"images", "annotations"} <= found.keys():
            raise UserError(
                f"{path.name} is in the form of COCO.",
                "It holds images and annotations.",
                "Read it so: --set samples.source=coco",
            )
        cells = {str(key): _cell(value) for key, value in found.items()}
        row = Row({key: value for key, value in cells.items() if value is not None})
        row.line = number
        columns |= dict.fromkeys(row)
        if any(len(t) > MAX_CELL for v in row.values() for t in (v if isinstance(v, list) else [v])):
            odd.append(OddRow.of(path.name, number, "too_long", written))
        else:
            rows.append(row)
    if odd and not rows:
        first = odd[0]
        raise UserError(
            f"{path.name} holds no JSON object that can be read, from line {first.line} on.",
            f"It reads: {first.text[:70]}",
            "Write one JSON object a line.",
        )
    for row in rows:
        row.update({c: "" for c in columns if c not in row})
    return Table(path.name, list(columns), rows, odd=odd)


def _values(text: str) -> Iterator[tuple[int, Any, str]]:
    """Line (or number in a list), value and text of each entry; None for what is no JSON."""
    try:
        whole = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, list):
        yield from ((number, value, str(value)) for number, value in enumerate(whole, start=1))
    elif isinstance(whole, dict):
        yield 1, whole, text
    elif text.lstrip().startswith("["):
        yield from _listed_values(text)
    else:
        for number, line in enumerate(text.split("\n"), start=1):
            written = line.replace("\ufeff", "").strip().rstrip(",")
            if written:
                yield number, _parsed(written), written


def _listed_values(text: str) -> Iterator[tuple[int, Any, str]]:
    """The objects of a list that is no JSON as a whole; past a broken one it goes on at the next that begins a line."""
    decoder = json.JSONDecoder(strict=False)
    begins, at = re.compile(r"\{"), text.index("[") + 1
    line, counted = 1, 0  # the line of the character ``counted``
    while match := begins.search(text, at):
        begin = match.end() - 1
        line, counted = line + text.count("\n", counted, begin), begin
        try:
            value, at = decoder.raw_decode(text, begin)
            begins = re.compile(r"\{")
        except (ValueError, RecursionError):
            value, at = None, match.end()
            begins = re.compile(r"\n\s*\{|\},\s*\{")
        yield line, value, text[begin : begin + 500]


def _parsed(line: str) -> Any:
    try:
        return json.loads(line, strict=False)
    except (ValueError, RecursionError):
        return None


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

    Numbers that Hugging Face has stored in the place of class names are named again. Texts that are not UTF-8 have
    U+FFFD where they are not.
    """
    pictures = [f.name for f in schema if holds_bytes(f.type)]
    names = [f.name for f in schema if f.name not in pictures and _is_plain(f.type)]
    columns = [f.name for f in schema if f.name in names or f.name in pictures]
    return Table(name, columns, _ArrowRows(batches, names, _class_names(schema)), pictures)


class _ArrowRows:
    """Rows that are read anew each time they are gone through."""

    def __init__(self, batches: Any, names: list[str], classes: dict[str, list[str]]):
        self.batches, self.names, self.classes = batches, names, classes

    def __iter__(self) -> Iterator[Row]:
        number = 0
        for batch in self.batches(self.names):
            columns = {name: _values_of(batch.column(name)) for name in self.names}
            for i in range(batch.num_rows):
                number += 1
                row = Row({name: self._named(name, values[i]) for name, values in columns.items()})
                row.line = number
                yield row

    def _named(self, column: str, value: Any) -> Cell:
        known = self.classes.get(column)
        if known and isinstance(value, int):
            return known[value] if 0 <= value < len(known) else ""  # -1: not annotated
        return _cell(value) or ""


def _values_of(column: pa.Array) -> list[Any]:
    """The values of a column; in texts that are not UTF-8, U+FFFD stands for what is not."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        kind = column.type
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        raw = column.cast(pa.list_(pa.binary()) if is_list else pa.binary()).to_pylist()
    return [[_text(item) for item in value] if isinstance(value, list) else _text(value) for value in raw]


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")


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
