"""The source ``folder``: a table of captions, and images in a folder, in an archive or in the table itself.

Images that stand as bytes in a column are read row by row. Rows with the same bytes are one image, whose name is the
path that the table gives beside the bytes, or its row.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from core.config import SamplesConfig
from core.errors import UserError
from core.samples import checks
from core.samples.areas import Areas, Unusable, read_areas
from core.samples.checks import Dropped, is_placeholder
from core.samples.pictures import picture_name, pictures_at, place
from core.samples.rows import Cell, OddRow, Row
from core.samples.sources import Entry, TableSource, attribute_columns, caption_columns
from core.samples.tables import Table, is_parquet, parquet_files, read_table, unreadable_parquet

BATCH = 8  # rows of images in memory at once


class Rows(Protocol):
    """A column of images by row: bytes, {"bytes", "path"}, or None."""

    def __iter__(self) -> Iterator[Any]: ...

    def cell(self, row: int) -> Any:
        """One value."""
        ...


class Cells:
    """Images by name, of a column that holds their bytes."""

    def __init__(self, rows: Rows):
        self.rows = rows
        self.row_of: dict[str, int] = {}

    def names(self) -> list[str]:
        """The name of every row's image, in one pass over all images; equal bytes have one name."""
        by_content: dict[bytes, str] = {}
        self.row_of, names = {}, []
        for row, value in enumerate(self.rows):
            data, path = _parts(value)
            content = hashlib.sha256(data if data is not None else f"row {row}".encode()).digest()
            if content not in by_content:
                name = PurePosixPath(path.replace("\\", "/")).name or f"row-{row:06d}"
                name = f"row-{row:06d}/{name}" if name in self.row_of else name
                by_content[content] = name
                self.row_of[name] = row
            names.append(by_content[content])
        return names

    def read(self, name: str) -> bytes:
        if name not in self.row_of:
            raise Dropped("missing", name)
        data, _ = _parts(self.rows.cell(self.row_of[name]))
        if data is None:
            raise Dropped("missing", "the table has no bytes for it")
        if len(data) > checks.MAX_BYTES:
            raise Dropped("too_large", f"{len(data):,} bytes")
        return data

    def has(self, name: str) -> bool:
        return name in self.row_of

    def listed(self) -> Iterable[str]:
        """None: a table that holds its images gives their names itself."""
        return ()

    def add_to(self, total: Any, names: Callable[[], Iterable[str]]) -> None:
        """Nothing: the images are in the table, whose bytes are hashed as a file."""

    def notes(self) -> list[str]:
        return []


def _parts(value: Any) -> tuple[bytes | None, str]:
    """Bytes and path of a cell; a path is only ever a name, never opened."""
    if isinstance(value, dict):
        return value.get("bytes"), str(value.get("path") or "")
    return value, ""


class ParquetRows:
    """One column of Parquet files, read in small batches; going on to a later row does not begin anew."""

    def __init__(self, files: Sequence[Path], column: str):
        self.files, self.column = files, column
        self._groups: list[tuple[Path, int, int, int]] = []  # file, row group, first row, rows
        first = 0
        for file in files:
            metadata = pq.read_metadata(file)
            for group in range(metadata.num_row_groups):
                n = metadata.row_group(group).num_rows
                self._groups.append((file, group, first, n))
                first += n
        self.n_rows = first
        self._at = -1  # index of the group that _left iterates over
        self._left: Iterator[tuple[int, pa.Array]] = iter(())
        self._first, self._batch = 0, pa.array([])

    def __iter__(self) -> Iterator[Any]:
        for index in range(len(self._groups)):
            for _, batch in self._batches(index):
                yield from batch.to_pylist()

    def cell(self, row: int) -> Any:
        index = next(i for i, (_, _, first, n) in enumerate(self._groups) if first <= row < first + n)
        if index != self._at or row < self._first:
            self._at, self._left = index, self._batches(index)
            self._first, self._batch = self._groups[index][2], pa.array([])
        while row >= self._first + len(self._batch):
            self._first, self._batch = next(self._left)
        return self._batch[row - self._first].as_py()

    def _batches(self, index: int) -> Iterator[tuple[int, pa.Array]]:
        """First row and values of each batch of a row group."""
        file, group, row, _ = self._groups[index]
        try:
            with pq.ParquetFile(file, buffer_size=1 << 20) as parquet:
                for batch in parquet.iter_batches(BATCH, row_groups=[group], columns=[self.column]):
                    yield row, batch.column(0)
                    row += len(batch)
        except (pa.ArrowException, OSError) as e:
            raise unreadable_parquet(file, e) from e


