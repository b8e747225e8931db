"""The source ``folder``: a table of captions, and images in a folder, in an archive or in the table itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from core.config import SamplesConfig
from core.errors import UserError
from core.samples.cells import Cells, ParquetRows
from core.samples.pictures import picture_name, pictures_at, place
from core.samples.sources import Entry, TableSource, attribute_columns, caption_columns
from core.samples.tables import Cell, Table, is_parquet, parquet_files, read_table


def folder_source(config: SamplesConfig) -> TableSource:
    """The table (and a second one for Arabic) with its images; UserError where something is missing."""
    path = table_place("captions", config.captions)
    columns = caption_columns(config)
    in_two = bool(config.captions_ar) and "ar" in config.languages
    if in_two:
        columns["ar"] = ""
    wanted = [config.image_column, *columns.values(), config.gender_column, *(c for _, c in attribute_columns(config))]
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
    notes = [note for t, _, _ in tables for note in t.notes]
    return TableSource(
        pictures_at(config.images),
        lambda: itertools.chain.from_iterable(entries(t, config, c, annotated=a) for t, c, a in tables),
        tuple(files),
        notes=notes,
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
    return TableSource(cells, lambda: entries(table, config, columns, cells.names), tuple(rows.files), n=rows.n_rows)


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
    """One entry a row: ``columns`` name the captions of each language, ``names`` the images where no column does."""
    by_lang = {lang: table.matching(column) for lang, column in columns.items() if column}
    attributes = list(attribute_columns(config)) if annotated else []
    rows = zip(names(), table.rows, strict=True) if names else ((None, row) for row in table.rows)
    for name, row in rows:
        captions = {lang: [t for c in found for t in _texts(row[c])] for lang, found in by_lang.items()}
        gender = _one(row[config.gender_column]) if annotated and config.gender_column else ""
        known = {attribute: _one(row[column]).strip() for attribute, column in attributes}
        yield Entry(picture_name(_one(row[config.image_column])) if name is None else name, captions, gender, known)


def _texts(cell: Cell) -> list[str]:
    return cell if isinstance(cell, list) else [cell]


def _one(cell: Cell) -> str:
    return cell if isinstance(cell, str) else (cell[0] if cell else "")
