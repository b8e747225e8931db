"""What a word is among its neighbours and in odd dress: one claim a kind, with sentences made for it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UserError
from core.gender import find as find_from_gender
from core.words import find
from core.words.lexicon import heads, lexicon
from tests.words.read_captions import Place, captions, compare, readings


def persons(text: str, lang: str) -> list[tuple[str, str]]:
    return [(h.word, h.gender) for h in find(text, lang) if h.word_class != "agreement"]


def genders(text: str, lang: str) -> list[str]:
    return [gender for _, gender in persons(text, lang)]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("نظارات سباحة ولباس سباحة وحوض السباحة", []),
        ("طفلة تتعلم السباحة", ["female"]),
        ("سباحة ترتدي قبعة", ["female"]),
        ("تقفز سباحة في الماء", ["female"]),
        ("سباح وسباحة", ["male", "female"]),
        ("بمساعدة الجيران", ["unmarked"]),
        ("مساعدة تبتسم", ["female"]),
        ("مباراة مصارعة ودروس ملاكمة ومنافسة قوية", []),
        ("مصارعة ترفع يديها", ["female"]),
        ("أكياس البقالة وحمالات الكتف", []),
        ("غواصة تحت الماء", []),
    ],
)
def test_an_activity_is_a_woman_only_where_its_place_shows_one(text, expected):
    assert genders(text, "ar") == expected


@pytest.mark.parametrize(
    "text, gender",
    [
        ("أربعة صبية على الدرج", "male"),
        ("الصبية يضحكون", "male"),
        ("صبية صغيرة نائمة", "female"),
        ("هذه صبية", "female"),
        ("صبيتان", "female"),
        ("المارة في السوق", "unmarked"),
        ("بعض الكهنة", "unmarked"),
    ],
)
def test_a_broken_plural_is_no_woman(text, gender):
    assert genders(text, "ar") == [gender]


@pytest.mark.parametrize(
    "text", ["الدجاجة والديك", "لكنه ولكنها", "مهرجان كبير", "شباك ودكتوراه", "مبنى تجاري", "أبها"]
)
def test_a_word_of_its_own_is_not_taken_apart(text):
    assert persons(text, "ar") == []


def test_and_she_has_is_not_her_two_boys():
    assert [(h.word_class, h.gender) for h in find("ولديها", "ar")] == [("agreement", "female")]


@pytest.mark.parametrize(
    "text, lang, expected",
    [
        ("فتاة تلبس قبعة رعاة البقر وزي ساحرة", "ar", ["female"]),
        ("رجل يرتدي ملابس مهرج", "ar", ["male"]),
        ("قميص اللاعب", "ar", ["unmarked"]),
        ("عربة أطفال", "ar", []),
        ("ملابس أطفالها", "ar", ["unmarked"]),
        ("حمام السيدات", "ar", []),
        ("رعاة البقر على الخيول", "ar", ["unmarked"]),
        ("a cowboy shirt, a princess costume and a Santa hat", "en", []),
        ("a cowboy, a princess and Santa", "en", ["male", "female", "male"]),
        ("the ladies' restroom and the men’s room", "en", []),
        ("women's clothing", "en", []),
        ("the women's bikes", "en", ["female"]),
        ("a child seat and a baby swing", "en", []),
        ("two children swing", "en", ["neutral"]),
        ("The men suit up", "en", ["male"]),
    ],
)
def test_clothes_and_places_are_named_for_persons_and_are_none(text, lang, expected):
    assert genders(text, lang) == expected


@pytest.mark.parametrize(
    "text, lang",
    [
        ('A sign that reads "Gentlemen"', "en"),
        ("A door that says ladies", "en"),
        ("Blues Brothers hats, a Mr. Potato Head and Notre Dame", "en"),
        ("a cavalier King Charles spaniel", "en"),
        ("manmade lake, man-made lake, man hole", "en"),
        ("leather chaps", "en"),
        ("لافتة كتب عليها «سيدات»", "ar"),
    ],
)
def test_what_is_written_on_a_sign_and_fixed_names_are_no_persons(text, lang):
    assert persons(text, lang) == []


@pytest.mark.parametrize(
    "text, form",
    [
        ("راكبو الخيل", "راكبون"),
        ("راكبي الخيل", "راكبين"),
        ("متسلقي الصخور", "متسلقين"),
        ("اللاعبان", "لاعبان"),
        ("للاعبين", "لاعبين"),
        ("العداؤون", "عداؤون"),
        ("عدائين", "عدائين"),
        ("متجولون", "متجولون"),
        ("طفلاها", "طفلان"),
    ],
)
def test_every_number_and_case_of_a_noun_is_found_as_what_it_is(text, form):
    hit = find(text, "ar")[0]
    assert hit.form == form and hit.gender == "unmarked" and "+ي" not in hit.clitics


def test_nouns_say_their_number():
    number = {e.form: e.number for e in lexicon("ar")}
    assert {number[form] for form in ("لاعب", "طبيبة", "امرأة", "أب")} == {"singular"}
    assert {number[form] for form in ("لاعبان", "امرأتين", "طفلتان")} == {"dual"}
    assert {number[form] for form in ("أطباء", "لاعبون", "نساء", "رجال", "طبيبات")} == {"plural"}
    assert number["لاعبين"] == "dual plural" and number["يقف"] == number["هو"] == ""
    nouns = [e for e in lexicon("ar") if e.word_class in ("noun", "kinship", "role")]
    assert all(e.number for e in nouns)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("سيدة شابة تضحك", ["female"]),
        ("الرجل العجوز", ["male"]),
        ("جدته العجوز", ["female"]),
        ("رجال مسنون", ["male"]),
        ("امرأة مصورة ولاعبة شابة", ["female", "female"]),
        ("رجل وامرأة", ["male", "female"]),
        ("رجل وامرأة عجوزان", ["male", "female"]),
        ("ابن طبيب", ["male", "unmarked"]),
        ("يقف مسن", ["male"]),
        ("العجوز يضحك", ["neutral"]),
        ("مسنات في الحديقة", ["female"]),
        ("قبعة آسيوية", []),
        ("الرجل طبيب", ["male", "male"]),
    ],
)
def test_one_person_is_counted_once_and_two_are_counted_twice(text, expected):
    assert genders(text, "ar") == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("راجل مع زلمة", ["male", "male"]),
        ("ست تطبخ", ["female"]),
        ("ست قطط", []),
        ("ستات وعيال", ["female", "neutral"]),
        ("مراته وجوزها", ["female", "male"]),
    ],
)
def test_dialects(text, expected):
    assert genders(text, "ar") == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("mans hat, ladys bag, childrens toys", ["male", "female", "neutral"]),
        ("Two womem and a chidl", ["female", "neutral"]),
        ("peopel, childen, persom, feamle", ["neutral", "neutral", "neutral", "female"]),
        ("a feather bothers the patent persona", []),
        ("a woman grooms windows in water at her price", ["female", "female"]),
    ],
)
def test_misspelt_words_are_found_and_words_near_them_are_not(text, expected):
    assert genders(text, "en") == expected


UNSEEN = ("\u00ad", "\u200b", "\u200d", "\u2060", "\ufeff", "\u200e", "\u202b", "\ufe0f")


@given(st.sampled_from(["woman", "policeman", "امرأة", "والرجال", "طبيبتها"]), st.sampled_from(UNSEEN), st.data())
def test_what_is_not_seen_changes_nothing_but_offsets(word, mark, data):
    lang = "en" if word.isascii() else "ar"
    at = data.draw(st.integers(1, len(word) - 1))
    text = f"{mark}{word[:at]}{mark}{word[at:]}{mark} x"
    (hit,), (clean,) = find(text, lang), find(word, lang)
    assert hit[3:] == clean[3:]
    assert text[hit.start : hit.end] == hit.word == word[:at] + mark + word[at:]


@pytest.mark.parametrize(
    "text, lang, word",
    [
        ("ﺍﻣﺮﺃﺓ ﺗﺮﻛﺾ", "ar", "ﺍﻣﺮﺃﺓ"),
        ("ﻻﻋﺒﺔ", "ar", "ﻻﻋﺒﺔ"),
        ("ｗｏｍａｎ", "en", "ｗｏｍａｎ"),
        ("a ﬁreman", "en", "ﬁreman"),
        ("the womanʼs hat", "en", "woman"),
        ("امـــرأة", "ar", "امـــرأة"),
    ],
)
def test_letters_that_only_look_different_are_read(text, lang, word):
    hit = find(text, lang)[0]
    assert hit.word == word == text[hit.start : hit.end]
    assert hit.lemma in unicodedata.normalize("NFKC", word).replace("ـ", "") or hit.lemma == "لاعبة"


def test_lists_of_neighbours_name_each_kind_in_a_language():
    assert {"garment", "category", "costume", "read", "saying"} <= set(heads("ar")) & set(heads("en"))


def test_the_finder_is_at_hand_where_gender_is_studied():
    assert find_from_gender is find


def test_a_reading_is_held_against_what_is_found():
    text = "A man and a woman"
    hits = find(text, "en")
    assert len(readings("en")) == len(readings("ar")) == 500
    man, woman = (Place(h.start, h.end, h.gender) for h in hits)
    assert [what for what, _ in compare([man, woman], hits)] == ["right", "right"]
    assert [what for what, _ in compare([man._replace(gender="unmarked")], hits[:1])] == ["right"]
    assert [what for what, _ in compare([man._replace(gender="female")], hits[:1])] == ["missed", "wrong"]
    assert [what for what, _ in compare([man], [])] == ["missed"]


def test_without_the_published_captions_the_command_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="Flickr8k"):
        captions(tmp_path, "en")
