"""From the overview to what fires at a patch and at a word of either caption, by mouse and by keyboard, at any width.

The run is a toy in which it is known which feature fires where.
"""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import serve
from tests.browser.test_browser_app import READY, SIDEWAYS, settle
from tests.toy_firing import PLANTED, SAMPLE, add_toy_firing
from tests.toy_run import make_toy_run

WIDTHS = (390, 1280, 1920)


@pytest.fixture(scope="module")
def fires(tmp_path_factory):
    cache = tmp_path_factory.mktemp("fires")
    add_toy_firing(make_toy_run(cache / "demo", n_samples=6))  # all of them stand on the overview
    yield from serve(cache, cache / "log.txt")


def shows(page, place: str) -> None:
    """The page, its address and its answer name the place, and the feature that fires there."""
    page.wait_for_url(f"**at={place.replace(':', '%3A')}**", timeout=READY)
    settle(page)
    expect(page.locator(".cs-answer")).to_contain_text("features fire at", timeout=READY)
    expect(page.locator(".cs-fires").get_by_role("link", name=f"Feature {PLANTED[place]}", exact=True)).to_be_visible()
    assert page.locator("[data-testid=stException]").count() == 0


def words(page, lang: str):
    return page.locator(f".cs-words[lang={lang}] [role=button]")


@pytest.mark.parametrize("width", WIDTHS)
def test_two_clicks_from_the_overview_stand_the_features_of_a_patch_and_of_a_word(page, fires, width, outside):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(fires)
    settle(page)
    page.locator(f"a[href*='sample={SAMPLE}']").first.click()  # the first click
    expect(page.locator(".cs-patches")).to_be_visible(timeout=READY)
    settle(page)
    page.locator(".cs-patches [role=gridcell]").nth(5).click()  # the second
    shows(page, "image:5")
    words(page, "en").nth(1).click()
    shows(page, "en:1")
    words(page, "ar").nth(2).click()
    shows(page, "ar:2")
    page.wait_for_function(f"{SIDEWAYS} <= 0", timeout=5_000)
    page.locator(".cs-fires").get_by_role("link", name=f"Feature {PLANTED['ar:2']}", exact=True).click()  # its page
    expect(page.locator("h1")).to_contain_text(f"feature {PLANTED['ar:2']} of layer 3", timeout=READY)
    assert outside == []


def test_keys_alone_go_the_same_way_and_back(page, fires):
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(fires)
    settle(page)
    reach(page, f"e => e.matches('a[href*=\"sample={SAMPLE}\"]')")
    page.keyboard.press("Enter")
    expect(page.locator(".cs-patches")).to_be_visible(timeout=READY)
    settle(page)
    reach(page, "e => e.matches('.cs-patches [role=gridcell]')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    shows(page, "image:5")
    reach(page, "e => e.matches('.cs-words[lang=en] [role=button]')")
    page.keyboard.press("ArrowRight")
    shows(page, "en:1")
    reach(page, "e => e.matches('.cs-words[lang=ar] [role=button]')")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")  # an Arabic caption is read to the left
    shows(page, "ar:2")
    page.keyboard.press("Escape")
    expect(page.locator("h2").filter(has_text="What fires on this image")).to_be_visible(timeout=READY)
    assert "at=" not in page.url


def reach(page, wanted: str) -> None:
    """Press Tab until the element in focus is the wanted one."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate(f"({wanted})(document.activeElement)"):
            return
    pytest.fail(f"Tab does not reach {wanted}")


@pytest.mark.parametrize(("width", "scheme"), zip(WIDTHS, ("dark", "light", "dark"), strict=True))
def test_compared_images_keep_to_the_width_and_lead_to_the_place(page, fires, width, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{fires}/compare?these={SAMPLE}&those=3&layer=3")
    settle(page)
    link = page.locator(f".cs-compared a[href*='feature={PLANTED['image:5']}&'][href*='at=image%3A5']").first
    expect(link).to_be_visible(timeout=READY)
    page.wait_for_function(f"{SIDEWAYS} <= 0", timeout=5_000)
    assert page.locator("[data-testid=stException]").count() == 0
