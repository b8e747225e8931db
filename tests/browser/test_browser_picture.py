"""A visitor's own picture in a real browser: uploaded, described, asked about, pointed at, taken to the laboratory."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.pages.pictures import picture_bytes

READY = 60_000  # ms; the model is woken at the first picture
QUESTION = "What do you see in my picture?"


def settle(page):
    """Wait until Streamlit has drawn everything."""
    expect(page.locator("h1, [role=alert]").first).to_be_visible(timeout=READY)
    page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')", timeout=READY)


def upload(page, data: bytes, name: str = "mine.png"):
    page.locator("input[type=file]").last.set_input_files({"name": name, "mimeType": "image/png", "buffer": data})


def captions(page) -> list[str]:
    expect(page.locator(".cs-words")).to_have_count(2, timeout=READY)
    settle(page)
    return [words.inner_text() for words in page.locator(".cs-words").all()]


def at_top(page) -> str:
    return page.locator(".cs-answer").first.inner_text()


@pytest.mark.parametrize("width", [390, 1280])
def test_a_picture_is_uploaded_described_pointed_at_and_asked_about(page, app, outside, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{app}/picture")
    settle(page)
    upload(page, picture_bytes((300, 200)))
    english, arabic = captions(page)
    assert re.search("[a-z]", english) and re.search("[\u0600-\u06ff]", arabic)
    assert page.locator(".cs-words[lang=ar]").get_attribute("dir") == "rtl"
    assert page.get_by_text("300 × 200 pixels").count() == 1

    page.locator(".cs-patches [role=gridcell]").nth(9).click()
    page.wait_for_url("**at=image%3A9**", timeout=READY)
    expect(page.locator(".cs-answer").first).to_contain_text("at patch 2, 2", timeout=READY)
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**at=image%3A10**", timeout=READY)
    expect(page.locator(".cs-answer").first).to_contain_text("at patch 2, 3", timeout=READY)

    settle(page)
    word = page.locator(".cs-words[lang=ar] [role=button]").first
    word.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**at=ar%3A0**", timeout=READY)
    expect(page.locator(".cs-answer").first).to_contain_text("of the Arabic caption", timeout=READY)
    expect(page.locator(".cs-fires li").first).to_be_visible(timeout=READY)

    settle(page)
    page.get_by_text("Ask something else").click()
    question = page.locator(".st-key-ask-en input")
    question.fill("Describe the image. Use short words.")
    question.press("Enter")
    expect(page.get_by_text("of its own question")).to_be_visible(timeout=READY)
    assert captions(page)[1] == arabic and "at=" not in page.url, "what was asked in Arabic has not changed"

    mine = page.locator(".st-key-ask-en textarea")
    mine.fill("A woman reads.")
    mine.press("Control+Enter")
    expect(page.get_by_text("The English words are yours")).to_be_visible(timeout=READY)
    assert captions(page)[0].split() == ["A", "woman", "reads."]
    sideways = "document.querySelector('[data-testid=stMain]').scrollWidth - innerWidth"
    assert page.evaluate(sideways) <= 0 and outside == []


def test_the_picture_goes_along_to_the_laboratory_and_back(page, app):
    page.goto(f"{app}/picture")
    settle(page)
    upload(page, picture_bytes((300, 200)))
    before = captions(page)
    up = page.locator(".cs-fires a", has_text="Turn this up").first
    up.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/steering**", timeout=READY)
    expect(page.locator("img[alt='your own picture']")).to_be_visible(timeout=READY)
    expect(page.locator(".stSlider input[type=range]").first).to_have_value("1", timeout=READY)
    page.get_by_text("What fires here").click()
    page.wait_for_url("**/picture**", timeout=READY)
    assert captions(page) == before
    page.get_by_role("button", name="Take my picture away").click()
    expect(page.locator(".cs-words")).to_have_count(0, timeout=READY)
    expect(page.locator(".cs-answer").first).to_contain_text("Bring a picture", timeout=READY)


def test_what_is_no_picture_is_said_and_the_picture_before_stays(page, app):
    page.goto(f"{app}/picture")
    settle(page)
    upload(page, b"GIF89a no picture at all")
    expect(page.locator("[role=alert]")).to_contain_text("no picture", timeout=READY)
    upload(page, picture_bytes((300, 200)))
    before = captions(page)
    assert page.locator("[role=alert]").count() == 0
    page.locator(".st-key-own button").first.click()
    upload(page, picture_bytes((300, 200))[:200])
    expect(page.locator("[role=alert]")).to_contain_text("cannot be read", timeout=READY)
    assert captions(page) == before
