"""A search field that answers while one types; its text stands in the address."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st
from streamlit.components.v2 import component

LONGEST = 80  # characters
JS = (Path(__file__).parent / "typed.js").read_text(encoding="utf-8")


def search_field(label: str, name: str = "q", placeholder: str = "", help: str = "") -> str:
    """The text of the field ``label``, which the address holds under ``name``; at most LONGEST characters."""
    value = st.query_params.get(name, "")[:LONGEST]
    given = {"label": label, "value": value, "placeholder": placeholder, "help": help, "longest": LONGEST}
    draw = component("captionscope.typed", js=JS, isolate_styles=False)
    draw(key=f"{name}-field", data=given, on_typed_change=partial(_keep, name))
    return value


def _keep(name: str) -> None:
    """Put what was typed into the address, before the page runs again."""
    typed = st.session_state.get(f"{name}-field", {}).get("typed")
    if not isinstance(typed, str):
        return
    if typed.strip():
        st.query_params[name] = typed[:LONGEST]
    else:
        st.query_params.pop(name, None)
