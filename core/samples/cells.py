"""Images that stand as bytes in a column of a table, and are read row by row.

Rows with the same bytes are one image, whose name is the path that the table gives beside the bytes, or its row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from core.samples import checks
from core.samples.checks import Dropped
from core.samples.tables import unreadable_parquet

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
