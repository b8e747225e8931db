"""The word comparison calls a change what it is, in both scripts, and marks whole words of the original text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.figures.caption_diff import KINDS, by_class, caption_difference

GENDER = {"person": "neutral", "they": "neutral"} | {
    "man": "male",
    "woman": "female",
    "he": "male",
    "she": "female",
    "رجل": "male",
    "امرأة": "female",
    "طالب": "unmarked",
    "طالبة": "female",
}


def gendered(text: str) -> list[tuple[int, int, str, str]]:
    found, start = [], 0
    for word in text.replace(".", " ").replace(",", " ").split(" "):
        if word.lower() in GENDER:
            word_class = "pronoun" if word.lower() in ("he", "she", "they") else "noun"
            found.append((start, start + len(word), GENDER[word.lower()], word_class))
        start += len(word) + 1
    return found


def marked(text: str, changes) -> list[tuple[str, str]]:
    return [(text[c.start : c.end], c.kind) for c in changes]


def test_a_gender_flip_is_told_from_another_replacement() -> None:
    before, after = "A man holds a book.", "A woman holds a guitar."
    diff = caption_difference(before, after, gendered)
    assert marked(before, diff.before) == [("man", "flipped"), ("book", "removed")]
    assert marked(after, diff.after) == [("woman", "flipped"), ("guitar", "added")]
    assert (diff.n_words, diff.flipped, diff.broken) == (5, True, False)


def test_arabic_words_are_whole_words() -> None:
    before, after = "رجل يحمل كتابًا", "امرأة تحمل كتابًا"
    diff = caption_difference(before, after, gendered)
    assert marked(before, diff.before) == [("رجل", "flipped"), ("يحمل", "removed")]
    assert marked(after, diff.after) == [("امرأة", "flipped"), ("تحمل", "added")]


def test_a_flip_is_found_where_the_sentence_is_built_anew() -> None:
    before, after = "red here a woman stands", "a man is in the picture and it is red"
    diff = caption_difference(before, after, gendered)
    assert ("woman", "flipped") in marked(before, diff.before) and ("man", "flipped") in marked(after, diff.after)


def test_a_caption_that_only_got_shorter_is_not_a_flip() -> None:
    diff = caption_difference("A man who is a doctor", "A doctor", gendered)
    assert not diff.flipped
    assert {c.kind for c in diff.before} == {"removed"}


def test_words_not_reached_yet_are_not_removed() -> None:
    before = "A man holds a book."
    assert caption_difference(before, "A man", gendered, finished=False).before == ()
    assert not caption_difference(before, "", gendered, finished=False).changed
    assert len(caption_difference(before, "A man", gendered).before) == 3
    early = caption_difference(before, "A woman", gendered, finished=False)
    assert marked(before, early.before) == [("man", "flipped")]


def test_one_word_over_and_over_is_broken() -> None:
    assert caption_difference("A man", "A " + "woman " * 30, gendered).broken
    calm = "A woman is here. She has a book and the background is red."
    assert not caption_difference("A man", calm, gendered).broken


def test_a_person_without_gender_in_its_place_is_neutralised_and_not_flipped() -> None:
    before, after = "A man holds a book, he reads.", "A person holds a book, they read."
    diff = caption_difference(before, after, gendered)
    assert (diff.flipped, diff.neutralised) == (False, True)
    assert marked(before, diff.before) == [("man", "neutralised"), ("he", "neutralised"), ("reads", "removed")]
    assert marked(after, diff.after) == [("person", "neutralised"), ("they", "neutralised"), ("read", "added")]
    flip = caption_difference("A man here", "A woman here", gendered)
    assert flip.flipped and not flip.neutralised


def test_a_generic_masculine_that_becomes_a_word_for_a_woman_turns_and_the_other_way_the_gender_goes() -> None:
    pairs = (("طالب هنا", "طالبة هنا"), ("طالبة هنا", "طالب هنا"))
    there, back = (caption_difference(*pair, gendered) for pair in pairs)
    assert there.flipped and not there.neutralised and back.neutralised and not back.flipped
    assert not caption_difference("طالب هنا", "رجل هنا", gendered).flipped


def test_changed_gendered_words_are_told_by_class() -> None:
    before, after = "A man and he sits.", "A woman sits."
    diff = caption_difference(before, after, gendered)
    assert by_class(before, after, diff) == {
        "noun": {"flipped": (["man"], ["woman"])},
        "pronoun": {"flipped": (["he"], [])},
    }
    new = caption_difference("A book.", "A book, she reads.", gendered)
    assert by_class("A book.", "A book, she reads.", new) == {"pronoun": {"added": ([], ["she"])}}
    assert by_class(before, before, caption_difference(before, before, gendered)) == {}
    gone = caption_difference("A book, she reads.", "A book.", gendered)
    assert {c.gender for c in gone.before if c.kind == "removed"} == {"female", ""}
    assert {c.kind for c in (*diff.before, *diff.after, *gone.before)} <= set(KINDS)


@given(st.text(alphabet="ab رجل.", max_size=40), st.text(alphabet="ab رجل.", max_size=40))
def test_changes_lie_in_their_texts_and_equal_texts_have_none(one: str, two: str) -> None:
    diff = caption_difference(one, two, gendered)
    for text, changes in ((one, diff.before), (two, diff.after)):
        assert all(0 <= c.start < c.end <= len(text) and not text[c.start : c.end].isspace() for c in changes)
    assert not caption_difference(one, one, gendered).changed
