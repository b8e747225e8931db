"""The app's frame: which pages there are, which run they look at, and how they look. Start: streamlit run app.py"""

import streamlit as st

from core.errors import UserError
from pages.kit import build, runs, server, states, style


def page_map(welcome: bool) -> dict[str, list[st.Page]]:
    """Sections by folder; while there is nothing to look at, the root is the welcome page."""
    home = st.Page(
        f"pages/look/{'welcome' if welcome else 'overview'}.py",
        title="Welcome" if welcome else "Overview",
        url_path="overview",
        default=True,
    )
    return {
        "Look": [
            home,
            st.Page("pages/look/samples.py", title="Images and captions", url_path="samples"),
            st.Page("pages/look/bias.py", title="Bias", url_path="bias"),
        ],
        "Features": [
            st.Page("pages/features/browser.py", title="All features", url_path="browser"),
            st.Page("pages/features/feature.py", title="One feature", url_path="feature"),
            st.Page("pages/features/gender.py", title="Gender", url_path="gender"),
        ],
        "Languages": [
            st.Page("pages/languages/alignment.py", title="English and Arabic", url_path="alignment"),
            st.Page("pages/languages/layers.py", title="Layers", url_path="layers"),
        ],
        "Causes": [
            st.Page("pages/causes/steering.py", title="Steering", url_path="steering"),
            st.Page("pages/causes/interventions.py", title="Interventions", url_path="interventions"),
            st.Page("pages/causes/mechanisms.py", title="Mechanisms", url_path="mechanisms"),
        ],
        "The run": [
            st.Page("pages/run/status.py", title="Status", url_path="status"),
            st.Page("pages/run/provenance.py", title="Provenance", url_path="provenance"),
        ],
    }


def show() -> None:
    """The frame and, within it, the page that was asked for."""
    st.set_page_config(page_title="CaptionScope", page_icon="🔎", layout="wide")
    style.apply()
    st.logo(style.logo_path(), size="large")
    names = runs.run_names()
    page = st.navigation(page_map(build.wants_welcome()), expanded=True, position="sidebar" if names else "hidden")
    if names:
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
        page.run()
    except UserError as error:
        states.error_box(error)


if __name__ == "__main__":  # a visit: the server runs this file as a script
    show()
else:  # `streamlit run app.py` has found the App below and imports this file, once, to serve it
    app = st.App(__file__, lifespan=server.started)
