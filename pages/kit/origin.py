"""The origin of what is downloaded from the page that is open."""

from __future__ import annotations

import functools
import hashlib
import json
import tomllib
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import streamlit as st

from core.figures.origin import Origin
from core.run import Run, manifest_version
from pages.kit import runs


def origin() -> Origin:
    """The run, the page and its state as they are now."""
    run = runs.current_run()
    url = urlsplit(st.context.url or "")
    query = {name: value for name, value in sorted(st.query_params.items()) if value}
    query.setdefault("run", run.name)
    page = url.path.strip("/") or "overview"
    return Origin(
        program=f"CaptionScope {_version()}",
        run=run.name,
        page=page,
        layer=st.query_params.get("layer", str(st.session_state.get("layer", ""))),
        n=None,
        settings=_settings(str(run.dir), manifest_version(run)),
        address=f"/{page}?{urlencode(query)}",
    )


@st.cache_data(max_entries=16, show_spinner=False)
def _settings(run_dir: str, version: str) -> str:
    """A hash of all settings of the run."""
    settings = json.dumps(Run(run_dir).manifest().config, sort_keys=True, default=str)
    return hashlib.sha256(settings.encode()).hexdigest()[:12]


@functools.cache
def _version() -> str:
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
