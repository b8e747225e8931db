"""Whole words only, in both languages, with the traps that substring counting and suffix rules fall into."""

import itertools
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.demo.world import N_TEMPLATES, OBJECTS, ROLES, Scene, caption
from core.words import describe, find
from core.words.generic import under
from core.words.lexicon import MARKS, lexicon


def genders(text: str, lang: str) -> list[str]:
    """Those of the forms: what the generic masculine says is asked in test_words_generic.py."""
    return [h.gender for h in under(find(text, lang), "male")]


def scene(role: int, gender: str, obj: int = 0) -> Scene:
    return Scene(role, gender, 0, "noto", obj, 0, True, (0, 0, 0, 0))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("the theatre, then there: they", ["neutral"]),
        ("A woman stands.", ["female"]),
        ("human mandate, manage, germane, Sherlock, shed, hero, usher, Hershey, history", ["neutral"]),
        ("He's the man's father", ["male", "male", "male"]),
        ("HER dog and His cat", ["female", "male"]),
        ("a man-made lake and a lady-like hat", []),
        ("her mother-in-law", ["female", "female"]),
        ("he/she", ["male", "female"]),
        ("he2 man_1 wo\u0301man", []),
        ("", []),
        ("father-daughter dance, husband-and-wife team, bride-to-be", ["male", "female", "male", "female", "female"]),
        ("a king-size bed, a queen bed, a couple of dogs, a Spider-Man suit", []),
        ("a male lion, a mother cow and its mother", []),
        ("a male dancer and his mother", ["male", "male", "female"]),
        ("Miss Jones will miss the bus", ["female"]),
        ("no one", ["neutral"]),
    ],
)
def test_english(text, expected):
    assert genders(text, "en") == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("أبيض أبواب باب أباريق", []),  # أب is in them, father is not
        ("سيارة مدينة شجرة طاولة دراجة ساعة", []),  # feminine things
        ("حمزة وأسامة", []),  # men's names that end in ة
        ("مرآة المرآة", []),  # a mirror is no woman
        ("جدا وجدها وجدت خال عما أما", []),
        ("فهم لهو شباك كتاب مكتب بنفسجية", []),
        ("وهم يضحكون", ["neutral", "male"]),
        ("حول العالم", []),
        ("عالم", ["male"]),
        ("عالمها", []),
        ("رجله مكسورة", []),
        ("الرجل", ["male"]),
        ("والرجل وللرجل كرجل رجلا رجلًا", ["male"] * 5),
        ("طبيبها", ["male"]),
        ("طبيبه", ["male"]),
        ("طبيبة", ["female"]),
        ("طبيبتها وطبيبته", ["female"] * 2),
        ("معلموها", ["male"]),
        ("أصدقاؤهم وأصدقائها", ["male"] * 2),
        ("المرأة والمرأة للمرأة امرأته", ["female"] * 4),
        ("أمها وأمه الأم", ["female"] * 3),
        ("رجل أم امرأة", ["male", "female"]),
        ("أبوها أبيه الأب", ["male"] * 3),
        ("ابنه ابنته ابنة", ["male", "female", "female"]),
        ("وبجانبه وبجانبها", ["male", "female"]),
        ("له لها عليه إليها لديها معه", ["male", "female", "male", "female", "female", "male"]),
        ("وهو وهي هى", ["male", "female", "female"]),
        ("ستقف ويحملها", ["female", "male"]),
        ("رَجُلٌ وَامْرَأَةٌ", ["male", "female"]),
        ("امـــرأة", ["female"]),
        ("امراة", ["female"]),
        ("مصاصة", []),
        ("مصاصة دماء", ["female"]),
        ("مصاص الدماء", ["male"]),
        ("رافعة", []),
        ("رافعة أثقال", ["female"]),
        ("مصاصة، دماء", []),
        ("مربية أطفال", ["female"]),
        ("أطفال", ["male"]),
        ("زوج من الأحذية", []),
        ("زوجها وزوجته", ["male", "female"]),
        ("أم تحمل طفلها", ["female", "female", "male"]),
        ("هل هذه سيارة أم دراجة", ["female"]),
        ("أحمر أم أزرق؟", []),
        ("جدة تطبخ", ["female", "female"]),
        ("في جدة", []),
        ("أنثى الفيل وذكر البط", []),
        ("رجل ثلج ورجل إطفاء", ["male"]),
        ("مربى", []),
        ("المربي", ["male"]),
        ("ملابس رجالية وحذاء رجالي", []),
        ("مدرسة ومدرسات", ["female"]),
        ("شارع رئيسي وزي مدرسي وموقع سياحي", []),
        ("رائد فضاء ورائدة الفضاء", ["male", "female"]),
    ],
)
def test_arabic(text, expected):
    assert genders(text, "ar") == expected


