"""Rows of a table, and what is said of those that are odd: a bad row costs itself, and is counted and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Cell = str | list[str]
MAX_CELL = 100_000  # characters of one cell; no caption is that long
SHOWN = 120  # characters of an odd row that are shown

LEFT_OUT = {
    "too_many_cells": "more cells than there are columns (the delimiter in a caption without quotation marks?)",
    "too_few_cells": "the row ends before a column that is read (a line break in a caption without quotation marks?)",
    "quote": "a quotation mark is opened and not closed, and the row makes no sense without it",
    "too_long": f"a cell has more than {MAX_CELL:,} characters",
    "header": "the row repeats the names of the columns",
    "no_json": "it is no JSON object",
    "no_image": "it names no image",
    "no_caption": "it holds no caption that is text",
    "form": "the line is in another form than the file's",
    "broken": "a caption is broken over two lines",
}
"""Why a row is left out."""
KEPT = {
    "stray_quote": "a quotation mark without its pair is taken as it is written",
    "areas_json": 'its areas are not read: no JSON like {"person": [[left, top, right, bottom]]} with numbers',
    "areas_name": "its areas are not read: they name something else than person and object",
    "areas_order": "its areas are not read: a box ends before it begins (left, top, right, bottom are asked for)",
    "areas_share": "its areas are not read: a box holds percentages or shares, and pixels are asked for",
    "areas_outside": "its areas are not read: a box lies outside the image",
}
"""What is odd about a row that is read all the same."""


def place_of(row: Mapping[str, Any]) -> str:
    """Where an odd row of a report stands, as "captions.csv, line 7"."""
    return f"{row['file']}, line {row['line']}"


class Row(dict[str, Cell]):
    """Cells by column; a column that the row ends before is not in it. ``line`` counts from 1 in the file."""

    line: int = 0


@dataclass(frozen=True)
class OddRow:
    """A row that is left out or read with a remark: its file, line (or entry) from 1, reason, and its beginning."""

    file: str
    line: int
    reason: str
    text: str

    @classmethod
    def of(cls, file: str, line: int, reason: str, text: str) -> OddRow:
        """The same, with no more of the text than is shown."""
        return cls(file, line, reason, " ".join(text[: 4 * SHOWN].split())[:SHOWN])
