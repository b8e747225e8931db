"""Captions on paper: every word is there, marked as it changed, and Arabic begins at the right."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from core.figures.caption_diff import Change
from core.figures.caption_sheet import COLUMN, MOST_LINES, WIDTH, caption_sheet
from core.figures.paper import render


def sheet(*rows: tuple[str, str, tuple[Change, ...]], image: np.ndarray | None = None):
    return caption_sheet(
        pd.DataFrame([{"name": "as it was", "lang": lang, "caption": text, "changes": c} for lang, text, c in rows]),
        image,
    )


def places(fig) -> dict[str, float]:
    return {text.get_text(): text.get_position()[0] for text in fig.texts}


def test_english_runs_to_the_right_and_arabic_to_the_left() -> None:
    at = places(sheet(("en", "a man here", ()), ("ar", "رجل يحمل كتابا.", ())))
    assert at["a"] < at["man"] < at["here"] < WIDTH / 2 + 0.5
    assert at["رجل"] > at["يحمل"] > at["كتابا."] > WIDTH - 0.2 - COLUMN


def test_what_went_is_struck_what_came_has_a_ground_and_a_turned_gender_is_heavier() -> None:
    plain = sheet(("en", "one two three", ()))
    marked = sheet(("en", "one two three", (Change(0, 3, "removed"), Change(4, 7, "added"), Change(8, 13, "flipped"))))
    drawn = [[sum(isinstance(a, kind) for a in fig.artists) for kind in (Line2D, Rectangle)] for fig in (plain, marked)]
    assert drawn == [[1, 0], [2, 2]]  # the rule of the language, then one line through a word and two grounds
    weights = {text.get_text(): text.get_fontweight() for text in marked.texts}
    assert weights["three"] == "semibold" and weights["one"] == weights["two"] == "regular"


def test_words_stay_in_their_column_and_a_caption_without_end_is_cut() -> None:
    fig = sheet(("en", "word " * 400, ()))
    words = [text for text in fig.texts if text.get_text() in ("word", "…")]
    assert words[-1].get_text() == "…" and len({text.get_position()[1] for text in words}) == MOST_LINES
    assert max(text.get_position()[0] for text in words) < 1.9 + COLUMN


def test_the_same_captions_give_the_same_bytes() -> None:
    rows = (("en", "$5 & <b>", ()), ("ar", "", ()))
    image = np.zeros((4, 4, 3), np.uint8)
    assert render(sheet(*rows, image=image), "svg") == render(sheet(*rows, image=image), "svg")
