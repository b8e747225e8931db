"""Addresses within the app: each page by its name, each state in the query."""

from __future__ import annotations

from urllib.parse import urlencode

import streamlit as st

PAGES = {
    "overview": "pages/look/overview.py",
    "samples": "pages/look/samples.py",
    "bias": "pages/look/bias.py",
    "browser": "pages/features/browser.py",
    "feature": "pages/features/feature.py",
    "gender": "pages/features/gender.py",
    "alignment": "pages/languages/alignment.py",
    "layers": "pages/languages/layers.py",
    "steering": "pages/causes/steering.py",
    "mechanisms": "pages/causes/mechanisms.py",
    "interventions": "pages/causes/interventions.py",
    "status": "pages/run/status.py",
    "provenance": "pages/run/provenance.py",
}
"""url_path -> script; the url_path of the overview is the root."""


def href(page: str, **state: object) -> str:
    """The relative address of a page in a state; the run of this page is carried along. None and "" are left out."""
    if page not in PAGES:
        raise KeyError(f"{page!r} is no page; known are {', '.join(PAGES)}")
    run = st.session_state.get("run") or st.query_params.get("run", "")
    given = {"run": run, **state}
    query = urlencode({k: v for k, v in given.items() if v is not None and v != ""})
    return f"{'.' if page == 'overview' else page}{'?' if query else ''}{query}"
