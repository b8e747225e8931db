"""The app in a real Chromium over a real small run: pages draw, deep links hold, a slider changes both captions."""

import pytest
from playwright.sync_api import expect

PAGES = ["overview", "samples", "browser", "feature", "steering", "status", "provenance"]
READY = 60_000  # ms; the first page of a session loads pandas and plotly


def settle(page):
    """Wait until Streamlit has drawn everything."""
    expect(page.locator("h1, [role=alert]").first).to_be_visible(timeout=READY)
    page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')", timeout=READY)


def say(page, lang: str) -> list[str]:
    """The captions in a language that stand on the steering page, first as it was, then as steered."""
    return page.locator(f".cs .cs-caption[lang={lang}]").all_inner_texts()


@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_draws_without_error_or_outside_request(page, app, outside, width, scheme):
    page.set_viewport_size({"width": width, "height": 1000})
    page.emulate_media(color_scheme=scheme)
    for name in PAGES:
        page.goto(f"{app}/{name}")
        settle(page)
        assert page.locator("[data-testid=stException]").count() == 0, name
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{name} scrolls sideways"
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
        texts = {lang: say(page, lang) for lang in ("en", "ar")}
        assert all(len(t) == 2 for t in texts.values()), texts
        if all(t[0] != t[1] for t in texts.values()):
            return
    pytest.fail("none of the six strongest features changed both captions at four times its p99.9")


def test_zero_strength_leaves_the_captions_alone(page, app):
    page.goto(f"{app}/steering?features=5:1:0")
    settle(page)
    assert len(say(page, "en")) == 1 and len(say(page, "ar")) == 1


def test_hostile_addresses_are_harmless(page, app):
    for query in ("feature?layer=99&feature=-3", "feature?layer=<script>&feature=x", "samples?sample=99999999",
                  "steering?features=5:99999:1,x:y", "browser?layer=zzz&find=';DROP TABLE features;--"):  # fmt: skip
        page.goto(f"{app}/{query}")
        settle(page)
        assert page.locator("[data-testid=stException]").count() == 0, query


def test_a_new_visitor_is_offered_to_build_the_demo(page, empty_app, outside):
    page.goto(empty_app)
    settle(page)
    expect(page.get_by_role("button", name="demo").first).to_be_visible(timeout=READY)
    assert outside == []
