"""Visits to pages over the toy runs in ``cache``, a fixture of each test file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.visitor import Open, visitor


@pytest.fixture
def visit(request: pytest.FixtureRequest, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """visit(page, **state); visit(**state) where the test file names its one PAGE."""
    go = visitor(cache, monkeypatch)
    return partial(go, request.module.PAGE) if hasattr(request.module, "PAGE") else go


@pytest.fixture(scope="module")
def first_visit(request: pytest.FixtureRequest, cache: Path) -> AppTest:
    """The file's page as it opens, visited once and only read."""
    with pytest.MonkeyPatch.context() as patch:
        return visitor(cache, patch)(request.module.PAGE)
