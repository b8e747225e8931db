"""Sentences follow the data: they name the kind that leads, and say so when there is too little to say anything."""

from __future__ import annotations

import pandas as pd

from core.answers.feature import feature_answer, layer_answer
from core.answers.steering import steering_answer
from core.figures.caption_diff import caption_difference

ROW = {
    "alive": True,
    "n_active": 1200,
    "density": 0.012,
    "density_image": 0.03,
    "density_prompt": 0.0,
    "density_caption_en": 0.001,
    "density_caption_ar": 0.002,
    "top_tokens": [" woman", "امرأة", "."],
}


def test_the_leading_kind_is_named_with_its_n() -> None:
    answer = feature_answer(ROW)
    assert answer.sure == "supported"
    assert "1.2 % of all tokens (n = 1,200), above all on image patches (3 % of them)" in answer.text
    assert "woman" in answer.text and "امرأة" in answer.text and "“.”" not in answer.text


def test_a_close_race_is_unclear_and_a_rare_feature_says_nothing() -> None:
    assert feature_answer({**ROW, "density_caption_ar": 0.02}).sure == "unclear"
    rare = feature_answer({**ROW, "n_active": 12})
    assert rare.sure == "not enough data" and "above all" not in rare.text
    assert feature_answer({**ROW, "alive": False, "n_active": 0}).sure == "not enough data"


def test_a_layers_features_are_counted_once_each() -> None:
    features = pd.DataFrame(
        {
            "alive": [True, True, True, True, False],
            "density_caption_en": [0.1, 0.0, 0.1, 0.0, 0.0],
            "density_caption_ar": [0.0, 0.1, 0.1, 0.0, 0.0],
        }
    )
    unknown = layer_answer(features)
    assert unknown.sure == "not enough data" and "3 of them fire on captions" in unknown.text
    classes = ["english", "arabic", "shared", "not enough data", "not enough data"]
    text = layer_answer(features.assign(language_class=classes)).text
    assert "Of the 3 that fire on enough captions to tell, 1 keep to English, 1 to Arabic, 1 do the same" in text
    assert layer_answer(features[~features["alive"]]).sure == "not enough data"


def test_steering_names_what_goes_what_comes_and_what_the_control_did() -> None:
    def gendered(text: str) -> list[tuple[int, int, str]]:
        return [(0, 3, "male")] if text.startswith("man") else [(0, 5, "female")] if text.startswith("woman") else []

    turned = {"en": caption_difference("man with a book", "woman with a book", gendered)}
    same = {"en": caption_difference("man with a book", "man with a book", gendered)}
    answer = steering_answer(turned, same)
    assert answer.text == (
        "Steering: 1 of 4 English words go and 1 come; the gender turns in English. "
        "A random feature pushed as hard: no word changes (n = 1 image)."
    )
    assert answer.sure == "not enough data"
    assert "word for word" in steering_answer(same, {}).text
    broken = {"en": caption_difference("man with a book", "man " * 20, gendered)}
    assert "breaks down" in steering_answer(broken, {}).text
    assert steering_answer(turned, turned).text.count("the gender turns in English") == 2
    assert "Nothing is turned" in steering_answer({}, {}).text
