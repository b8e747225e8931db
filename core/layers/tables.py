"""The tables probes.parquet, lens.parquet and emergence.parquet: their columns, and how rows become them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from core.layers import lens, probes

DECIMALS = 6
INT, REAL, EXACT, TEXT, FLAG = pa.int32(), pa.float32(), pa.float64(), pa.string(), pa.bool_()


def _numbers(names: Sequence[str]) -> list[tuple[str, pa.DataType]]:
    return [(name, EXACT if name == "p" else REAL) for name in names]


PROBES_SCHEMA = pa.schema(
    [
        ("layer", INT),
        ("view", TEXT),
        ("lang", TEXT),
        ("trained_on", TEXT),
        ("measure", TEXT),
        ("shared", FLAG),
        ("n_images", INT),
        ("n_female", INT),
        ("n_male", INT),
        ("chance", REAL),
        *_numbers(probes.NUMBERS),
        ("q", EXACT),
        ("why", TEXT),
    ]
)
LENS_SCHEMA = pa.schema(
    [
        ("layer", INT),
        ("position", TEXT),
        ("lang", TEXT),
        ("recorded", FLAG),
        ("n_female", INT),
        ("n_male", INT),
        ("n_neutral", INT),
        ("n_female_words", INT),
        ("n_male_words", INT),
        *_numbers(lens.NUMBERS),
        ("q", EXACT),
        ("why", TEXT),
    ]
)
EMERGENCE_SCHEMA = pa.schema(
    [
        ("method", TEXT),
        ("position", TEXT),
        ("lang", TEXT),
        ("layer", INT),
        ("is_lowest", FLAG),
        ("value", REAL),
        ("low", REAL),
        ("high", REAL),
        ("baseline", REAL),
        ("n_later", INT),
        ("n_after", INT),
        ("n_images", INT),
        ("n_layers", INT),
        ("why", TEXT),
    ]
)


def table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table with exactly the schema's columns, NaN where one has no number yet; p and q are not rounded."""

    def value(row: Mapping[str, Any], name: str) -> Any:
        found = row.get(name, float("nan")) if name == "q" else row[name]
        return round(found, DECIMALS) if isinstance(found, float) and name not in ("p", "q") else found

    return pa.Table.from_pylist([{name: value(row, name) for name in schema.names} for row in rows], schema=schema)
