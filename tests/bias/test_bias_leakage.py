"""Leakage and resolution bias: at chance where captions tell nothing, at their end where they tell everything."""

import numpy as np
import pandas as pd
import pytest

from core.bias.leakage import MASK, leakage, masked
from core.bias.resolution import resolution
from core.words import find

WORDS = ("dog", "ball", "tree", "car", "lamp", "cup")


def captions(rng, female, tells):
    """Six objects by chance; with probability ``tells`` one word that goes with the gender."""
    said = [" ".join(rng.choice(WORDS, 3)) for _ in female]
    told = rng.random(len(female)) < tells
    return [
        f"{s} {'ribbon' if f else 'tie'}" if t else f"{s} ribbon tie"
        for s, f, t in zip(said, female, told, strict=True)
    ]


def leaked(own, people, n=120, seed=0):
    rng = np.random.default_rng(seed)
    female = np.arange(n) % 2 == 0
    written = [[text] for text in captions(rng, female, people)]
    return leakage(captions(rng, female, own), written, female, seed, 20)


def test_captions_that_tell_nothing_are_on_the_floor():
    for source in ("greedy", "reference"):
        found = leaked(0.0, 0.0)["leakage_accuracy", source]
        assert found.low < 0.5 < found.high and found.control == pytest.approx(0.5, abs=0.04)
    found = leaked(0.0, 0.0)["lic", "greedy-reference"]
    assert found.low < 0 < found.high and found.control_low <= found.control <= found.control_high


def test_captions_that_tell_everything_are_right_always_and_amplify_where_people_tell_nothing():
    found = leaked(1.0, 0.0)
    one = found["leakage_accuracy", "greedy"]
    assert one.value == 1 and 0.9 < one.low < 1 and one.control_high < 0.7
    assert found["lic", "greedy-reference"].low > found["lic", "greedy-reference"].control_high
    assert leaked(0.0, 1.0)["lic", "greedy-reference"].high < 0


def test_who_tells_as_much_as_people_amplifies_rarely():
    alarms = sum(
        not one.low <= 0 <= one.high
        for one in (leaked(0.3, 0.3, n=80, seed=seed)["lic", "greedy-reference"] for seed in range(6))
    )
    assert alarms <= 3  # nominal .05 of 6


def test_few_images_tell_nothing():
    assert "19 images" in leaked(1.0, 1.0, n=38)["lic", "greedy"].why


@pytest.mark.parametrize(
    "lang, woman, man",
    [
        ("en", "A female cook and her apple.", "A male cook and his apple."),
        ("ar", "هي طبيبة مع تفاحة.", "هو طبيب مع تفاحة."),
    ],
)
def test_masked_captions_of_a_woman_and_a_man_are_the_same(lang, woman, man):
    roles = {"طبيبة": "طبيب"}
    one, other = (masked(text, find(text, lang), roles) for text in (woman, man))
    assert one == other and MASK in one


def said(right_men, right_women, n=100):
    gender = pd.Series(["male"] * n + ["female"] * n)
    named = (
        ["male"] * right_men + ["female"] * (n - right_men) + ["female"] * right_women + ["male"] * (n - right_women)
    )
    return pd.Series(named), gender


def test_resolution_bias_is_the_difference_of_two_accuracies():
    named, gender = said(90, 90)
    fair = resolution(named, gender, 20)["resolution", "male-female"]
    assert fair.value == 0 and fair.low < 0 < fair.high
    worst = resolution(*said(100, 0), 20)["resolution", "male-female"]
    assert worst.value == 1 and worst.low > 0.9
    assert worst.control == pytest.approx(1.0)  # who says a man of everyone is right of men under any labels


def test_silence_about_women_counts_of_all_images_and_not_of_captions_that_say_one():
    named, gender = said(100, 100)
    named[150:] = "none"
    found = resolution(named, gender, 20)
    assert found["resolution", "male-female"].value == 0.5 and found["resolution_named", "male-female"].value == 0
    assert "needed" in resolution(named[:110], gender[:110], 20)["resolution", "male-female"].why
