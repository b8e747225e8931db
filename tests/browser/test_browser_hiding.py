"""Hiding a part of a picture by mouse and by keys: both captions stand beside random places, none of the old remain."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_browser_app import READY, SIDEWAYS, settle

WRITING = 120_000  # ms: the first visitor waits for the model to be loaded


def written(page, n: int) -> None:
    """Captions of both languages with ``n`` patches hidden, and of how many random places each changes; of no other
    area anything."""
    expect(page.locator(".cs-side .cs-small", has_text=f"with {n} patches hidden")).to_have_count(2, timeout=WRITING)
    settle(page)
    for lang in ("en", "ar"):
        side = page.locator(f".cs-side[data-lang={lang}]").first
        expect(side.locator(".cs-small").nth(1)).to_contain_text(f"with {n} patches hidden")
        expect(side.locator(f"[lang={lang}]").first).not_to_be_empty()
    expect(page.get_by_text(re.compile(r"\d+ of \d+ random places|names no one gender"))).to_have_count(1)
    expect(page.get_by_text(re.compile(rf"with (?!{n} )\d+ patches hidden"))).to_have_count(0)
    assert page.locator("[data-testid=stException]").count() == 0


@pytest.mark.parametrize("width", [390, 1280])
def test_an_area_is_hidden_by_mouse_and_by_keys_and_nothing_of_the_old_remains(page, app, width, outside):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{app}/hiding")
    grid = page.locator(".cs-patches")
    expect(grid).to_be_visible(timeout=READY)
    settle(page)
    expect(page.get_by_text("Nothing is hidden yet.")).to_be_visible()
    first, last = grid.locator("[role=gridcell]").nth(0), grid.locator("[aria-label='Patch 2, 3']")
    last.scroll_into_view_if_needed()
    first.hover()
    page.mouse.down()
    last.hover()
    page.mouse.up()
    written(page, 6)
    expect(page.get_by_text("Nothing is hidden yet.")).to_have_count(0)
    grid.locator("[role=gridcell][tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowLeft")
    written(page, 2)
    page.wait_for_url(re.compile(r"area=\d+-\d+"), timeout=READY)
    page.wait_for_function(f"{SIDEWAYS} <= 0", timeout=5_000)
    page.keyboard.press("Escape")
    expect(page.get_by_text("Nothing is hidden yet.")).to_be_visible(timeout=READY)
    expect(page.get_by_text("patches hidden")).to_have_count(0)
    assert outside == []
