"""What is said about gender follows the table: nothing where nothing is, everything where all is, n always."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from core.answers import gender as gender_answers
from core.figures import gender


def make_cell(auc_train: list[float], auc_test: list[float], q: list[float], n: int = 60) -> pd.DataFrame:
    """Rows of gender_features of one layer, language and view; intervals are 0.08 wide to each side."""
    train, test = np.array(auc_train, float), np.array(auc_test, float)
    finding = (np.array(q) <= 0.05) & ((train > 0.5) == (test > 0.5)) & (np.abs(test - 0.5) > 0.08)
    frame = pd.DataFrame(
        {
            "layer": 3,
            "feature": range(len(train)),
            "lang": "en",
            "view": "before",
            "p_train": np.array(q) / 10,
            "q_train": q,
            "finding": finding,
            "shuffled_holds": [1 << (i % 20) for i in range(len(train))],
            "direction": np.where(train > 0.5, "female", "male"),
            "why": "",
            "label_en": ["woman", *[""] * (len(train) - 1)],
            "label_ar": ["امرأة", *[""] * (len(train) - 1)],
        }
    )
    for split in ("train", "test"):
        for who in ("female", "male", "neutral"):
            frame[f"n_{who}_{split}"], frame[f"rate_{who}_{split}"], frame[f"mean_{who}_{split}"] = n, 0.5, 1.0
    for score, middle in (("auc", 0.5), ("d", 0.0), ("difference", 0.0), ("effect", 0.0)):
        frame[f"{score}_train"], frame[f"{score}_test"] = train - 0.5 + middle, test - 0.5 + middle
        frame[f"{score}_low_test"] = frame[f"{score}_test"] - 0.08
        frame[f"{score}_high_test"] = frame[f"{score}_test"] + 0.08
        frame[f"rank_{score}"] = (-(train - 0.5).__abs__()).argsort().argsort() + 1
    return frame


FOUND = make_cell([0.9, 0.1, 0.8, 0.51], [0.88, 0.15, 0.52, 0.5], [1e-6, 1e-6, 0.01, 0.9])


def test_findings_are_counted_with_their_n_and_what_chance_would_give() -> None:
    answer = gender_answers.gender_answer(FOUND, 0.05, 3, "en", "before")
    assert answer.sure == "supported"
    assert "2 of 4 features" in answer.text and "n = 60 women and 60 men held out" in answer.text
    assert "1 fire more for women, 1 for men" in answer.text
    assert "of the 3 selected, 0.1 hold on average" in answer.text
    assert "feature 0 (“\u2068woman\u2069”), more for women: held-out AUC 0.88 [0.80, 0.96]" in answer.text
    assert "امرأة" in gender_answers.gender_answer(FOUND, 0.05, 3, "ar", "before").text


def test_where_nothing_is_selected_nothing_is_found() -> None:
    answer = gender_answers.gender_answer(make_cell([0.52, 0.48], [0.5, 0.5], [0.9, 0.9]), 0.05, 3, "ar", "caption")
    assert answer.sure == "unclear" and "none of 2 features" in answer.text and "n = 60" in answer.text


def test_a_selection_that_holds_no_oftener_than_chance_is_unclear() -> None:
    train, test = [0.7] * 200, [0.7] * 5 + [0.5] * 195
    answer = gender_answers.gender_answer(make_cell(train, test, [0.01] * 200), 0.05, 3, "en", "before")
    assert answer.sure == "unclear" and "10 at most in 20 shuffles" in answer.text


def test_too_few_images_are_said_to_be_too_few() -> None:
    few = make_cell([0.9], [0.9], [0.01], n=7)
    for name in map(str, few.columns):
        few[name] = np.nan if name.startswith(("auc", "p_", "q_")) else few[name]
    for cell in (few, few.head(0)):
        answer = gender_answers.gender_answer(cell, 0.05, 3, "", "image")
        assert answer.sure == "not enough data" and "too few images" in answer.text


def test_the_band_of_chance_holds_95_in_100_features_that_know_nothing() -> None:
    rng = np.random.default_rng(0)
    low, high = gender.null_band(60, 70)
    ranks = np.argsort(np.argsort(rng.standard_normal((2000, 130)), axis=1), axis=1) + 1
    auc = (ranks[:, :60].sum(axis=1) - 60 * 61 / 2) / (60 * 70)
    assert ((auc >= low) & (auc <= high)).mean() == pytest.approx(0.95, abs=0.015)
    assert np.isnan(gender.null_band(0, 70)).all()


def test_states_tell_what_holds_from_what_was_only_selected() -> None:
    assert gender.state_of(FOUND, 0.05).tolist() == ["female", "male", "selected", "none"]


def test_a_ranking_is_in_the_order_of_the_training_images() -> None:
    best = gender.ranked(FOUND, "auc", 3, 0.05)
    assert best["rank"].is_monotonic_increasing and set(best["feature"]) == {0, 1, 2}
    assert gender.ranked(FOUND.assign(rank_effect=np.nan), "effect", 3, 0.05).empty


def test_a_feature_says_each_language_with_its_interval() -> None:
    rows = pd.concat([FOUND.head(1), FOUND.head(1).assign(lang="ar", finding=False)])
    answer = gender_answers.feature_gender_answer(rows, "before")
    assert answer.text.startswith("English: more for women, held-out AUC 0.88 [0.80, 0.96], n = 60 + 60")
    assert "Arabic: no clear difference" in answer.text and answer.sure == "supported"
    silent = rows.assign(auc_test=np.nan, why="never fires")
    assert "never fires" in gender_answers.feature_gender_answer(silent, "before").text
    assert gender_answers.feature_gender_answer(rows, "image").sure == "not enough data"


LIFT = {
    "n_pairs": 5,
    "n_top": 20,
    "n_top_female": 20,
    "n_female": 50,
    "n_male": 50,
    "lift_female": 2.0,
    "lift_female_low": 1.68,
    "lift_female_high": 2.0,
    "lift_male": 0.0,
    "lift_male_low": 0.0,
    "lift_male_high": 0.3,
    "why": "",
}


def test_lift_is_twice_where_all_are_women_and_one_where_half_are() -> None:
    answer = gender_answers.lift_answer(LIFT)
    assert "20 show women, against 50 of all 100: lift 2.00 [1.68, 2.00]" in answer.text and answer.sure == "supported"
    even = {**LIFT, "n_top_female": 10, "lift_female": 1.0, "lift_female_low": 0.6, "lift_male": 1.0}
    assert gender_answers.lift_answer(even).sure == "unclear"
    few = {**LIFT, **{k: None for k in LIFT if k.startswith("lift")}, "why": "too few images"}
    assert "too few images" in gender_answers.lift_answer(few).text
    assert gender_answers.lift_answer(None).sure == "not enough data"


def test_labels_carry_their_score_and_their_absence_its_reason() -> None:
    row = {
        "lang": "ar",
        "label": "امرأة",
        "candidate": "امرأة",
        "auc_test": 0.93,
        "auc_low_test": 0.87,
        "auc_high_test": 0.98,
        "n_fires_test": 60,
        "n_silent_test": 240,
        "why": "",
    }
    said = gender_answers.label_answer(pd.DataFrame([row]))
    assert "0.93 [0.87, 0.98] (n = 60 captions" in said.text and said.sure == "supported"
    assert gender_answers.label_answer(pd.DataFrame([{**row, "label": ""}])).sure == "unclear"
    nothing = pd.DataFrame([{**row, "label": "", "auc_test": np.nan, "why": "it fires too seldom"}])
    assert gender_answers.label_answer(nothing).text == "No label: it fires too seldom."


def rankings(agree: float) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "ranking_a": a,
                "ranking_b": b,
                "n_features": 50,
                "spearman": agree,
                "spearman_shuffled_low": -0.1,
                "spearman_shuffled_high": 0.1,
                "k": 20,
                "overlap": 8,
                "overlap_chance": 8.0,
            }
            for a, b in (("auc", "auc"), ("auc", "d"), ("auc", "effect"))
        ]
    )


def test_rankings_agree_or_do_no_better_than_shuffled_labels() -> None:
    assert gender_answers.agreement_answer(gender.agreement_frame(rankings(1.0))).sure == "supported"
    none = gender_answers.agreement_answer(gender.agreement_frame(rankings(0.05)))
    assert none.sure == "unclear" and "0 of 2 pairs" in none.text
    nothing = gender.agreement_frame(rankings(np.nan))
    assert gender_answers.agreement_answer(nothing).sure == "not enough data"


def test_rates_have_an_exact_interval_and_leave_out_groups_of_no_image() -> None:
    frame = gender.rates_frame(FOUND.head(1).assign(n_neutral_test=0))
    assert len(frame) == 5 and "neutral" not in set(frame[frame["split"] == "test"]["gender"])
    row = frame[(frame["gender"] == "female") & (frame["split"] == "test")].iloc[0]
    assert (row["low"], row["high"]) == (pytest.approx(0.368, abs=1e-3), pytest.approx(0.632, abs=1e-3))


def test_names_that_look_like_markup_stay_text() -> None:
    assert gender.tick(3, "<b>x</b>") == "\u2068&lt;b&gt;x&lt;/b&gt;\u2069  3"
