"""In-memory DuckDB views over the Parquet tables of a run folder, and the check that they speak of the same SAEs."""

from __future__ import annotations

from pathlib import Path

import duckdb

from core.errors import UserError

# name of the view -> file in the run folder; any other Parquet file at the top of the folder is a view of its own stem
FILES = {"tokens": "activations/tokens.parquet"}
REDO = "Compute it again: python -m precompute run PRESET."


def connect(run_dir: Path, threads: int = 2) -> duckdb.DuckDBPyConnection:
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


def find_tables(run_dir: Path) -> dict[str, Path]:
    """The tables that the run has by now, by name."""
    found = {path.stem: path for path in sorted(run_dir.glob("*.parquet")) if path.stem.isidentifier()}
    found |= {name: run_dir / file for name, file in FILES.items() if (run_dir / file).is_file()}
    return found


def create_view(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> list[str]:
    """A view of that name over the file; its columns. UserError where the file is no Parquet."""
    try:
        con.execute(f'CREATE VIEW "{name}" AS SELECT * FROM read_parquet({_quoted(_literal(path))})')
        return [row[0] for row in con.execute(f'DESCRIBE "{name}"').fetchall()]
    except duckdb.Error as error:
        why = str(error).strip().splitlines()[0]
        raise UserError(f"The table {path.name} of the run {path.parent.name} cannot be read.", why, REDO) from error


def foreign_saes(con: duckdb.DuckDBPyConnection, name: str, columns: list[str], known: dict[int, str]) -> str:
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
