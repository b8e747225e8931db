"""The states of a page that is not simply full: nothing yet, not computed, failed."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from core.config import only_language
from core.errors import UserError
from pages.kit import text


def box(lines: list[str], kind: str = "notice") -> None:
    """Up to three lines in a box; the first is bold. `kind` is notice or error."""
    role = ' role="alert"' if kind == "error" else ""
    text.html(f'<div class="cs-box {kind}"{role}>{"".join(f"<p>{escape(line)}</p>" for line in lines if line)}</div>')


def error_box(error: UserError) -> None:
    """What went wrong, why, and what to do about it."""
    box([error.what, error.why, error.do], "error")


def empty(what: str, why: str = "", do: str = "") -> None:
    """A part of a page that has nothing to show, said on purpose."""
    box([what, why, do])


def place_for_notices() -> None:
    """Keep room above the page for what ``notice`` says; called once a script run, by the frame."""
    st.session_state["notices"] = st.container(key="notices")


def notice(line: str) -> None:
    """Say above the page what it does otherwise than its address asks, and why."""
    with st.session_state["notices"]:
        box([line])


def one_language(languages: Sequence[str], missing: str) -> bool:
    """Say what is ``missing`` from a run in one language, where the run is one; whether it is."""
    only = only_language(languages)
    if only:
        empty(f"{only[:1].upper()}{only[1:]}.", missing, "For both, compute a run with --set samples.languages=en,ar")
    return bool(only)
