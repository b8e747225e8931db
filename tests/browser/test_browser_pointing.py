"""Pointing with mouse, finger and keyboard tells the page the same, in both directions of reading."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import serve


@pytest.fixture(scope="module")
def pointing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pointing")
    yield from serve(folder, folder / "log.txt", ("streamlit", "run", "tests/browser/pointing_app.py"))


@pytest.fixture
def told(page, pointing):
    """Waits until the page says what it was told."""
    page.goto(pointing)
    expect(page.get_by_text("told:")).to_be_visible(timeout=60_000)
    return lambda text: expect(page.get_by_text("told:")).to_have_text(f"told: {text}")


def test_a_patch_is_chosen_by_click_and_given_back_by_another(page, told):
    cell = page.locator(".st-key-one [role=gridcell]")
    cell.nth(8).click()
    told("[8] [] None None")
    expect(cell.nth(8)).to_have_attribute("aria-selected", "true")
    cell.nth(8).click()
    told("[] [] None None")


def test_arrow_keys_choose_where_they_rest_and_stop_at_the_border(page, told):
    page.locator(".st-key-one [role=gridcell][tabindex='0']").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    told("[7] [] None None")
    page.keyboard.press("Escape")
    told("[] [] None None")
    page.keyboard.press("Enter")
    told("[7] [] None None")


def test_an_area_is_drawn_by_dragging_and_by_shift_and_arrows(page, told):
    frame = page.locator(".st-key-many .cs-patches").bounding_box()
    step = frame["width"] / 6, frame["height"] / 4
    page.mouse.move(frame["x"] + step[0] * 2.5, frame["y"] + step[1] * 1.5)
    page.mouse.down()
    page.mouse.move(frame["x"] + step[0] * 1.5, frame["y"] + step[1] * 2.5, steps=4)
    page.mouse.up()
    told("[] [7, 8, 13, 14] None None")
    page.locator(".st-key-many [role=gridcell][tabindex='0']").focus()
    page.keyboard.press("Shift+ArrowUp")
    told("[] [7, 8] None None")


def test_words_follow_the_direction_of_reading_and_show_no_markup(page, told):
    word = page.locator(".st-key-english [role=button]")
    expect(word.nth(3)).to_have_text("<b>sings</b>")
    word.nth(1).click()
    told("[] [] 1 None")
    page.keyboard.press("ArrowRight")
    told("[] [] 2 None")
    page.locator(".st-key-arabic [role=button]").nth(1).click()
    told("[] [] 2 1")
    page.keyboard.press("ArrowLeft")
    told("[] [] 2 2")


def test_parts_of_an_arabic_word_stand_side_by_side_from_right_to_left(page, told):
    first, second, third = (page.locator(".st-key-arabic [role=button]").nth(i).bounding_box() for i in range(3))
    assert first["x"] == pytest.approx(second["x"] + second["width"], abs=1)
    assert third["x"] + third["width"] < second["x"]


def test_a_search_answers_while_one_types_and_keeps_what_is_typed(page, app):
    page.goto(f"{app}/browser?layer=5")
    field = page.get_by_label("Find a meaning")
    field.press_sequentially("woman", delay=60, timeout=60_000)
    expect(page.get_by_text("The best of all layers for “woman”")).to_be_visible(timeout=20_000)
    expect(field).to_be_focused()
    field.press_sequentially("x", delay=60)
    expect(page).to_have_url(f"{app}/browser?q=womanx", timeout=20_000)
    expect(field).to_have_value("womanx")
