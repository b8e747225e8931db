"""Links of the app followed within a visit, so that what the visit alone holds is still there on the next page.

An address that the browser loads anew begins a new visit, in which a picture of the visitor's own is gone: it is in
memory alone. Without JavaScript, and with Ctrl or the middle button, links are as they always are.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.components.v2 import component

from pages.kit.links import PAGES

JS = (Path(__file__).parent / "following.js").read_text(encoding="utf-8")
HOLDING = ("picture",)  # pages whose visits hold what no address can say
OWN = "own-picture"  # in the visit's state


def follow(here: str) -> None:
    """Have links followed within the visit where it would lose something else; ``here`` is the page's url_path."""
    if here in HOLDING or OWN in st.session_state:
        draw = component("captionscope.following", js=JS, isolate_styles=False)
        draw(key="following", data={"pages": ["", *PAGES]}, height=1)
