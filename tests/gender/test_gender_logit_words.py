"""Which tokens of a vocabulary tell a word for a woman from one for a man, whatever way the words are cut."""

from types import SimpleNamespace

import pytest
import torch

from core.gender.logit_words import WordSets, word_sets
from core.words.lexicon import Entry


class Toy:
    """Cuts text into the longest pieces it knows; ``dummy`` puts a blank before any text, as sentencepiece may."""

    def __init__(self, pieces: list[str], dummy: bool = False):
        letters = sorted(
            {c for p in pieces for c in p}
            | set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ. ")
            | set("ابتثجحخدذرزسشصضطظعغفقكلمنهويىءآأإؤئة")
        )
        self.pieces = ["<s>", *pieces, *(c for c in letters if c not in pieces)]
        self.dummy, self.special_ids, self.image_token_id = dummy, frozenset({0}), -1
        self.by_length = sorted(range(1, len(self.pieces)), key=lambda i: -len(self.pieces[i]))

    def tokenizer(self, texts, add_special_tokens=False):
        many = [texts] if isinstance(texts, str) else texts
        rows = [self._cut(f" {t}" if self.dummy and not t.startswith(" ") else t) for t in many]
        return SimpleNamespace(input_ids=rows[0] if isinstance(texts, str) else rows)

    def _cut(self, text: str) -> list[int]:
        ids = []
        while text:
            ids.append(next(i for i in self.by_length if text.startswith(self.pieces[i])))
            text = text[len(self.pieces[ids[-1]]) :]
        return ids

    def token_strings(self, ids):
        return [self.pieces[i] for i in ids]


def entry(form: str, gender: str, word_class: str = "noun", lemma: str = "", only: tuple[str, ...] = ()) -> Entry:
    return Entry(lemma or form, form, gender, word_class, only)


def said(toy: Toy, sets: WordSets) -> tuple[set[str], set[str]]:
    return tuple({toy.pieces[i] for i in ids.tolist()} for ids in (sets.female, sets.male))


PAIR = [
    entry("woman", "female"),
    entry("man", "male"),
    entry("she", "female", "pronoun"),
    entry("he", "male", "pronoun"),
]


@pytest.mark.parametrize("dummy", [False, True])
def test_words_count_inside_a_sentence_and_at_its_start(dummy):
    toy = Toy([" woman", " man", " she", " he", "Woman", " Woman", " He", "He"], dummy)
    female, male = said(toy, word_sets(toy, "en", entries=PAIR))
    assert female == {" woman", " she", " Woman", *(() if dummy else ("Woman",))}
    assert male == {" man", " he", " He", *(() if dummy else ("He",))}


def test_a_token_that_begins_words_of_both_genders_is_left_out_and_listed():
    toy = Toy([" wait", " king", " queen"])
    words = [
        entry("waiter", "male", "role"),
        entry("waitress", "female", "role"),
        entry("king", "male"),
        entry("queen", "female"),
    ]
    sets = word_sets(toy, "en", entries=words)
    assert said(toy, sets) == ({" queen"}, {" king"})
    assert {row.form for row in sets.left_out} == {"waiter", "waitress"}


def test_the_masculine_is_no_evidence_where_the_feminine_is_the_same_token_and_an_ending():
    words = [entry("طبيب", "male", "role"), entry("طبيبة", "female", "role")]
    cut = Toy([" طبيب", "طبيب", "ة"])
    assert said(cut, word_sets(cut, "ar", entries=words)) == (set(), set())
    whole = Toy([" طبيب", "طبيب", " طبيبة", "طبيبة"])
    assert said(whole, word_sets(whole, "ar", entries=words)) == ({" طبيبة", "طبيبة"}, {" طبيب", "طبيب"})


def test_duals_and_plurals_of_the_other_gender_do_not_take_a_basic_form_away():
    toy = Toy([" طبيب", "طبيب", " طبيبة", "طبيبة"])
    words = [
        entry("طبيب", "male", "role", "طبيب"),
        entry("طبيبة", "female", "role", "طبيب"),
        entry("طبيبتان", "female", "role", "طبيب"),
    ]
    assert " طبيب" in said(toy, word_sets(toy, "ar", entries=words))[1]


def test_the_article_is_taken_off_and_the_word_behind_it_counts():
    toy = Toy([" ال", "رجل", " رجل", "امرأة", " امرأة"])
    sets = word_sets(toy, "ar", entries=[entry("رجل", "male"), entry("امرأة", "female")])
    assert said(toy, sets) == ({"امرأة", " امرأة"}, {"رجل", " رجل"})
    ids = toy.tokenizer(" الرجل").input_ids
    assert sets.place(ids, 0, len(ids)) == 1


def test_a_fragment_that_may_begin_any_word_is_left_out():
    toy = Toy([" h", " house", " wit"])
    words = [entry("housewife", "female"), entry("witch", "female"), entry("husband", "male")]
    sets = word_sets(toy, "en", entries=words)
    assert said(toy, sets) == (set(), set()) and len(sets.left_out) == 3


def test_neutral_words_and_other_classes_count_against_but_are_not_counted():
    toy = Toy([" parent", " cousin", " يقف", " تقف"])
    words = [entry("parent", "neutral", "kinship"), entry("parent", "male", "kinship")]
    assert said(toy, word_sets(toy, "en", entries=words)) == (set(), set())
    verbs = [entry("يقف", "male", "agreement"), entry("تقف", "female", "agreement")]
    assert said(toy, word_sets(toy, "ar", entries=verbs)) == (set(), set())
    assert said(toy, word_sets(toy, "ar", ("agreement",), verbs)) == ({" تقف"}, {" يقف"})


def test_the_difference_is_the_log_odds_of_the_sets_and_nan_without_one():
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    sets = WordSets("en", torch.tensor([1, 2]), torch.tensor([3]))
    expected = torch.logsumexp(logits[0, 1:3], 0) - 3
    assert sets.difference(logits).item() == pytest.approx(expected.item())
    none = torch.tensor([], dtype=torch.int64)
    assert torch.isnan(WordSets("en", none, torch.tensor([3])).difference(logits)).all()


@pytest.mark.parametrize(("lang", "some"), [("en", {" woman", " her"}), ("ar", {"امرأة", " طبيبة"})])
def test_the_demo_captioner_has_words_for_both_in_both_languages(lang, some):
    from core.vlm import load_vlm

    vlm = load_vlm("data/demo-captioner")
    sets = word_sets(vlm, lang)
    female = set(vlm.token_strings(sets.female.tolist()))
    assert some <= female and len(sets.male) > 5
    assert not set(sets.female.tolist()) & set(sets.male.tolist())
