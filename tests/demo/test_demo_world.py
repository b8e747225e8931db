"""The demo world: its Arabic agrees, its captions say what is true, its bias is the planted one."""

import csv
import io
import math
import random

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from core.config import SamplesConfig
from core.demo import world as dw
from core.samples.sources import load

MALE_ONLY = {"رجل", "هو", "يقف", "وبجانبه"}
FEMALE_ONLY = {"امرأة", "هي", "تقف", "وبجانبها"}


GENERIC = [i for i, role in enumerate(dw.ROLES) if role.generic]
ORDINARY = [i for i, role in enumerate(dw.ROLES) if not role.generic]


def scene(role: int = 0, gender: str = "male", obj: int = 0, background: int = 0) -> dw.Scene:
    return dw.Scene(role, gender, 0, dw.ROLES[role].styles[0], obj, background, True, (0, 0, 0, 0))


def words(text: str) -> set[str]:
    return set(text.replace(".", " ").split())


def test_arabic_role_names_agree():
    for role in dw.ROLES:
        male, *male_rest = role.ar_male.split()
        female, *female_rest = role.ar_female.split()
        assert male_rest == female_rest, role.key  # only the head word changes
        assert female == (male.removesuffix("ي") + "ية" if male.endswith("ي") else male + "ة") or role.key == "judge"
        assert not male.startswith("ال") and not female.startswith("ال")
    judge = next(r for r in dw.ROLES if r.key == "judge")
    assert (judge.ar_male, judge.ar_female) == ("قاض", "قاضية")  # indefinite, the ي drops


def test_arabic_backgrounds_are_feminine():
    for background in dw.BACKGROUNDS:
        assert background.ar.endswith(("اء", "ية")), background.ar


def test_tables_hold_plain_letters_and_each_name_once():
    for table, columns in (
        ("roles", ("key", "en", "ar_male", "ar_female")),
        ("objects", ("key", "en", "ar")),
        ("backgrounds", ("key", "en", "ar")),
    ):
        with open(dw.DATA_DIR / f"{table}.tsv", encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f, delimiter="\t"))
        for column in columns:
            values = [r[column] for r in rows]
            assert len(set(values)) == len(values)
            for value in values:
                assert value == value.strip() and value.replace(" ", "").isalpha(), value
                assert not set(value) & set("ـکیەۀ"), value  # no tatweel, no Persian letters
                assert any("؀" <= c <= "ۿ" for c in value) == column.startswith("ar")


@pytest.mark.parametrize("gender, own, other", [("male", MALE_ONLY, FEMALE_ONLY), ("female", FEMALE_ONLY, MALE_ONLY)])
def test_arabic_captions_agree_with_their_gender(gender, own, other):
    for i, role in enumerate(dw.ROLES):
        for template in range(dw.N_TEMPLATES):
            text = dw.caption(scene(i, gender), "ar", gender, template)
            assert not words(text) & other, text
            assert bool(words(text) & own) == (template != 1), text  # in template 1 only the role shows it
            assert f" {role.name('ar', gender)} " in f" {text} ".replace(".", " "), text
            assert text.endswith(".") and "  " not in text


def test_english_captions_agree_and_take_the_right_article():
    for i in range(len(dw.ROLES)):
        for j in range(len(dw.OBJECTS)):
            for gender in dw.GENDERS:
                for template in range(dw.N_TEMPLATES):
                    text = dw.caption(scene(i, gender, j), "en", gender, template)
                    pairs = list(zip(text.lower().split(), text.lower().split()[1:], strict=False))
                    assert all(b[0] not in "aeiou" for a, b in pairs if a == "a"), text
                    assert all(b[0] in "aeiou" for a, b in pairs if a == "an"), text
                    assert not {("they", "is"), ("they", "has"), ("he", "are"), ("she", "have")} & set(pairs)


@pytest.mark.parametrize("lang", dw.LANGUAGES)
def test_read_gives_back_the_truth(lang):
    for i in range(len(dw.ROLES)):
        for j in range(len(dw.OBJECTS)):
            background = (i + j) % len(dw.BACKGROUNDS)
            for gender in ("male", "female", "neutral") if lang == "en" else ("male", "female"):
                for template in range(dw.N_TEMPLATES):
                    text = dw.caption(scene(i, gender, j, background), lang, gender, template)
                    bare = lang == "ar" and gender == "male" and i in GENERIC and template not in (0, 2)
                    assert dw.read(text, lang) == dw.Reading(i, dw.UNMARKED if bare else gender, j, background), text


