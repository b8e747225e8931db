"""What is chosen in a table or on a map: one feature, or several; kept in the address."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from core.run import Run

MAX_PICKED = 300  # features that an address can carry
MANY = "many"  # stands there for more, which only this visit remembers


def clicked_row(key: str) -> int | None:
    """The row of the table `key` whose box or cell was clicked last; None where the click took a selection back.

    The table keeps a cell and a row side by side, so what has changed since the last call is what was clicked.
    """
    selection = st.session_state[key]["selection"]
    cells, rows = selection.get("cells", []), selection.get("rows", [])
    now = {"cells": [int(cell[0]) for cell in cells], "rows": [int(row) for row in rows]}
    before = st.session_state.get(f"{key}-before", {"cells": [], "rows": []})
    st.session_state[f"{key}-before"] = now
    changed = [now[part] for part in ("cells", "rows") if now[part] and now[part] != before[part]]
    return changed[0][0] if changed else None


def read_chosen(features: pd.DataFrame) -> int | None:
    """The feature that the address names, if the layer has it."""
    asked = st.query_params.get("feature", "")
    return int(asked) if asked.isdecimal() and int(asked) in set(features["feature"]) else None


def read_picked(run: Run, layer: int) -> set[int]:
    """The features of this layer that are picked on the map; those of another layer mean nothing here."""
    asked, _, numbers = st.query_params.get("picked", "").partition(":")
    if asked != str(layer):
        return set()
    if numbers == MANY:
        return set(st.session_state.get("picked", {}).get((run.name, layer), ()))
    return {int(n) for n in numbers.split("-") if n.isdecimal()}


def choose(feature: int) -> None:
    """Make a feature the chosen one, in the address."""
    st.query_params["feature"] = str(feature)


def choose_row(key: str, ids: list[int]) -> None:
    row = clicked_row(key)
    if row is not None and row < len(ids):
        choose(ids[row])


def choose_points(run: Run, key: str, layer: int) -> None:
    points = st.session_state[key]["selection"]["points"]
    found = sorted({int(point["customdata"][0]) for point in points if point.get("customdata")})
    if not found:
        clear_picked()
        return
    st.session_state["picked"] = {(run.name, layer): found}
    st.query_params["picked"] = f"{layer}:{'-'.join(map(str, found)) if len(found) <= MAX_PICKED else MANY}"
    if len(found) == 1:
        choose(found[0])


def clear_picked() -> None:
    st.session_state["map_turn"] = st.session_state.get("map_turn", 0) + 1  # a new chart: the old one keeps its lasso
    st.query_params.pop("picked", None)


def selection_of(ids: list[int]) -> Any:
    """The table's first selection: the chosen feature where it is in the table."""
    asked = st.query_params.get("feature", "")
    return {"selection": {"rows": [ids.index(int(asked))]}} if asked.isdecimal() and int(asked) in ids else None
