"""How rows of probes, lens and emergence become their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from core.run.schema import Table

DECIMALS = 6


def table(rows: Sequence[Mapping[str, Any]], of: Table) -> pa.Table:
    """Rows as a table with exactly the columns of ``of``, NaN where one has no number yet; p and q are not rounded."""

    def value(row: Mapping[str, Any], name: str) -> Any:
        found = row.get(name, float("nan")) if name == "q" else row[name]
        return round(found, DECIMALS) if isinstance(found, float) and name not in ("p", "q") else found

    return of.of_rows([{name: value(row, name) for name in of.names} for row in rows])
