"""Words for things and their grammatical gender."""

import numpy as np
import pytest

from core.crosslingual.things import grammatical_gender, things
from core.demo.world import OBJECTS

FEMININE = ("سيارة", "كرة", "بيتزا", "شمس", "حمراء", "نجمة", "مدينة", "سيارات")
MASCULINE = ("بيت", "كلب", "مفتاح", "بالون", "ماء", "كتاب", "غيتار", "نبات")


@pytest.mark.parametrize(("words", "gender"), [(FEMININE, "female"), (MASCULINE, "male")])
def test_things_have_a_grammatical_gender(words, gender):
    assert {word: grammatical_gender(word) for word in words} == dict.fromkeys(words, gender)


def test_the_demo_world_has_things_of_both_genders():
    genders = [grammatical_gender(o.ar) for o in OBJECTS]
    assert genders.count("female") == 14 and genders.count("male") == 6


def test_known_scenes_name_their_thing():
    words, stands = things([""] * 18, [o.ar for o in OBJECTS[:3]] * 6, [])
    assert sorted(words) == sorted(o.ar for o in OBJECTS[:3])
    np.testing.assert_array_equal(stands.sum(axis=0), [6, 6, 6])


def test_elsewhere_a_thing_is_a_word_that_takes_the_article_and_is_no_person():
    texts = ["رجل مع السيارة", "امرأة مع سيارة", "الرجل قرب بيت", "امرأة في البيت"] * 5
    words, stands = things(texts, [""] * 20, ["رجل", "امرأة", "الرجل"])
    assert sorted(words) == ["بيت", "سيارة"]
    assert stands.sum() == 20
