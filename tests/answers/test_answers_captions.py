"""The words of captions alone: nothing is said of few, and chance is not called agreement."""

import pandas as pd

from core.answers.captions import FEW, NOTHING, agreement_answer, seen_answer


def test_agreement_is_unclear_at_chance_and_supported_when_full():
    n = 400
    en = ["male", "female"] * (n // 2)
    frame = pd.DataFrame({"gender": ["neutral"] * n, "en": en, "ar": en})
    answer = agreement_answer(frame)
    assert "100%" in answer.text and "agree in 50%" in answer.text and answer.sure == "supported"
    frame["ar"] = ["male", "male", "female", "female"] * (n // 4)
    answer = agreement_answer(frame)
    assert answer.text.count("50%") == 2 and answer.sure == "unclear"
    assert agreement_answer(frame.head(10)) == NOTHING


def test_always_naming_the_commoner_gender_is_no_knowledge():
    shown = pd.DataFrame({"gender": ["male"] * 60 + ["female"] * 40})
    assert seen_answer(shown.assign(en="male", ar=shown["gender"])).sure == "unclear"
    assert seen_answer(shown.assign(en=shown["gender"], ar=shown["gender"])).sure == "supported"
    assert seen_answer(shown.head(FEW - 1).assign(en="male")) == NOTHING
