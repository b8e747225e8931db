"""What happens once, when the server starts: deep links hold from the first visit on, and a browser opens."""

from __future__ import annotations

import threading
import webbrowser
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

SOON = 0.5  # seconds; by then the server answers


@asynccontextmanager
async def started(server: st.App) -> AsyncGenerator[None, None]:
    """The life of the server, for `st.App(lifespan=)`.

    Streamlit looks for pages directly in a folder `pages/` until a script calls st.navigation, which sets this same
    flag. Without it the first visit of a fresh server to any page but the root gets a dialog "Page not found". A
    server that is given to `streamlit run` as an st.App opens no browser by itself.
    """
    PagesManager.uses_pages_directory = False
    if not st.get_option("server.headless"):
        base = str(st.get_option("server.baseUrlPath")).strip("/")
        scheme = "https" if st.get_option("server.sslCertFile") else "http"
        url = f"{scheme}://localhost:{st.get_option('server.port')}/{base}"
        threading.Timer(SOON, webbrowser.open, [url]).start()
    yield
