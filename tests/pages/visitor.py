"""A visit to one page of the app, over the toy runs of a test file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

APP = Path(__file__).resolve().parents[2] / "app.py"
Open = Callable[..., AppTest]


def visitor(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """``go(page, **state)`` opens a page in the state of an address, and fails where the page does."""
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(cache))

    def go(page: str, **state: str) -> AppTest:
        at = AppTest.from_file(str(APP), default_timeout=60)
        for name, value in state.items():
            at.query_params[name] = value
        at.switch_page(page).run()
        assert not at.exception, [e.message for e in at.exception]
        return at

    return go


def words(at: AppTest) -> str:
    """All that a page says in HTML blocks."""
    return "\n".join(str(block.proto.body) for block in at.get("html"))
