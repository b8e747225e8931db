"""One run's tables as DuckDB views, opened when first asked for, and the check that they speak of the same SAEs."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from core.errors import UserError
from core.run.folder import REDO, Run
from core.run.tables import TABLES


class Tables(Run):
    """The run in ``dir`` and its tables as they are now, each a view of its name; every query has its own cursor."""

    def __init__(self, dir: str | Path):
        super().__init__(dir)
        self._con = _connect(self.dir)
        self._files = _find_tables(self.dir)
        self._columns: dict[str, list[str]] = {}
        self._refused: dict[str, UserError] = {}
        self._lock = threading.Lock()
        self._known: dict[int, str] | None = None

    @functools.cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages of the run's captions: "en", "ar" or both."""
        return Run(self.dir).languages

    @functools.cached_property
    def prompts(self) -> dict[str, str]:
        """The question of each language that the run asked."""
        return self.config().prompts

    @functools.cached_property
    def captions_given(self) -> str:
        """What is to be said of captions that people wrote, read in the place of the model's own; "" where it wrote."""
        return Run(self.dir).captions_given

    def has(self, table: str) -> bool:
        """Whether the run has this table, such as "features" or "captions"."""
        return table in self._files

    def coverage(self) -> tuple[pd.DataFrame, dict[str, int]]:
        """Where the own captions say a gender, and how many captions there are by language."""
        self.columns("captions")
        counts = self._query("SELECT lang, count(*) AS n FROM captions GROUP BY lang")
        known = dict(zip(counts["lang"], counts["n"].astype(int), strict=True))
        return self.frame("contrasts"), {lang: known.get(lang, 0) for lang in self.languages}

    def tables(self) -> list[str]:
        """Names of all tables there are."""
        return sorted(self._files)

    def columns(self, table: str) -> list[str]:
        """Column names; UserError where the table is missing, unreadable, or speaks of other SAEs than the run's."""
        with self._lock:
            return self._open(table)

    def frame(self, table: str, **equal: Any) -> pd.DataFrame:
        """A whole table, or its rows where every named column has the given value (such as ``layer=3``)."""
        self._check_columns(table, list(equal))
        where = " AND ".join(f'"{name}" = ${name}' for name in equal) or "true"
        return self._query(f'SELECT * FROM "{table}" WHERE {where}', equal)

    def _open(self, table: str) -> list[str]:
        if table in self._refused:
            raise self._refused[table]
        if table not in self._columns:
            try:
                self._columns[table] = self._view(table)
            except UserError as error:
                self._refused[table] = error
                raise
        return self._columns[table]

    def _view(self, table: str) -> list[str]:
        if table not in self._files:
            stage = TABLES[table].stage if table in TABLES else table
            raise UserError(
                f"The run {self.name} has no table {table}.",
                f"The stage {stage} has not been computed yet.",
                f"python -m precompute run PRESET --until {stage}",
            )
        columns = _create_view(self._con, table, self._files[table])
        if table != "saes" and "sae_id" in columns:
            why = _foreign_saes(self._con, table, columns, self._sae_ids())
            if why:
                what = f"The table {table} of the run {self.name} was made from other SAEs."
                raise UserError(what, why, REDO)
        return columns

    def _sae_ids(self) -> dict[int, str]:
        if self._known is None:
            self._known = {}
            if self.has("saes"):
                self._open("saes")
                self._known = dict(self._con.execute("SELECT layer, sae_id FROM saes").fetchall())
        return self._known

    def _check_columns(self, table: str, names: Sequence[str]) -> None:
        known = self.columns(table)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise UserError(f"The table {table} has no column {', '.join(unknown)}.")

    def _query(self, sql: str, parameters: dict[str, Any] | None = None) -> pd.DataFrame:
        cursor = self._con.cursor()
        try:
            return cursor.execute(sql, parameters or {}).df()
        finally:
            cursor.close()


def equal(**values: Any) -> tuple[str, dict[str, Any]]:
    """A condition on the columns whose value is given; names come from this room, values travel as parameters."""
    chosen = {name: int(v) if name == "layer" else v for name, v in values.items() if v is not None}
    return " AND ".join(f'"{name}" = ${name}' for name in chosen) or "true", chosen


def _connect(run_dir: Path, threads: int = 2) -> duckdb.DuckDBPyConnection:
    """A private database that can read the run folder and nothing else, and fetches no extensions."""
    con = duckdb.connect(
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false", "threads": threads}
    )
    names = {_literal(run_dir) + "/", str(run_dir.resolve()) + "/"}  # the check is on the pattern, then on the file
    con.execute(f"SET allowed_directories = [{', '.join(map(_quoted, sorted(names)))}]")
    con.execute("SET enable_external_access = false")
    con.execute("SET parquet_metadata_cache = true")  # files are never changed, only replaced
    con.execute("SET lock_configuration = true")
    return con


def _find_tables(run_dir: Path) -> dict[str, Path]:
    """The tables that the run has by now, by name."""
    found = {path.stem: path for path in sorted(run_dir.glob("*.parquet")) if path.stem.isidentifier()}
    found |= {name: run_dir / one.file for name, one in TABLES.items() if (run_dir / one.file).is_file()}
    return found


def _create_view(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> list[str]:
    """A view of that name over the file; its columns. UserError where the file is no Parquet."""
    try:
        con.execute(f'CREATE VIEW "{name}" AS SELECT * FROM read_parquet({_quoted(_literal(path))})')
        return [row[0] for row in con.execute(f'DESCRIBE "{name}"').fetchall()]
    except duckdb.Error as error:
        why = str(error).strip().splitlines()[0]
        raise UserError(f"The table {path.name} of the run {path.parent.name} cannot be read.", why, REDO) from error


def _foreign_saes(con: duckdb.DuckDBPyConnection, name: str, columns: list[str], known: dict[int, str]) -> str:
    """Why the table does not belong to this run's SAEs, or "" where it does or names none."""
    if name == "saes" or "sae_id" not in columns:
        return ""
    layer = "layer" if "layer" in columns else "NULL"
    pairs = con.execute(f'SELECT DISTINCT {layer}, sae_id FROM "{name}" WHERE sae_id IS NOT NULL').fetchall()
    for layer_, sae_id in sorted(pairs, key=str):
        if sae_id not in ([known.get(layer_)] if layer_ is not None else known.values()):
            here = known.get(layer_, "none") if layer_ is not None else ", ".join(known.values()) or "none"
            return f"It names the SAE {sae_id} for layer {layer_}; this run has {here}."
    return ""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _literal(path: Path) -> str:
    """The path as a pattern that matches it alone."""
    return "".join(f"[{c}]" if c in "[*?" else c for c in str(path.resolve()))
