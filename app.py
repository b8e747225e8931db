"""The app's frame: which pages there are, which run they look at, and how they look. Start: streamlit run app.py"""

from pathlib import PurePath

import streamlit as st

from core.errors import UserError
from pages.kit import build, following, links, runs, server, states, style


def page_map(welcome: bool) -> dict[str, list[st.Page]]:
    """The pages by section; while there is nothing to look at, the root is the welcome page."""
    sections = {
        section: [
            st.Page(script, title=title, url_path=PurePath(script).stem)
            for script, title in pages.items()
            if script != links.PAGES[links.ROOT]
        ]
        for section, pages in links.SECTIONS.items()
    }
    overview = links.PAGES[links.ROOT]
    root, title = ("pages/look/welcome.py", "Welcome") if welcome else (overview, links.SECTIONS["Look"][overview])
    # the root is found at "/", never at its own name: whoever writes that comes to a hidden page of the same script
    by_name = st.Page(root, title=title, url_path=links.ROOT, visibility="hidden")
    sections["Look"] = [st.Page(root, title=title, url_path="root", default=True), *sections["Look"], by_name]
    return sections


def show() -> None:
    """The frame and, within it, the page that was asked for."""
    st.set_page_config(page_title="CaptionScope", page_icon="🔎", layout="wide")
    style.apply()
    st.logo(style.logo_path(), size="large")
    names = runs.run_names()
    page = st.navigation(page_map(build.wants_welcome()), expanded=True, position="sidebar" if names else "hidden")
    states.place_for_notices()
    if names:
        asked = st.query_params.get("run", "")
        if asked and asked not in names:
            states.notice(f"There is no run “{asked[:60]}” here: showing {names[0]}.")
        with st.sidebar:
            st.selectbox(
                "Run",
                names,
                key="run",
                bind="query-params",
                help="A run is one model, one set of images and "
                "the features found in them, as computed by python -m precompute.",
            )
    try:
        if names:
            runs.in_sidebar(runs.current_run())
        following.follow(page.url_path)
        page.run()
    except UserError as error:
        states.error_box(error)


if __name__ == "__main__":  # a visit: the server runs this file as a script
    show()
else:  # `streamlit run app.py` has found the App below and imports this file, once, to serve it
    app = st.App(__file__, lifespan=server.started)