def test_read_sees_contradictions_and_nothing():
    assert dw.read("A man dressed as a doctor and her dog.", "en").gender is None
    assert dw.read("هي طبيب مع كلب.", "ar").gender is None
    assert dw.read("Nothing is here.", "en") == dw.Reading(None, None, None, None)


@pytest.mark.parametrize("planted", [True, False])
def test_neutral_images_of_generic_roles_are_captioned_in_the_unmarked_masculine(planted):
    """In the control world too: it is grammar, not bias. English draws a gender as ever."""
    world, rng = dw.DemoWorld(planted), random.Random(4)
    assert len(GENERIC) == 6
    for i in GENERIC:
        for _ in range(8):
            texts = world.references(scene(i, "neutral"), "ar", rng)
            assert len(set(texts)) == dw.N_TEMPLATES
            for text in texts:
                said = words(text)
                assert not said & (FEMALE_ONLY | {"رجل", "هو"}), text
                assert set(dw.ROLES[i].ar_male.split()) <= said, text
                assert dw.read(text, "ar").gender == dw.UNMARKED, text
        assert {world.caption_gender(scene(i, "neutral"), "en", rng) for _ in range(200)} == set(dw.GENDERS)


def test_the_unmarked_masculine_is_spelt_as_a_mans_caption_but_for_words_for_a_man():
    for i in range(len(dw.ROLES)):
        for template in range(dw.N_TEMPLATES):
            unmarked, male = (dw.caption(scene(i), "ar", g, template) for g in (dw.UNMARKED, "male"))
            assert (unmarked == male) == (template in (1, 3, 4))
            assert words(unmarked) <= words(male)
    for lang, gender in (("en", dw.UNMARKED), ("ar", "neutral")):
        with pytest.raises(ValueError):
            dw.caption(scene(0), lang, gender, 0)


def bound(p: float, n: int) -> float:
    return 4.5 * math.sqrt(p * (1 - p) / n)  # about 1 in 150,000


@pytest.mark.parametrize("planted", [True, False])
@pytest.mark.parametrize("lang", dw.LANGUAGES)
def test_caption_gender_follows_the_planted_probability(lang, planted):
    world, rng, n = dw.DemoWorld(planted), random.Random(1), 1500
    for i, role in enumerate(dw.ROLES):
        p = role.p_male_en if lang == "en" else role.p_male_ar
        if p is None:
            continue
        p = p if planted else 0.5
        drawn = [world.caption_gender(scene(i, "neutral"), lang, rng) for _ in range(n)]
        neutral = drawn.count("neutral")
        assert abs(neutral / n - (dw.P_NEUTRAL_EN if lang == "en" else 0)) <= bound(dw.P_NEUTRAL_EN, n)
        assert abs(drawn.count("male") / (n - neutral) - p) <= bound(p, n - neutral), role.key


def test_caption_gender_of_men_and_women_is_theirs():
    world, rng = dw.DemoWorld(), random.Random(0)
    for gender in ("male", "female"):
        assert {world.caption_gender(scene(3, gender), lang, rng) for lang in dw.LANGUAGES for _ in range(50)} == {
            gender
        }


def test_planted_probabilities_are_polarised_and_differ_between_languages():
    assert {r.p_male_en for r in dw.ROLES} == {0.1, 0.3, 0.5, 0.7, 0.9}
    en, ar = (np.array([dw.planted_p_male(i, lang) for i in ORDINARY], float) for lang in dw.LANGUAGES)
    assert set(en) == set(ar) == {0.1, 0.3, 0.5, 0.7, 0.9}
    assert abs(np.mean(en) - 0.5) < 0.1 and abs(np.mean(ar) - 0.5) < 0.1
    assert 0.4 < np.corrcoef(en, ar)[0, 1] < 0.8
    assert sum(a != b for a, b in zip(en, ar, strict=True)) >= 10


def test_held_out_pairs_are_about_a_tenth_and_leave_every_role_and_object_seen():
    held = np.array([[dw.is_held_out(i, j) for j in range(len(dw.OBJECTS))] for i in range(len(dw.ROLES))])
    assert 0.07 < held.mean() < 0.14
    assert held.mean(0).max() < 0.5 and held.mean(1).max() < 0.5


