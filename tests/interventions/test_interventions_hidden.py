"""Gender that lives in one patch of a picture: only areas over it change the word, and the tables say where it was."""

import numpy as np
import pandas as pd
import pytest

from core.answers.hiding import area_answer, hiding_answer, unseen_sentence, whole_answer
from core.config import HidingConfig
from core.interventions.areas import area_of
from core.interventions.hidden import OfRandom, asks, compared, hiding_table, planned
from tests.toy_hiding import GRID, KINDS, captions


def row(table, **key):
    found = table[(table[list(key)] == pd.Series(key)).all(axis=1)]
    assert len(found) == 1
    return found.iloc[0]


def test_only_areas_over_the_patch_change_the_word():
    found = captions(lambda rng, image: 7, n=6, examples=6)
    hidden = found[found["area"] != "none"]
    over = hidden["patches"].map(lambda patches: 7 in patches)
    assert over.any() and (~over).any()
    assert (hidden["changed"].astype(bool) == over).all()
    assert not found.loc[found["area"] == "none", "changed"].any()


def test_gender_in_the_person_is_found_there():
    """The person fills 9 patches, windows 9 as well: hiding them hides it always, other windows never."""
    table = hiding_table(captions(lambda rng, image: int(rng.choice(area_of(KINDS, "person")))))
    for lang in ("en", "ar"):
        for against in ("object", "background"):
            one = row(
                table, lang=lang, filling="mean", shape="window", area="person", against=against, outcome="changed"
            )
            assert one["share"] == 1.0 and one["other"] == 0.0 and one["difference_low"] > 0.8
        one = row(table, lang=lang, filling="mean", shape="window", area="person", against="random", outcome="changed")
        assert 0 < one["other"] < 0.6 and one["difference_low"] > 0.3
    assert hiding_answer(table).sure == whole_answer(table).sure == "supported"


def test_gender_anywhere_makes_the_person_no_better_than_chance():
    table = hiding_table(captions(lambda rng, image: int(rng.integers(36)), n=80, n_random=4))
    one = row(table, lang="en", filling="mean", shape="window", area="person", against="random", outcome="changed")
    assert abs(one["difference"]) < 0.2  # 9 of 36 patches each: a difference of 0, standard error .055
    assert hiding_answer(table).sure == "unclear"


def test_who_is_named_once_the_person_is_hidden_is_counted():
    """Who stands in the person alone is named no more; every word that there was changes."""
    found = captions(lambda rng, image: 7, n=6)
    women = int(((found["area"] == "none") & (found["lang"] == "en") & (found["named"] == "female")).sum())
    said = unseen_sentence(found)
    assert f"{women} of 6 English captions name a woman, and 0 once the person is hidden" in said
    assert f"in {women} of {women} that named a woman and in {6 - women} of {6 - women} others" in said


def test_the_number_of_captions_is_the_planned_one():
    config = HidingConfig(n_images=10, n_random=3, n_examples=4, n_example_random=5)
    made = [len(asks(KINDS, GRID, 5 if i < 4 else 3, i < 4, [0, i])) for i in range(10)]
    assert planned(config, 50) == (10, sum(made)) and planned(config, 3)[0] == 3
    assert asks({"person": KINDS["person"]}, GRID, 5, True, [0]) == [], "areas that nobody has told"


def test_areas_that_are_compared_are_of_one_size():
    for image in range(10):
        mine = asks(KINDS, GRID, 4, True, [0, image])
        assert mine[0].patches == () and mine[0].area == "none"
        assert {len(one.patches) for one in mine if one.shape == "window"} == {9}
        sizes = {one.area: len(one.patches) for one in mine if one.shape == "whole" and one.area != "random"}
        assert all(len(one.patches) == sizes[one.of] for one in mine if one.shape == "whole" and one.area == "random")


def test_few_images_and_unknown_words_are_said():
    assert "needed" in compared(pd.Series([1.0] * 5), pd.Series([0.0] * 5))["why"]
    known = compared(pd.Series([1.0, None] * 20), pd.Series([0.0] * 40))
    assert known["n_images"] == 20 and known["why"] == ""


def test_one_area_beside_its_random_places():
    found = OfRandom.of([True, False, None, False])
    assert (found.n, found.changed) == (3, 1) and found.low < 1 / 3 < found.high
    said = area_answer({"en": True, "ar": None}, {"en": (25, 2, 0.01, 0.26)})
    assert "2 of 25" in said.text and said.sure == "one example"


@pytest.mark.parametrize("n", [25, 60])
def test_intervals_of_draws_hold_no_difference(n):
    rng, held = np.random.default_rng(n), 0
    for _ in range(200):
        ease = rng.random((n, 1))
        found = compared(
            pd.Series((rng.random((n, 1)) < ease)[:, 0].astype(float)), pd.Series((rng.random((n, 3)) < ease).mean(1))
        )
        held += found["difference_low"] <= 0 <= found["difference_high"]
    assert held > 178  # .95 of 200 with p > .999
