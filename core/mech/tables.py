"""How rows become the tables of the stage mechanisms; a number that is not known is null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from core.run.schema import Table
from core.run.schema.mechanisms import (
    FEATURE_PAIRS,
    HEAD_ATTENTION,
    HEAD_EFFECTS,
    HEAD_READINGS,
    IMAGE_EXCHANGE,
    PART_AGREEMENT,
    PART_SHARES,
    PATCHING,
    PATCHING_CHECKS,
    WEIGHT_SPECTRA,
)

TABLES: dict[str, Table] = {
    one.name: one
    for one in (
        HEAD_EFFECTS,
        PART_SHARES,
        PART_AGREEMENT,
        HEAD_ATTENTION,
        WEIGHT_SPECTRA,
        HEAD_READINGS,
        FEATURE_PAIRS,
        PATCHING,
        PATCHING_CHECKS,
        IMAGE_EXCHANGE,
    )
}


def table(name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as the table of that name; ValueError for a column that it has not."""
    return rows_as(TABLES[name], rows)


def rows_as(of: Table, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table; ValueError for a column that it has not."""
    return of.of_rows([{column: _plain(value) for column, value in row.items()} for row in rows])


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value