def folder_source(config: SamplesConfig) -> TableSource:
    """The table (and a second one for Arabic) with its images; UserError where something is missing."""
    path = table_place("captions", config.captions)
    columns = caption_columns(config)
    in_two = bool(config.captions_ar) and "ar" in config.languages
    if in_two:
        columns["ar"] = ""
    wanted = [config.image_column, *columns.values(), config.gender_column, config.areas_column]
    wanted += [c for _, c in attribute_columns(config)]
    table = read_table(path, wanted)
    table.require(wanted, _one_language(table, columns))
    if config.image_column in table.pictures:
        return _with_bytes(path, table, config, columns)
    if not config.images:
        why = f"The column {config.image_column} of {table.name} holds names, no images."
        raise UserError(
            "The setting samples.images is empty.",
            why,
            "Give the folder, zip or tar: --set samples.images=/your/images",
        )
    tables = [(table, columns, True)]
    files = parquet_files(path)
    if in_two:
        second = table_place("captions_ar", config.captions_ar)
        arabic = read_table(second, [config.image_column, config.ar_column])
        arabic.require([config.image_column, config.ar_column])
        tables.append((arabic, {"ar": config.ar_column}, False))
        files += parquet_files(second)
    return TableSource(
        pictures_at(config.images),
        lambda: itertools.chain.from_iterable(entries(t, config, c, annotated=a) for t, c, a in tables),
        tuple(files),
        odd=[t.odd for t, _, _ in tables],
    )


def _one_language(table: Table, columns: Mapping[str, str]) -> str:
    """What to do where the column of one of two languages is missing; else ""."""
    named = {lang: bool(table.matching(column)) for lang, column in columns.items() if column}
    if sorted(named.values()) != [False, True]:
        return ""
    there, lacking = sorted(named, key=lambda lang: not named[lang])
    return f"Name yours: --set samples.{lacking}_column=..., or do without: --set samples.languages={there}"


def _with_bytes(path: Path, table: Table, config: SamplesConfig, columns: Mapping[str, str]) -> TableSource:
    if config.captions_ar and "ar" in config.languages:
        raise UserError(
            "A second table cannot be joined to images that stand in a table.",
            "Rows are joined by the names of image files.",
            "Put the Arabic captions into the same table.",
        )
    rows = ParquetRows(parquet_files(path), config.image_column)
    cells = Cells(rows)
    return TableSource(
        cells,
        lambda: entries(table, config, columns, cells.names),
        tuple(rows.files),
        n=rows.n_rows,
        odd=[table.odd],
    )


def table_place(setting: str, value: str) -> Path:
    """The file (or folder of Parquet files) that a setting names; UserError where there is none."""
    path = place(value)
    if value and (path.is_file() or is_parquet(path)):
        return path
    raise UserError(
        f"There is no caption table {path}.",
        f"It is the setting samples.{setting}.",
        f"Put the table there, or give it: --set samples.{setting}=/your/captions.csv",
    )


def entries(
    table: Table,
    config: SamplesConfig,
    columns: Mapping[str, str],
    names: Callable[[], Iterable[str]] | None = None,
    annotated: bool = True,
) -> Iterator[Entry]:
    """One entry a row: ``columns`` name the captions of each language, ``names`` the images where no column does.

    Rows that name no image, or end before a column that is read, are left out and stand in the table's ``odd``.
    """
    by_lang = {lang: table.matching(column) for lang, column in columns.items() if column}
    attributes = list(attribute_columns(config)) if annotated else []
    rows = zip(names(), table.rows, strict=True) if names else ((None, row) for row in table.rows)
    needed = {c for found in by_lang.values() for c in found} | ({config.image_column} if names is None else set())
    for name, row in rows:
        if not needed <= row.keys():
            table.leave_out(row, "too_few_cells")
            continue
        if name is None and is_placeholder(_one(row[config.image_column])):
            table.leave_out(row, "no_image")
            continue
        captions = {lang: [t for c in found for t in _texts(row[c])] for lang, found in by_lang.items()}
        gender = _one(row.get(config.gender_column, "")) if annotated and config.gender_column else ""
        known = {attribute: _one(row.get(column, "")).strip() for attribute, column in attributes}
        known = {attribute: "" if is_placeholder(value) else value for attribute, value in known.items()}
        areas = _areas(table, row, config.areas_column) if annotated and config.areas_column else None
        name = picture_name(_one(row[config.image_column])) if name is None else name
        yield Entry(name, captions, gender, known, areas)


def _areas(table: Table, row: Row, column: str) -> Areas | None:
    """The areas of a row; None where it gives none, and where they are of no use, which is noted."""
    cell = _one(row.get(column, ""))
    if is_placeholder(cell):
        return None
    try:
        return read_areas(cell, table.name, row.line)
    except Unusable as e:
        table.odd.append(OddRow.of(table.name, row.line, e.reason, cell))
        return None


def _texts(cell: Cell) -> list[str]:
    return cell if isinstance(cell, list) else [cell]


def _one(cell: Cell) -> str:
    return cell if isinstance(cell, str) else (cell[0] if cell else "")
