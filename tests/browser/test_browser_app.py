"""The app in a real Chromium over a real small run: pages draw, deep links hold, a slider changes both captions."""

import pytest
from playwright.sync_api import expect

from pages.kit.links import PAGES

READY = 60_000  # ms; the first page of a session loads pandas and plotly


def settle(page):
    """Wait until Streamlit has drawn everything."""
    expect(page.locator("h1, [role=alert]").first).to_be_visible(timeout=READY)
    page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')", timeout=READY)


def say(page, lang: str) -> list[str]:
    """The captions in a language that stand on the steering page, first as it was, then as steered."""
    return page.locator(f".cs .cs-caption[lang={lang}]").all_inner_texts()


def test_the_first_visit_of_a_fresh_server_may_be_a_deep_link(page, fresh_app):
    page.goto(f"{fresh_app}/feature?layer=5&feature=3")
    settle(page)
    expect(page.locator("h1")).to_contain_text("feature 3 of layer 5")
    assert page.get_by_role("dialog").count() == 0, page.get_by_role("dialog").all_inner_texts()


SIDEWAYS = """[document.documentElement, document.querySelector('[data-testid=stMain]')]
    .reduce((most, e) => Math.max(most, e.scrollWidth - e.clientWidth), 0)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_draws_at_both_sizes_without_error_or_outside_request(page, app, outside, scheme):
    page.emulate_media(color_scheme=scheme)
    for name in PAGES:
        page.set_viewport_size({"width": 1920, "height": 1080})
        page.goto(f"{app}/{name}")
        settle(page)
        assert page.locator("[data-testid=stException]").count() == 0, name
        assert page.get_by_role("dialog").count() == 0, f"{name}: {page.get_by_role('dialog').all_inner_texts()}"
        assert page.evaluate(SIDEWAYS) <= 0, f"{name} scrolls sideways at 1920"
        page.set_viewport_size({"width": 1280, "height": 800})
        page.wait_for_function(f"{SIDEWAYS} <= 0", timeout=5_000)  # a figure takes a moment to shrink
    assert outside == []


def test_a_feature_page_shows_its_top_images_with_heat_maps(page, app):
    page.goto(f"{app}/feature?layer=5")
    settle(page)
    expect(page.locator("figure img").first).to_be_visible(timeout=READY)
    assert page.locator("figure").count() >= 3
    assert page.locator("figure .cs-heat").count() >= 1
    assert page.locator("[lang=ar][dir=rtl]").count() >= 1


def test_a_slider_changes_both_captions(page, app, small_run):
    """At its end at least one of the strong features of layer 5 changes the English and the Arabic caption."""
    import pandas as pd

    features = pd.read_parquet(small_run / "features.parquet").query("layer == 5 and alive")
    strong = features.sort_values("explained_share", ascending=False).feature.head(6).tolist()
    for feature in strong:
        page.goto(f"{app}/steering?features=5:{feature}:4")
        settle(page)
        for lang in ("en", "ar"):
            expect(page.locator(f".cs .cs-caption[lang={lang}]")).to_have_count(2, timeout=READY)
        settle(page)
        texts = {lang: say(page, lang) for lang in ("en", "ar")}
        assert all(len(t) == 2 for t in texts.values()), texts
        if all(t[0] != t[1] for t in texts.values()):
            return
    pytest.fail("none of the six strongest features changed both captions at four times its p99.9")


def test_zero_strength_leaves_the_captions_alone_and_the_keyboard_moves_the_slider(page, app):
    page.goto(f"{app}/steering?features=5:1:0")
    settle(page)
    assert len(say(page, "en")) == 1 and len(say(page, "ar")) == 1
    slider = page.locator(".stSlider input[type=range]")
    for _ in range(60):
        page.keyboard.press("Tab")
        if slider.evaluate("e => e === document.activeElement"):
            break
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**features=5%3A1%3A0.1**", timeout=READY)
    expect(page.locator(".cs .cs-caption[lang=ar]")).to_have_count(2, timeout=READY)


def test_what_stands_after_stop_belongs_to_the_sliders(page, held_app, small_run):
    """Stop before the first word of -4: nothing of what +2 wrote may stand under it, or be exported as its caption."""
    import pandas as pd

    app, held = held_app
    features = pd.read_parquet(small_run / "features.parquet").query("layer == 5 and alive")
    feature = int(features.sort_values("explained_share", ascending=False).feature.iloc[0])
    page.goto(f"{app}/steering?sample=12&features=5:{feature}:2")
    settle(page)
    expect(page.get_by_role("button", name="Download").first).to_be_visible(timeout=READY)
    assert len(say(page, "en")) == 2
    held.touch()
    page.locator(".stSlider input[type=range]").first.press("Home")
    page.wait_for_url("**%3A-4**", timeout=READY)
    page.locator(".st-key-stop button").click()
    expect(page.locator(".st-key-go-on button")).to_be_visible(timeout=READY)
    settle(page)
    assert "".join(say(page, "en")[1:]).strip("▍… ") == ""
    page.get_by_role("button", name="Download").first.click()
    with page.expect_download() as download:
        page.locator("[data-testid=stDownloadButton] button").last.click()
    rows = pd.read_csv(download.value.path(), comment="#")
    assert "after" not in set(rows["row"]) and set(rows["source"]) == {"stopped before its end"}
    held.unlink()
    page.locator(".st-key-go-on button").click()
    expect(page.locator(".st-key-go-on")).to_have_count(0, timeout=READY)


def test_hostile_addresses_are_harmless(page, app):
    for query in (
        "feature?layer=99&feature=-3",
        "feature?layer=<script>&feature=x",
        "samples?sample=99999999",
        "steering?features=5:99999:1,x:y",
        "browser?layer=zzz&find=';DROP TABLE features;--",
    ):
        page.goto(f"{app}/{query}")
        settle(page)
        assert page.locator("[data-testid=stException]").count() == 0, query


def test_a_new_visitor_is_offered_to_build_the_demo(page, empty_app, outside):
    page.goto(empty_app)
    settle(page)
    expect(page.get_by_role("button", name="demo").first).to_be_visible(timeout=READY)
    assert outside == []
