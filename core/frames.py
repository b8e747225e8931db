"""Rows of a frame, typed for a checker: pandas itself gives keys of any kind and values of all kinds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pandas as pd


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Each row as a dict by the names of its columns."""
    return cast("list[dict[str, Any]]", frame.to_dict("records"))


def tuples(frame: pd.DataFrame) -> Iterator[Any]:
    """Each row as a named tuple, for columns whose names are attributes."""
    return iter(frame.itertuples())
