"""A search finds what was meant: the best first, in either language, and says why."""

import numpy as np
import pandas as pd
import pytest

from core.run.reader.search import Asked, SearchQueries, fit, fold, shorter

DOCTOR, TABIB = 1, 2


@pytest.fixture
def searched(monkeypatch):
    """Three layers' features over 20 images: in 8 English says doctor and Arabic طبيب, in the others cook and طباخ."""
    features = pd.DataFrame(
        [
            (1, DOCTOR, [" doctor", " on"], [4.0, 1.0], [" doctor"], [2.0], True),
            (1, TABIB, [" طبيب", " على"], [5.0, 1.0], [" على"], [2.0], True),
            (1, 3, [" on", " doctor"], [4.0, 1.0], [" on", " doctors"], [2.0, 1.0], True),
            (2, 4, [" doctor"], [9.0], [" doctor"], [9.0], False),
            (2, 5, [" cook"], [9.0], [" cook"], [9.0], True),
        ],
        columns=[
            "layer",
            "feature",
            "top_tokens",
            "top_token_values",
            "logits_up_tokens",
            "logits_up",
            "alive",
        ],
    )
    labels = pd.DataFrame(
        [
            (2, 5, "en", "role: cook", 0.9),
            (1, DOCTOR, "en", "role: doctor", 0.95),
            (2, 4, "en", "role: doctor", 1.0),
        ],
        columns=["layer", "feature", "lang", "label", "auc_test"],
    )
    texts = [
        (i, lang, f"{start} {word}")
        for i in range(20)
        for lang, start, words in (("en", "A", ("doctor", "cook")), ("ar", "هذا", ("طَبيب", "طباخ")))
        for word in [words[i >= 8]]
    ]
    captions = pd.DataFrame(texts, columns=["sample_id", "lang", "text"])
    return made(monkeypatch, features=features, labels=labels, captions=captions)


def made(monkeypatch, **tables):
    """A reader of these tables in memory."""
    import duckdb

    con = duckdb.connect()
    for name, rows in tables.items():
        con.register("rows", rows)
        con.execute(f'CREATE TABLE "{name}" AS SELECT * FROM rows')
    cat = SearchQueries.__new__(SearchQueries)
    cat.__dict__["languages"] = ("en", "ar")
    monkeypatch.setattr(SearchQueries, "has", lambda self, name: name in tables)
    monkeypatch.setattr(SearchQueries, "columns", lambda self, name: list(tables[name]))
    cat._con = con
    return cat


def keys(found):
    return list(zip(found["layer"].tolist(), found["feature"].tolist(), strict=True))


def test_what_is_labelled_and_answers_stands_before_what_only_pushes(searched):
    found = searched.search("doctor")
    assert keys(found) == [(1, DOCTOR), (1, TABIB), (1, 3)]
    assert "label role: doctor" in found["why"][0] and "answers to doctor (1st)" in found["why"][0]


def test_dead_features_are_not_found(searched):
    assert (2, 4) not in keys(searched.search("doctor"))


def test_the_other_language_is_found_by_the_images_that_share_the_word(searched):
    assert searched.translations("doctor") == {"طبيب": pytest.approx(1)}
    assert set(keys(searched.search("طَبِيب"))) == set(keys(searched.search("doctor")))
    assert keys(searched.search("طبيب"))[0] == (1, DOCTOR)  # its label says it, with AUC .95


def test_words_that_stand_apart_are_no_translation(searched):
    assert "طباخ" not in searched.translations("doctor")
    assert searched.translations("a") == searched.translations(fold("هذا")) == {}  # in all captions alike


def test_longer_forms_find_the_shorter(searched):
    assert keys(searched.search("doctors")) == keys(searched.search("doctor"))
    assert set(keys(searched.search("الطبيبة"))) == set(keys(searched.search("طبيب")))


def test_one_layer_alone_and_a_limit(searched):
    assert keys(searched.search("cook", 1)) == []
    assert keys(searched.search("cook", 2)) == [(2, 5)]
    assert len(searched.search("doctor", limit=2)) == 2


@pytest.mark.parametrize("query", ["", "   ", "%", "'; DROP TABLE features; --", "\u202e", "x" * 10_000, "_"])
def test_what_is_no_word_finds_nothing_and_breaks_nothing(searched, query):
    assert searched.search(query).empty
    assert len(searched.search("doctor")) == 3


@pytest.mark.parametrize(
    ("text", "word", "value"),
    [("role: doctor", "doctor", 1.0), ("doctors", "doctor", 0.7), ("underdoctored", "doctor", 0.3), ("cook", "x", 0)],
)
def test_a_whole_word_fits_better_than_a_beginning_and_that_than_a_part(text, word, value):
    assert fit(text, [Asked(word, 1.0)]) == pytest.approx(value)
    assert fit(text, [Asked(word, 0.5)]) == pytest.approx(value / 2)


def test_letters_are_compared_without_vowel_signs_case_and_hamza():
    assert fold("فَرَاشَة") == fold("فراشة") and fold("Éléphant") == "elephant" and fold("أحمر") == fold("احمر")


def test_shorter_forms_keep_three_letters():
    assert "طبيب" in shorter(fold("الطبيبة")) and shorter("as") == [] and "cook" in shorter("cooks")
    assert all(len(form) >= 3 for word in ("ابن", "اسم", "الام", "buses") for form in shorter(word))


def test_ties_are_settled_by_layer_and_number(monkeypatch):
    rows = [(layer, f, ["cat"], [1.0], ["x"], [1.0], True) for layer in (2, 1) for f in (9, 4)]
    names = ["layer", "feature", "top_tokens", "top_token_values", "logits_up_tokens", "logits_up", "alive"]
    found = made(monkeypatch, features=pd.DataFrame(rows, columns=names)).search("cat")
    assert keys(found) == [(1, 4), (1, 9), (2, 4), (2, 9)] and np.allclose(found["score"], 2.0)
