"""One run's tables as views, opened when first asked for; the ground that the catalogue's queries stand on."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from core.catalog.tables import REDO, connect, create_view, find_tables, foreign_saes
from core.errors import UserError
from core.runs import Run

STAGE_OF = {
    "samples": "prepare",
    "references": "prepare",
    "captions": "caption",
    "tokens": "activations",
    "words": "words",
    "genders": "words",
    "saes": "train",
    "sae_fit": "train",
    "features": "features",
    "examples": "features",
    "gender_features": "gender",
    "gender_rankings": "gender",
    "gender_pairs": "gender",
    "labels": "gender",
    "probes": "layers",
    "lens": "layers",
    "emergence": "layers",
    "language_features": "crosslingual",
    "language_classes": "crosslingual",
    "alignment": "crosslingual",
    "language_saes": "crosslingual",
    "language_matches": "crosslingual",
    "gender_directions": "crosslingual",
    "clbas": "crosslingual",
    "shared_gender": "crosslingual",
    "grammatical_gender": "crosslingual",
    **dict.fromkeys(
        (f"intervention_{name}" for name in ("arms", "images", "captions", "effects", "verdicts", "terms")),
        "interventions",
    ),
    **dict.fromkeys(
        (
            "head_effects",
            "head_attention",
            "weight_spectra",
            "head_readings",
            "feature_pairs",
            "patching",
            "patching_checks",
        ),
        "mechanisms",
    ),
    "bias_roles": "bias",
    "bias_metrics": "bias",
    "sampled_captions": "bias",
    "explanations": "explain",
    "doses": "explain",
}


class Tables:
    """The tables of ``run_dir`` as they are now, each a view of the same name; every query has its own cursor."""

    def __init__(self, run_dir: str | Path):
        self.run_dir = Path(run_dir)
        self._con = connect(self.run_dir)
        self._files = find_tables(self.run_dir)
        self._columns: dict[str, list[str]] = {}
        self._refused: dict[str, UserError] = {}
        self._lock = threading.Lock()
        self._known: dict[int, str] | None = None

    @functools.cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages of the run's captions: "en", "ar" or both."""
        return Run(self.run_dir).languages

    def has(self, table: str) -> bool:
        """Whether the run has this table, such as "features" or "captions"."""
        return table in self._files

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
            stage = STAGE_OF.get(table, table)
            raise UserError(
                f"The run {self.run_dir.name} has no table {table}.",
                f"The stage {stage} has not been computed yet.",
                f"python -m precompute run PRESET --until {stage}",
            )
        columns = create_view(self._con, table, self._files[table])
        if table != "saes" and "sae_id" in columns:
            why = foreign_saes(self._con, table, columns, self._sae_ids())
            if why:
                what = f"The table {table} of the run {self.run_dir.name} was made from other SAEs."
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
