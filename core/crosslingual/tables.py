"""How columns and rows become the tables of the stage crosslingual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.run.schema import Table
from core.run.schema.crosslingual import (
    ALIGNMENT,
    CLBAS,
    EARLIER_SCORES,
    FEATURE_OVERLAP,
    GENDER_DIRECTIONS,
    GRAMMATICAL_GENDER,
    LANGUAGE_CLASSES,
    LANGUAGE_FEATURES,
    LANGUAGE_MATCHES,
    LANGUAGE_SAES,
    SHARED_GENDER,
)

TABLES: dict[str, Table] = {
    one.name: one
    for one in (
        LANGUAGE_FEATURES,
        LANGUAGE_CLASSES,
        ALIGNMENT,
        LANGUAGE_SAES,
        LANGUAGE_MATCHES,
        GENDER_DIRECTIONS,
        CLBAS,
        SHARED_GENDER,
        GRAMMATICAL_GENDER,
        FEATURE_OVERLAP,
        EARLIER_SCORES,
    )
}


def table_of_columns(name: str, columns: dict[str, NDArray]) -> pa.Table:
    """A table from arrays, those that the schema does not know left out; NaN becomes null. Without arrays, empty."""
    schema = TABLES[name].arrow
    if not columns:
        return schema.empty_table()
    arrays = [pa.array(np.asarray(columns[f.name]).tolist(), f.type, from_pandas=True) for f in schema]
    return pa.table(arrays, schema=schema)


def table_of_rows(name: str, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """A table from rows; names that a row lacks are empty text or null."""
    schema = TABLES[name].arrow
    full = [{f.name: row.get(f.name, "" if f.type == pa.string() else None) for f in schema} for row in rows]
    return pa.Table.from_pylist(full, schema=schema)
