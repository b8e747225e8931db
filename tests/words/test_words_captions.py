"""What gender a caption names and an image has: persons decide, agreement does not, and a tie is no answer."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.words import caption_gender, find, image_gender
from core.words.captions import NAMED


@pytest.mark.parametrize(
    "text, lang, expected",
    [
        ("A man and his dog", "en", "male"),
        ("She is here", "en", "female"),
        ("A man and a woman", "en", "both"),
        ("A person with a dog", "en", "neutral"),
        ("The person is a woman", "en", "female"),
        ("A dog", "en", "none"),
        ("", "en", "none"),
        ("طبيبها", "ar", "unmarked"),
        ("رجل وامرأة", "ar", "both"),
        ("طفل يلعب", "ar", "unmarked"),
        ("شخص يقف", "ar", "neutral"),
        ("تقف سيارة", "ar", "none"),
        ("طاولة عليها كتب", "ar", "none"),
        ("هذه صورة لرجل", "ar", "male"),
        ("هي في الحديقة", "ar", "female"),
    ],
)
def test_a_caption_names_the_gender_of_its_persons(text, lang, expected):
    assert caption_gender(find(text, lang)) == expected


def test_an_annotation_wins_over_all_references():
    found = image_gender("female", ["male"] * 9, 0.6)
    assert (found.gender, found.source, found.share, found.n_references) == ("female", "annotation", 1.0, 9)
    with pytest.raises(ValueError, match="manly"):
        image_gender("manly", [], 0.6)


@pytest.mark.parametrize(
    "references, expected, share, why",
    [
        (["male"] * 5, "male", 1, "agreement"),
        (["male"] * 3 + ["female"] * 2, "male", 0.6, "agreement"),
        (["male"] * 4 + ["female"] * 3, "unknown", 4 / 7, "conflict"),
        (["male", "female"], "unknown", 0.5, "tie"),
        (["both"] * 3, "unknown", 0, "tie"),
        (["female", "both"], "unknown", 0.5, "conflict"),
        (["male", "male", "both", "both"], "unknown", 0.5, "conflict"),
        (["female"] + ["neutral"] * 4, "female", 1, "agreement"),
        (["neutral", "none"], "neutral", None, "neutral words"),
        (["unmarked", "none"], "neutral", None, "neutral words"),
        (["female"] + ["unmarked"] * 4, "female", 1, "agreement"),
        (["none"] * 3, "unknown", None, "no person"),
        ([], "unknown", None, "no reference"),
    ],
)
def test_references_decide_where_they_agree(references, expected, share, why):
    found = image_gender("", references, 0.6)
    assert (found.gender, found.why, found.n_references) == (expected, why, len(references))
    assert math.isnan(found.share) if share is None else found.share == pytest.approx(share)
    assert found.source == ("references" if expected != "unknown" else "")


@given(st.lists(st.sampled_from(NAMED), max_size=12), st.floats(0.5, 1), st.randoms())
def test_order_does_not_matter_and_genders_are_treated_alike(references, consensus, rng):
    found = image_gender("", references, consensus)
    shuffled = rng.sample(references, len(references))
    assert repr(image_gender("", shuffled, consensus)) == repr(found)
    swap = {"male": "female", "female": "male"}
    other = image_gender("", [swap.get(r, r) for r in references], consensus)
    assert other.gender == swap.get(found.gender, found.gender) and repr(other.share) == repr(found.share)
    if found.gender in swap:
        assert found.share >= consensus and found.share > 0.5
