"""What is counted of a caption beside the unedited one, in both languages."""

import random

import pytest

from core.config import SamplesConfig
from core.demo.world import DemoWorld, caption
from core.interventions.outcomes import Reader, common_words, outcomes, repeats, stem
from core.samples.sources import knowledge
from tests.toy_interventions import toy_interventions

EN, AR = Reader("en", frozenset()), Reader("ar", frozenset())


def test_a_gender_that_changes_while_the_rest_is_kept_is_clean():
    said = outcomes("A woman dressed as a cook next to a dog.", "A man dressed as a cook next to a dog.", EN)
    assert said["clean"] and said["changed"] and said["flipped"] and not said["damaged"] and not said["unnamed"]
    assert said["content_kept"] == said["content"] > 0


def test_arabic_roles_are_the_same_role_in_both_genders():
    for man, woman in (("طباخ", "طباخة"), ("قاض", "قاضية"), ("شرطي", "شرطية")):
        assert stem(man, "ar") == stem(woman, "ar")
    as_men = Reader("ar", frozenset(), policy="male")
    said = outcomes("طباخة مع كلب على خلفية زرقاء.", "طباخ مع كلب على خلفية زرقاء.", as_men)
    assert said["clean"] and said["flipped"]


def test_a_generic_masculine_may_turn_feminine_and_a_feminine_generic_but_it_names_no_man():
    woman, anyone = "طباخة مع كلب على خلفية زرقاء.", "طباخ مع كلب على خلفية زرقاء."
    said = outcomes(woman, anyone, AR)
    assert said["clean"] and said["flipped"] and not said["unnamed"] and said["named"] == "female"
    said = outcomes(anyone, woman, AR)
    assert said["changed"] and said["unnamed"] and not said["flipped"] and said["n_unmarked"] == 1
    said = outcomes(f"رجل {anyone}", anyone, AR)
    assert said["changed"] is False and said["flipped"] is False and said["unnamed"] is False
    without = outcomes(anyone, woman, Reader("ar", frozenset(), policy="left out"))
    assert without["named"] == "none" and without["unnamed"] and without["content"] == said["content"]
    assert outcomes(woman, anyone, Reader("ar", frozenset(), policy="left out"))["changed"] is None


@pytest.mark.parametrize("text", ["", "A a a a a a a", "A woman is here with nothing."])
def test_a_caption_that_loses_what_it_said_is_damage_and_never_clean(text):
    said = outcomes(text, "A man dressed as a cook next to a dog.", EN)
    assert said["damaged"] and said["clean"] is False


def test_captions_that_named_nobody_are_not_asked_about():
    said = outcomes("A man with a dog.", "A person with a dog.", EN)
    assert said["changed"] is None and said["clean"] is None and said["n_male"] == 1


def test_another_form_of_the_same_scene_is_no_damage():
    toy = toy_interventions()
    scene = DemoWorld().scene(random.Random(3), gender="male")
    for lang, reader in toy.readers.items():
        for template in range(5):
            said = outcomes(caption(scene, lang, "female", template), caption(scene, lang, "male", 0), reader)
            assert not said["damaged"], caption(scene, lang, "female", template)


def test_words_of_form_are_no_content():
    animals = ["dog", "cat", "horse", "cow", "duck", "fish"]
    common = common_words([f"a {animal} on the red wall" for animal in animals], "en")
    assert {"red", "wall"} <= common and Reader("en", common).content("a dog on the red wall") == {"dog"}


def test_repeats_and_truth():
    assert repeats("a red ball a red ball") and not repeats("a red ball on a red wall")
    source = knowledge(SamplesConfig(source="demo-world"))
    truth = source.shown("female", '{"role": "cook", "object": "dog"}')
    reader = Reader("en", EN.common, source=source)
    said = outcomes("A woman dressed as a cook next to a dog.", "A cook and her dog.", reader, truth)
    assert said["right_gender"] and said["right_role"] and said["right_object"]
    assert source.shown("female", '{"weather": "rain"}') is None and source.shown("male", "") is None
