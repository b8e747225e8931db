"""Which row of a table was clicked, where both its box and any of its cells count."""

from __future__ import annotations

import streamlit as st


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
