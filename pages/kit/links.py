"""Addresses within the app: each page by its name, each state in the query."""

from __future__ import annotations

from pathlib import PurePath
from urllib.parse import urlencode

import streamlit as st

SECTIONS = {
    "Look": {
        "pages/look/overview.py": "Overview",
        "pages/look/samples.py": "Images and captions",
        "pages/look/picture.py": "Your own picture",
        "pages/look/bias.py": "Bias",
    },
    "Features": {
        "pages/features/browser.py": "All features",
        "pages/features/feature.py": "One feature",
        "pages/features/gender.py": "Gender",
        "pages/features/compare.py": "Compare images",
    },
    "Languages": {
        "pages/languages/alignment.py": "English and Arabic",
        "pages/languages/layers.py": "Layers",
    },
    "Causes": {
        "pages/causes/steering.py": "Steering",
        "pages/causes/interventions.py": "Interventions",
        "pages/causes/hiding.py": "Hiding",
        "pages/causes/mechanisms.py": "Mechanisms",
    },
    "The run": {
        "pages/run/status.py": "Status",
        "pages/run/provenance.py": "Provenance",
        "pages/run/instrument.py": "About this instrument",
    },
}
"""The menu: section -> script -> title. The name of the script is the url_path of its page."""
ROOT = "overview"
PAGES = {PurePath(script).stem: script for section in SECTIONS.values() for script in section}
"""url_path -> script."""


def href(page: str, **state: object) -> str:
    """The relative address of a page in a state; the run of this page is carried along. None and "" are left out."""
    if page not in PAGES:
        raise KeyError(f"{page!r} is no page; known are {', '.join(PAGES)}")
    run = st.session_state.get("run") or st.query_params.get("run", "")
    given = {"run": run, **state}
    query = urlencode({k: v for k, v in given.items() if v is not None and v != ""})
    return f"{'.' if page == ROOT else page}{'?' if query else ''}{query}"
