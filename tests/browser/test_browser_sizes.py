"""A phone gets two images a row, a projector the whole width and larger letters."""

from playwright.sync_api import expect

COLUMNS = "grid => getComputedStyle(grid).gridTemplateColumns.split(' ').length"
LETTERS = "() => parseFloat(getComputedStyle(document.querySelector('.cs-answer')).fontSize)"


def test_images_stand_two_in_a_row_on_a_phone_and_more_on_a_desk(page, app):
    for width, fits in ((390, lambda n: n == 2), (1280, lambda n: n == 6)):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(app)
        grid = page.locator(".cs-grid").first
        expect(grid).to_be_visible(timeout=60_000)
        assert fits(grid.evaluate(COLUMNS)), width


def test_a_projector_is_used_in_its_whole_width_with_larger_letters(page, app):
    found = {}
    for width in (1280, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(app)
        expect(page.locator(".cs-answer").first).to_be_visible(timeout=60_000)
        found[width] = page.locator(".cs-cards").bounding_box(), page.evaluate(LETTERS)
    assert found[1920][0]["x"] + found[1920][0]["width"] > 1800
    assert found[1920][1] > found[1280][1]
