"""A text that names what a feature fires on scores 1, any other chance; where few images fire it nothing is said."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from core.steering.explain import (
    NO_WORDS,
    TOO_FEW,
    explanations_table,
    features_to_explain,
    matches,
    said,
    score,
)

THINGS = ("cat", "dog", "key", "star")


def world(n: int = 200, seed: int = 0):
    """Images of one thing each, with two references; the firing of one feature a thing."""
    rng = np.random.default_rng(seed)
    thing = rng.integers(len(THINGS), size=n)
    references = [(i, f"{opening} {THINGS[t]}") for i, t in enumerate(thing) for opening in ("A", "The picture of a")]
    train = {i: i % 2 == 0 for i in range(n)}
    return said(references, train), np.stack([thing == t for t in range(len(THINGS))], axis=1)


def texts(*lines: str, strength: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame({"feature": range(10, 10 + len(lines)), "strength": strength, "text": lines})


def test_the_right_words_score_one_and_beat_all_other_texts():
    there, fires = world()
    found = score(texts(*(f"A {thing}." for thing in THINGS)), there, fires, 10)
    assert (found["auc_test"] == 1).all() and (found["auc_train"] == 1).all() and (found["why"] == "").all()
    assert (found["auc_low_test"] > 0.8).all() and (found["control_high"] < 0.5).all() and found["chosen"].all()
    assert found["p"].tolist() == pytest.approx([1 / len(THINGS)] * len(THINGS)), "the best of so many texts"
    assert (found["n_fires_test"] + found["n_silent_test"] == 100).all()


def test_words_of_something_else_score_chance():
    there, _ = world()
    fires = np.random.default_rng(1).random((200, 4)) < 0.4
    found = score(texts(*(f"A {thing}." for thing in THINGS)), there, fires, 10)
    assert (found["auc_test"] - 0.5).abs().max() < 0.12
    assert (found["auc_low_test"] < 0.5).mean() > 0.5 and found["control"].mean() == pytest.approx(0.5, abs=0.06)


def test_too_few_images_and_no_words_are_said_and_never_scored():
    there, fires = world()
    fires = fires.copy()
    fires[:, 1] = np.arange(200) < 8
    found = score(texts("A cat.", "A dog.", "purple noise"), there, fires[:, :3], 10)
    assert found["why"].tolist() == ["", TOO_FEW, NO_WORDS]
    silent = found.loc[found["why"] != "", ["auc_train", "auc_test", "control", "p"]]
    assert silent.isna().all(axis=None)


def test_what_the_model_says_of_the_empty_image_anyway_does_not_count():
    there, fires = world()
    found = score(texts("A cat.", "A cat.", "A dog."), there, fires[:, :3], 10, empty="a cat, it seems")
    assert found["why"].tolist() == [NO_WORDS, NO_WORDS, ""]


def test_the_strength_is_chosen_on_the_training_images_alone():
    there, fires = world()
    weak, strong = texts("A star.", "A dog.", strength=1.0), texts("A cat.", "A dog.", strength=2.0)
    both = pd.concat([weak, strong])
    found = score(both, there, fires[:, :2], 10)
    assert found.loc[found["chosen"], ["feature", "strength"]].to_numpy().tolist() == [[10, 2.0], [11, 1.0]]
    shuffled = fires[:, :2].copy()
    shuffled[~there.is_train] = np.random.default_rng(2).permutation(shuffled[~there.is_train])
    again = score(both, there, shuffled, 10)
    assert again["chosen"].tolist() == found["chosen"].tolist()


def test_rare_words_weigh_more_and_words_of_all_or_no_training_image_nothing():
    is_train = {0: True, 1: True, 2: True, 3: False}
    there = said([(0, "a red cat"), (1, "a red dog"), (2, "a dog"), (3, "a zebra")], is_train)
    fit = matches(there, ["a", "red", "cat", "zebra", "CAT, cat"])
    assert fit[:, 0].tolist() == [0, 0, 0, 0] and fit[3, 3] == 0
    assert fit[0, 2] == pytest.approx(np.log(3)) and 0 < fit[0, 1] < fit[0, 2] == fit[0, 4]


def test_arabic_words_are_compared_without_vowel_signs():
    there = said([(0, "كِتَاب"), (1, "قطة")], {0: True, 1: True})
    assert matches(there, ["كتاب"])[:, 0].tolist() == pytest.approx([np.log(2), 0])


def test_the_table_adjusts_chosen_texts_only_and_stands_in_order():
    there, fires = world()
    frames = [
        score(texts(*(f"A {thing}." for thing in THINGS)), there, fires, 10).assign(layer=layer, lang=lang)
        for lang in ("en", "ar")
        for layer in (3, 1)
    ]
    table = explanations_table(pd.concat(frames).assign(sae_id="x", finished=True, changed=True)).to_pandas()
    assert table["layer"].tolist() == [1] * 8 + [3] * 8 and table["lang"].tolist()[:2] == ["ar", "en"]
    assert table["q"].notna().all() and (table["q"] >= table["p"]).all()


def test_features_that_tell_most_about_gender_come_first_and_dead_ones_never():
    features = pd.DataFrame({"feature": range(5), "alive": [True, True, False, True, True], "p999": [1, 1, 1, 1, 0.0]})
    gender = pd.DataFrame({"feature": [0, 1, 2, 3], "auc_train": [0.5, 0.1, 1.0, np.nan]})
    assert features_to_explain(features, gender, 1) == [1]
    assert features_to_explain(features, gender, 2) == [0, 1]
    assert features_to_explain(features, gender, 0) == [0, 1, 3]
