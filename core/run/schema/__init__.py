"""What a table of a run holds: its columns with type, unit and a sentence, what a row is, and how it is written.

One file a topic defines the tables of its stages, each as lines ``name: type [unit] - sentence``. From these come the
types that are written, docs/formats.md, the tooltips of the app and the metadata of the Parquet files.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.run.folder import Run, atomic_path, table_file, write_table

ROW_GROUP = 2_000  # rows: in a table sorted by layer and feature, a look-up reads one or two groups
TYPES = {
    **{str(t): t for t in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.string(), pa.bool_())},
    **{"float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64()},
    "category": pa.dictionary(pa.int8(), pa.string()),
}
COLUMN = re.compile(r"(?P<name>\w+): (?P<type>(list of )?\w+)( \[(?P<unit>.+?)\])? - (?P<meaning>.+)")

FEATURE = """
    layer: int32 - 0-based number of the decoder block whose output is meant
    feature: int32 - number of the feature: its row of W_dec
    sae_id: string - SAE that the numbers of features are of: hash of its tensors
"""


@dataclass(frozen=True)
class Column:
    """One column; ``unit`` is empty for names, texts and pure numbers."""

    name: str
    type: str
    unit: str
    meaning: str

    @property
    def arrow(self) -> pa.Field:
        """The column in Arrow, with unit and meaning as its metadata."""
        of = self.type.removeprefix("list of ")
        kind = TYPES[of] if of == self.type else pa.list_(TYPES[of])
        told = {"unit": self.unit, "meaning": self.meaning}
        return pa.field(self.name, kind, metadata={key: text for key, text in told.items() if text})

    @property
    def tooltip(self) -> str:
        """Meaning and unit for people, as the help of a column in the app."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.meaning[0].upper()}{self.meaning[1:]}{unit}."


@dataclass(frozen=True)
class Table:
    """One table of a run: the stage that writes it, what a row is, and its columns in their order."""

    name: str
    stage: str
    row: str
    columns: tuple[Column, ...]

    @property
    def file(self) -> str:
        """Where it lies, relative to the run."""
        return table_file(self.name)

    @property
    def names(self) -> list[str]:
        """The names of its columns."""
        return [column.name for column in self.columns]

    @cached_property
    def arrow(self) -> pa.Schema:
        """The schema that is written, metadata included."""
        return pa.schema([column.arrow for column in self.columns], metadata={"row": self.row})

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def of_rows(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """Rows as a table, null where one lacks a column; ValueError for a column that there is not."""
        unknown = {name for row in rows for name in row}.difference(self.names)
        if unknown:
            raise ValueError(f"The table {self.name} has no column {', '.join(sorted(unknown))}.")
        return pa.Table.from_pylist(rows, schema=self.arrow)

    def of_frame(self, frame: pd.DataFrame) -> pa.Table:
        """The columns of a frame as a table, null where missing; KeyError for a column that it lacks."""
        return pa.Table.from_pandas(frame, self.arrow, preserve_index=False)

    def checked(self, table: pa.Table) -> pa.Table:
        """The same table with this schema's metadata beside its own; ValueError where it has other columns or types."""
        if not table.schema.equals(self.arrow):
            differ = sorted({str(f) for f in table.schema} ^ {str(f) for f in self.arrow}) or ["their order"]
            raise ValueError(f"The table {self.name} differs from its schema: {', '.join(differ)}.")
        schema = self.arrow.with_metadata({**(table.schema.metadata or {}), **self.arrow.metadata})
        return pa.Table.from_arrays(table.columns, schema=schema)

    def write(self, run: Run, table: pa.Table) -> None:
        """Write the whole table into the run in one step; ValueError where it has other columns or types."""
        write_table(run.path(self.file), self.checked(table))

    def write_parts(self, run: Run, parts: Iterable[pa.Table]) -> int:
        """Write tables one after another as one into the run, in small row groups, in one step; the number of rows."""
        dictionary: Any = [c.name for c in self.columns if c.type == "string"]
        dictionary += [f"{c.name}.list.element" for c in self.columns if c.type == "list of string"]
        n = 0
        with (
            atomic_path(run.path(self.file)) as temporary,
            pq.ParquetWriter(temporary, self.arrow, compression="zstd", use_dictionary=dictionary) as writer,
        ):
            for table in self._regrouped(parts):
                writer.write_table(table, row_group_size=ROW_GROUP)
                n += len(table)
        return n

    def _regrouped(self, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The same rows in tables of ROW_GROUP rows, the last one shorter."""
        rest = self.arrow.empty_table()
        for part in parts:
            rest = pa.concat_tables([rest, self.checked(part)])
            whole = len(rest) - len(rest) % ROW_GROUP
            for start in range(0, whole, ROW_GROUP):
                yield rest.slice(start, ROW_GROUP).combine_chunks()
            rest = rest.slice(whole).combine_chunks()
        if len(rest):
            yield rest


def table(name: str, stage: str, row: str, *columns: str) -> Table:
    """A table from lines ``name: type [unit] - sentence``; a line that is set in further goes on with the one before.

    Raises ValueError for a line of another form.
    """
    found = []
    for line in (line for block in columns for line in _joined(textwrap.dedent(block))):
        match = COLUMN.fullmatch(line)
        if not match:
            raise ValueError(f"In the table {name}: no column in {line!r}.")
        found.append(Column(match["name"], match["type"], match["unit"] or "", match["meaning"]))
    return Table(name, stage, row, tuple(found))


def _joined(block: str) -> list[str]:
    """The lines of a block, those set in joined to the one before."""
    return re.sub(r"\n\s+(?=\S)", " ", block.strip("\n")).splitlines()
