"""Holds two runs against each other, table by table, and prints where they differ; exits with 1 if they do.

Run: python -m tests.compare_runs cache/before cache/after

Values, columns, types and the order of rows count; fingerprints, times, sizes and metadata do not. Tensors are compared
bit by bit.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import deserialize


def tables(run: Path) -> dict[str, Path]:
    """Every Parquet and safetensors file of a run by its place in it; what stages only work with is left out."""
    found = (p for kind in ("parquet", "safetensors") for p in run.rglob(f"*.{kind}"))
    return {p.relative_to(run).as_posix(): p for p in sorted(found) if ".work" not in p.parts}


def table_difference(before: pa.Table, after: pa.Table) -> str:
    """What differs between two tables, in a few words, or ""."""
    if before.column_names != after.column_names:
        return f"columns {sorted(set(before.column_names) ^ set(after.column_names)) or 'in another order'}"
    types = [
        f"{a.name} {a.type} -> {b.type}" for a, b in zip(before.schema, after.schema, strict=True) if a.type != b.type
    ]
    if types:
        return f"types: {', '.join(types)}"
    if len(before) != len(after):
        return f"{len(before):,} -> {len(after):,} rows"
    changed = [told for name in before.column_names if (told := column_difference(before[name], after[name], name))]
    return "; ".join(changed)


def column_difference(before: pa.ChunkedArray, after: pa.ChunkedArray, name: str) -> str:
    """Which share of a column's values differ, with the largest distance where they are numbers; NaN equals NaN."""
    if before.equals(after):
        return ""
    if pa.types.is_floating(before.type):
        x, y = (column.to_numpy().astype(float) for column in (before, after))
        differs = ~((x == y) | (np.isnan(x) & np.isnan(y)))
        if not differs.any():
            return ""
        return f"{name}: {differs.mean():.2%} of values, by up to {np.nanmax(np.abs(x - y)[differs]):.3g}"
    n = sum(str(a) != str(b) for a, b in zip(before.to_pylist(), after.to_pylist(), strict=True))  # NaN prints alike
    return f"{name}: {n:,} of {len(before):,} values" if n else ""


def tensor_difference(before: Path, after: Path) -> str:
    """Names of the tensors of two files that are not bit for bit the same."""
    x, y = (dict(deserialize(path.read_bytes())) for path in (before, after))
    return ", ".join(name for name in sorted(set(x) | set(y)) if x.get(name) != y.get(name))


def differences(before: Path, after: Path) -> dict[str, str]:
    """By file what differs between two runs; empty where they hold the same."""
    one, other = tables(before), tables(after)
    found = {}
    for name in sorted(set(one) | set(other)):
        if name not in one or name not in other:
            found[name] = f"only in {(before if name in one else after).name}"
        elif name.endswith(".parquet"):
            found[name] = table_difference(pq.read_table(one[name]), pq.read_table(other[name]))
        else:
            found[name] = tensor_difference(one[name], other[name])
    return {name: what for name, what in found.items() if what}


def main(before: Path, after: Path) -> int:
    n = len(tables(before) | tables(after))
    if not n:
        raise SystemExit(f"Neither {before} nor {after} holds a table: give the folders of two runs.")
    found = differences(before, after)
    for name, what in found.items():
        print(f"{name}: {what}")
    print(f"{n - len(found)} of {n} files hold the same, {len(found)} differ")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