def test_offsets_point_into_the_text_as_written():
    text = "في الصورة  اِمـرأةٌ وبجانبها كلب."
    hits = find(text, "ar")
    assert [h.word for h in hits] == ["اِمـرأةٌ", "وبجانبها"]
    assert [text[h.start : h.end] for h in hits] == [h.word for h in hits]
    assert [(h.word_class, h.lemma, h.clitics) for h in hits] == [
        ("noun", "امرأة", ""),
        ("agreement", "ها", "و+ بجانب+"),
    ]


def test_an_unknown_language_is_refused():
    with pytest.raises(ValueError, match="fr"):
        find("homme", "fr")


@pytest.mark.parametrize("lang", ["en", "ar"])
@pytest.mark.parametrize("gender", ["male", "female"])
def test_every_demo_caption_shows_its_gender_and_no_other(lang, gender):
    for role in range(len(ROLES)):
        for template in range(N_TEMPLATES):
            for obj in range(len(OBJECTS)):
                text = caption(scene(role, gender, obj), lang, gender, template)
                assert set(genders(text, lang)) == {gender}, text


def test_neutral_demo_captions_show_no_gender():
    for role in range(len(ROLES)):
        for template in range(N_TEMPLATES):
            text = caption(scene(role, "neutral"), "en", "neutral", template)
            assert set(genders(text, "en")) <= {"neutral"}, text


letters = st.text(st.sampled_from("abeghimnorstw'- .أابتجخدرزسشطعفقكلمنهويىةًَُِّـ،"), max_size=40)
pieces = st.sampled_from([e.form for lang in ("en", "ar") for e in lexicon(lang)])


@given(st.lists(st.one_of(letters, pieces), max_size=8).map("".join), st.sampled_from(["en", "ar"]))
def test_hits_are_whole_words_in_order(text, lang):
    hits = find(text, lang)
    assert all(text[h.start : h.end] == h.word for h in hits)
    assert all(a.end <= b.start for a, b in itertools.pairwise(hits))

    def inside(c):
        return c.isalnum() or c == "_" or unicodedata.category(c) == "Mn"

    for h in hits:
        assert h.start == 0 or not inside(text[h.start - 1])
        assert h.end == len(text) or not inside(text[h.end])


@given(pieces, st.text(st.sampled_from("qxzغظذ"), min_size=1, max_size=3), st.booleans())
def test_no_form_is_found_in_a_longer_word(form, more, before):
    """Letters that no clitic has make any form another word; the parts of a hyphenated form are words of their own."""
    word = re.sub(r"[\s\u002d\u2010\u2011]", "", more + form if before else form + more)
    assert not find(word, "en") and not find(word, "ar")


@pytest.mark.parametrize(
    "text, lang, expected",
    [
        ("طبيبها", "ar", ("طبيب", "unmarked", "role", "+ها")),
        ("وللرجال", "ar", ("رجل", "male", "noun", "و+ ل+ ال+")),
        ("بالمرأة", "ar", ("امرأة", "female", "noun", "ب+ ال+")),
        ("لأخيه", "ar", ("أخ", "male", "kinship", "ل+ +ه")),
        ("وستحملهم", "ar", ("يحمل", "female", "agreement", "و+ س+ +هم")),
        ("وإليها", "ar", ("ها", "female", "agreement", "و+ إلي+")),
        ("صديقي", "ar", ("صديق", "unmarked", "role", "+ي")),
        ("Women", "en", ("woman", "female", "noun", "")),
    ],
)
def test_each_hit_says_its_lemma_class_and_clitics(text, lang, expected):
    (hit,) = find(text, lang)
    assert (hit.lemma, hit.gender, hit.word_class, hit.clitics) == expected
    assert (hit.start, hit.end, hit.word) == (0, len(text), text)


def test_what_is_said_on_hover():
    said = {h.word: describe(h) for h in find("وللرجال قلم طبيبتها", "ar")}
    assert said["وللرجال"] == "male noun of \u2068رجل\u2069 with \u2068و\u2069, \u2068ل\u2069, \u2068ال\u2069"
    assert said["طبيبتها"] == "female role of \u2068طبيبة\u2069 with \u2068ها\u2069"
    assert [describe(h) for h in find("he", "en")] == ["male pronoun"]


@given(st.lists(st.one_of(letters, pieces), max_size=8).map(" ".join), st.data())
def test_vowel_signs_and_tatweel_move_offsets_and_nothing_else(text, data):
    places = [i for i, c in enumerate(text) if "\u0621" <= c <= "\u064a" and c != "ـ"]
    at = data.draw(st.sampled_from(places)) + 1 if places else len(text)
    dressed = text[:at] + data.draw(st.sampled_from(["َ", "ُّ", "ْ", "ـ", "ــ"])) * bool(places) + text[at:]
    before, after = find(text, "ar"), find(dressed, "ar")
    assert [h[3:] for h in before] == [h[3:] for h in after]
    assert [MARKS.sub("", h.word) for h in before] == [MARKS.sub("", h.word) for h in after]
    assert all(dressed[h.start : h.end] == h.word for h in after)