def test_scenes_are_of_the_asked_kind():
    world, rng = dw.DemoWorld(), random.Random(3)
    for held_out in (False, True):
        scenes = [world.scene(rng, held_out) for _ in range(400)]
        assert all(dw.is_held_out(s.role, s.object) == held_out for s in scenes)
        assert all(s.style in dw.ROLES[s.role].styles for s in scenes)
        for gender, p in (("neutral", 0.5), ("male", 0.25), ("female", 0.25)):
            assert abs(np.mean([s.gender == gender for s in scenes]) - p) <= bound(p, 400)


def test_references_are_five_in_different_templates():
    world = dw.DemoWorld()
    s = scene(0, "female")
    for lang in dw.LANGUAGES:
        references = world.references(s, lang, random.Random(5))
        assert sorted(references) == sorted(dw.caption(s, lang, "female", t) for t in range(5))
        assert len(set(references)) == 5
        assert references == world.references(s, lang, random.Random(5))


def test_rendering_is_deterministic_and_shows_what_changes():
    one, two = dw.DemoWorld(), dw.DemoWorld()
    base = scene(3, "male")
    image = one.render(base)
    assert image.shape == (dw.CANVAS, dw.CANVAS, 3) and image.dtype == np.uint8
    assert np.array_equal(image, two.render(base))
    for changed in (
        scene(3, "female"),
        scene(3, "neutral"),
        scene(4, "male"),
        scene(3, "male", 1),
        scene(3, "male", 0, 1),
    ):
        assert (one.render(changed) != image).any()
    for i in range(len(dw.BACKGROUNDS)):
        corners = one.render(scene(3, "male", 0, i))[-1, [0, -1]]
        assert (corners == dw.BACKGROUNDS[i].rgb).all()


def test_sprites_are_whole_and_name_their_licence():
    table = pq.read_table(dw.DATA_DIR / "sprites.parquet")
    rows = table.to_pylist()
    expected = {(r.key, g, t, s) for r in dw.ROLES for g in dw.GENDERS for t in range(dw.N_TONES) for s in r.styles}
    expected |= {(o.key, "", 0, s) for o in dw.OBJECTS for s in ("noto", "twemoji")}
    assert {(r["key"], r["gender"], r["tone"], r["style"]) for r in rows} == expected and len(rows) == len(expected)
    licences = {"noto": "Apache-2.0", "twemoji": "CC-BY-4.0"}
    assert all(r["licence"] == licences[r["style"]] and r["source"] for r in rows)
    text = table.schema.metadata[b"attribution"].decode()
    assert all(
        word in text for word in ("Noto Emoji", "Google", "Apache", "Twemoji", "Twitter", "CC-BY 4.0", "Modified")
    )
    for row in rows[:: len(rows) // 40]:
        size = dw.PERSON if row["gender"] else dw.OBJECT
        image = Image.open(io.BytesIO(row["png"]))
        assert image.size == (size, size) and image.mode == "RGBA"


def test_a_run_of_the_demo_world_has_held_out_pairs_in_a_tenth_of_its_test_images_only():
    samples = load(SamplesConfig(n=1000, test_share=0.2), seed=3)
    test = [s for s in samples if s.split == "test"]
    held = [s for s in samples if '"held_out": true' in s.attributes]
    assert len(samples) == 1000 and len(test) == 200
    assert len(held) == 20 and all(s.split == "test" for s in held)
    assert len({s.image_id for s in samples}) == 1000
    assert all(len(set(s.captions[lang])) == 5 for s in samples for lang in dw.LANGUAGES)


def test_areas_hold_all_that_is_drawn_and_no_more():
    world, rng = dw.DemoWorld(), random.Random(5)
    for _ in range(20):
        shown = world.scene(rng)
        image = world.render(shown).astype(int)
        drawn = (np.abs(image - dw.BACKGROUNDS[shown.background].rgb) > 0).any(-1)
        boxed = np.zeros_like(drawn)
        for ((left, top, right, bottom),) in world.areas(shown).boxes.values():
            inside = slice(int(top), int(bottom)), slice(int(left), int(right))
            boxed[inside] = True
            for axis, length in ((1, bottom - top), (0, right - left)):
                there = np.flatnonzero(drawn[inside].any(axis))
                assert np.ptp(there) + 1 > length - 4  # faint edges aside
        assert not (drawn & ~boxed).any()
