"""Tables of text with delimiters, as they are met: CSV, TSV, with semicolons or pipes, and with a first line sep=;.

A row is read by RFC 4180 where it can be. Where a quotation mark has no pair, it costs at most its own row, never those
that follow; TSVs and tables with pipes, which are mostly written without quoting, are told by their own lines.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from core.errors import UserError
from core.samples.checks import ENDINGS, IMAGE_FILE
from core.samples.rows import MAX_CELL, Cell, OddRow, Row

DELIMITERS = ",;\t|"
SEP = re.compile(r'"?sep=(\\t|.)"?(?:[;,\t| ]|\1)*', re.IGNORECASE)  # what Excel writes, and reads, as the first line
MAX_SPAN = 100  # lines of one cell
MAX_MENDED = 20_000  # characters of a line whose quotation marks are looked at one by one
N_TRIED = 200  # rows by which the delimiter is told
N_QUOTED = 5000  # lines by which it is told whether a table is written with quotation marks
OPEN = "unexpected end of data"  # what the module csv says of a quotation mark that is not closed
FILE_FIRST = re.compile(rf'\s*"?[^",;\t|\n]*\.(?:{"|".join(ENDINGS)})"?\s*[,;\t|]', re.IGNORECASE)


@dataclass
class Delimited:
    """What a text holds: names of its columns (in order, each once), rows, and rows that are odd."""

    columns: list[str]
    rows: list[Row]
    odd: list[OddRow] = field(default_factory=list)


def read_delimited(name: str, text: str, is_it: Callable[[Sequence[str]], bool]) -> Delimited:
    """Columns and rows of a text; ``is_it`` says whether names of columns are those that are looked for.

    The delimiter is what the line sep= says, else what finds the wanted columns, else what parts most rows into as many
    cells as there are columns. UserError where the first line names no columns.
    """
    lines = _lines(text)
    start, given = _start(lines)
    reader = max(
        (_Reader(lines, start, delimiter) for delimiter in dict.fromkeys((*given, *DELIMITERS))),
        key=lambda r: (r.delimiter == given and len(r.header) > 1, *r.fitness(is_it)),
    )
    if any(IMAGE_FILE.search(column) for column in reader.header):
        raise UserError(
            f"{name} does not name its columns.",
            f"Its first line is a row: {' | '.join(reader.header)[:120]}",
            "Write the names above it, such as image,en_caption,ar_caption.",
        )
    return reader.read(name)


def _lines(text: str) -> list[str]:
    """The lines of a text, whatever ends them; a lone carriage return among line feeds is a blank."""
    n_feeds, n_lone = text.count("\n"), text.count("\r") - text.count("\r\n")
    if n_lone > n_feeds / 2:
        return re.split(r"\r\n|\r|\n", text)
    lines = text.split("\n")
    return [line.rstrip("\r").replace("\r", " ") for line in lines] if "\r" in text else lines


def _start(lines: Sequence[str]) -> tuple[int, str]:
    """The first line that is not blank or sep=, and the delimiter that sep= gives, or ""."""
    at = next((i for i, line in enumerate(lines) if line.strip()), 0)
    match = SEP.fullmatch(lines[at]) if lines else None
    if match is None:
        return at, ""
    after = next((i for i in range(at + 1, len(lines)) if lines[i].strip()), len(lines))
    return after, "\t" if match[1] == "\\t" else match[1]


class _Reader:
    """Lines from ``start`` on, read with one delimiter."""

    def __init__(self, lines: Sequence[str], start: int, delimiter: str):
        self.lines, self.delimiter = lines, delimiter
        self.is_quoted, self.n = True, 0
        cells, self.first, _ = self._record(start) if start < len(lines) else ([], start, "")
        self.header = [cell.replace("\ufeff", "").strip() for cell in cells or ()]
        self.n = len(self.header)
        self.is_quoted = delimiter not in "\t|" or self._is_written_with_quotes()

    def fitness(self, is_it: Callable[[Sequence[str]], bool]) -> tuple[bool, bool, int, float]:
        """The larger, the likelier it is the table's delimiter."""
        widths = [len(cells) for _, cells, problem, _ in islice(self._records(), N_TRIED) if not problem]
        share = widths.count(self.n) / max(1, len(widths))
        is_table = self.n > 1 and (share >= 0.5 or not widths)
        return is_it(self.header), is_table, self.n if is_table else -self.n, share

    def read(self, name: str) -> Delimited:
        """All rows."""
        found = Delimited(list(dict.fromkeys(c for c in self.header if c)), [])
        is_plain = len(found.columns) == self.n
        for line, cells, problem, written in self._records():
            if not problem or problem == "stray_quote":
                if not any(cells):
                    continue
                if cells[: self.n] == self.header:
                    problem = "header"
                elif len(cells) > self.n:
                    problem = "too_many_cells"
                elif max(map(len, cells)) > MAX_CELL:
                    problem = "too_long"
                else:
                    row = Row(zip(self.header, cells, strict=False)) if is_plain else _merged(self.header, cells)
                    row.line = line
                    found.rows.append(row)
            if problem:
                found.odd.append(OddRow.of(name, line, problem, written))
        return found

    def _records(self) -> Iterator[tuple[int, list[str], str, str]]:
        """Line, cells, problem and text of each row; cells are stripped, and empty ones beyond the columns cut off."""
        at = self.first
        while at < len(self.lines):
            line = self.lines[at]
            if not line or line.isspace():
                at += 1
                continue
            cells, after, problem = self._record(at)
            cells = [cell.strip() for cell in cells]
            while len(cells) > self.n and not cells[-1]:
                cells.pop()
            yield at + 1, cells, problem, line
            at = after

    def _record(self, at: int) -> tuple[list[str], int, str]:
        """Cells of the row that begins with a line, the line after it, and what is odd about it."""
        line = self.lines[at]
        if len(line) > MAX_CELL and max(map(len, line.split(self.delimiter))) > MAX_CELL:
            return [], at + 1, "too_long"
        if '"' not in line or not self.is_quoted:
            cells = line.split(self.delimiter)
            is_stray = '"' in line and any(c.count('"') == 1 and c.strip()[0] == '"' for c in cells)
            return cells, at + 1, "stray_quote" if is_stray else ""
        cells, is_open = self._strict(line)
        if cells is None and (again := self._tidied(line)) != line:
            cells, is_open = self._strict(again)
        if cells is not None:
            return cells, at + 1, ""
        if is_open and (spanned := self._spanned(at)):
            return *spanned, ""
        for cells in (self._lenient(line), line.split(self.delimiter)):
            if self._fits(cells) or not self.n:
                return cells, at + 1, "stray_quote"
        return [], at + 1, "quote"

    def _tidied(self, line: str) -> str:
        """A row without blanks behind quotation marks that close, and with those in a cell doubled that have a \\ ."""
        return re.sub(rf'" +(?={re.escape(self.delimiter)}|$)', '"', line.replace('\\"', '""'))

    def _strict(self, text: str) -> tuple[list[str] | None, bool]:
        """Cells of a row by RFC 4180; None where it breaks it, and whether that is by a quotation mark left open."""
        try:
            rows = list(csv.reader([text], delimiter=self.delimiter, skipinitialspace=True, strict=True))
        except csv.Error as e:
            return None, str(e) == OPEN
        return (rows[0] if rows else []), False

    def _spanned(self, at: int) -> tuple[list[str], int] | None:
        """The row where a cell in quotation marks goes on over lines; None where that would swallow rows."""
        size = len(self.lines[at])
        for end in range(at + 1, min(at + MAX_SPAN, len(self.lines))):
            size += len(self.lines[end])
            if size > MAX_CELL or FILE_FIRST.match(self.lines[end]):
                return None
            if '"' not in self.lines[end]:
                continue
            cells, is_open = self._strict("\n".join(self.lines[at : end + 1]))
            if cells is not None:
                fits = self._fits(cells) or not self.n
                return (cells, end + 1) if fits and not self._is_rows(self.lines[at : end + 1]) else None
            if not is_open:
                return None
        return None

    def _is_rows(self, lines: Sequence[str]) -> bool:
        """Whether lines that can be one row are rather a row each: all have its cells, and no cell ends a line."""
        begin, end = lines[0], f"{lines[-1]}{self.delimiter}"
        is_opened_last = begin.rfind('"') > begin.rfind(self.delimiter)
        is_closed_first = end.find('"') < end.find(self.delimiter)
        if self.n < 3 or (is_opened_last and is_closed_first):
            return False
        return all(len(line.split(self.delimiter)) == self.n for line in lines)

    def _lenient(self, line: str) -> list[str]:
        """Cells whose quotation marks close only before a delimiter or the end, and stand for themselves elsewhere."""
        if len(line) > MAX_MENDED:
            return line.split(self.delimiter)
        closing = re.compile(rf'"\s*(?:{re.escape(self.delimiter)}|$)')
        cells, at = [], 0
        while at <= len(line):
            begin = at
            while line[begin : begin + 1] == " ":
                begin += 1
            if line[begin : begin + 1] == '"' and (close := closing.search(line, begin + 1)):
                cells.append(line[begin + 1 : close.start()].replace('""', '"'))
                at = close.end() if close[0].endswith(self.delimiter) else len(line) + 1
                continue
            end = line.find(self.delimiter, at)
            end = len(line) if end < 0 else end
            cells.append(line[at:end])
            at = end + 1
        return cells

    def _fits(self, cells: Sequence[str]) -> bool:
        return len(cells) == self.n or (len(cells) > self.n and not any(c.strip() for c in cells[self.n :]))

    def _is_written_with_quotes(self) -> bool:
        """Whether more lines make sense with quotation marks around cells than without."""
        begun = re.compile(rf'(?:^|{re.escape(self.delimiter)}) *"')
        n_with = n_without = 0
        at = self.first
        for _ in range(N_QUOTED):
            if at >= len(self.lines):
                break
            line, at = self.lines[at], at + 1
            if '"' not in line or not begun.search(line):
                continue
            cells, is_open = self._strict(line)
            if cells is None and is_open and not self._fits(line.split(self.delimiter)) and self._spanned(at - 1):
                cells, at = self._spanned(at - 1) or ([], at)
            fits = cells is not None and self._fits(cells)
            n_with, n_without = n_with + fits, n_without + (not fits)
        return n_with > n_without


def _merged(header: Sequence[str], cells: Sequence[str]) -> Row:
    """A row of a table in which columns have no name or the same one: equal names make one list."""
    found: dict[str, list[str]] = {}
    for column, cell in zip(header, cells, strict=False):
        if column:
            found.setdefault(column, []).append(cell)
    merged: dict[str, Cell] = {column: c[0] if len(c) == 1 else [t for t in c if t] for column, c in found.items()}
    return Row(merged)
