"""Labels: the planted word is found in its language and holds on other images; noise gets no name."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_array
from sklearn.metrics import roc_auc_score

from core.features.labels import (
    MIN_FIRES,
    RARE,
    UNPREDICTED,
    attributes_of,
    candidates,
    choose,
    label_rows,
    score,
    words_of,
)

N = 400
WORDS = {"en": ["dog", "cat", "hat", "bus"], "ar": ["كلب", "قطة", "قبعة", "حافلة"]}
ROLES = ["nurse", "cook", "pilot"]


@pytest.fixture(scope="module")
def world():
    """Captions of one of four things in both languages, images of one of three roles, two thirds for training."""
    rng = np.random.default_rng(0)
    thing, role = rng.integers(0, 4, N), rng.integers(0, 3, N)
    is_train = rng.permutation(N) % 3 > 0
    attributes = {s: [f"role: {ROLES[role[s]]}"] for s in range(N)}
    texts = {lang: {s: f"x {WORDS[lang][thing[s]]}" for s in range(N)} for lang in WORDS}
    return thing, role, [candidates(lang, texts[lang], attributes, is_train) for lang in ("ar", "en")]


def codes_of(fires):
    """Codes by caption in one view from firing by image (n_images, n_features), the same in both languages."""
    return {"caption": csc_array(np.repeat(np.asarray(fires, np.float32), 2, axis=0))}


def test_each_feature_gets_the_name_of_what_fires_it_in_both_languages(world):
    thing, role, (arabic, english) = world
    fires = np.stack([thing == 1, role == 2, thing == 3], 1)
    rows = label_rows(codes_of(fires), english, 0.75)
    assert [r["label"] for r in rows] == ["cat", "role: pilot", "bus"]
    assert [r["kind"] for r in rows] == ["word", "attribute", "word"]
    assert all((r["auc_train"], r["auc_test"]) == pytest.approx((1, 1)) and not r["why"] for r in rows)
    assert all(0.9 < r["auc_low_test"] < 1 for r in rows)
    assert [r["label"] for r in label_rows(codes_of(fires), arabic, 0.75)] == ["قطة", "role: pilot", "حافلة"]


def test_noise_gets_no_label_although_the_best_of_many_is_chosen(world):
    """Two hundred made-up words: the best looks good on training images and is at chance on the others."""
    rng = np.random.default_rng(1)
    texts = {
        s: " ".join(f"{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in np.flatnonzero(rng.random(200) < 0.1))
        for s in range(N)
    }
    there = candidates("en", texts, {}, world[2][0].is_train)
    rows = label_rows(codes_of(rng.random((N, 80)) < 0.2), there, 0.75)
    assert len(there.names) == 200 and not any(r["label"] for r in rows)
    assert {r["why"] for r in rows} == {UNPREDICTED} and all(r["candidate"] for r in rows)
    assert np.mean([r["auc_train"] for r in rows]) > 0.55
    assert np.mean([r["auc_test"] for r in rows]) == pytest.approx(0.5, abs=0.02)
    inside = [r["auc_low_test"] < 0.5 < r["auc_high_test"] for r in rows]
    assert np.mean(inside) > 0.9


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_the_choice_and_its_score_are_those_of_a_dense_computation(world, seed):
    rng, there = np.random.default_rng(seed), world[2][1]
    fires = rng.random((N, 6)) < rng.uniform(0, 1, 6)
    sparse = csc_array(fires.astype(np.float32))
    choice = choose(sparse, there)
    held_out = score(sparse, there, choice.candidate)
    present, train = there.present.toarray(), there.is_train
    for f in range(6):
        n_fires, n_held_out = fires[train, f].sum(), fires[~train, f].sum()
        if not MIN_FIRES <= n_fires <= train.sum() - MIN_FIRES:
            assert choice.candidate[f] == -1 and np.isnan(held_out.auc[f])
            continue
        aucs = [roc_auc_score(fires[train, f], present[train, c]) for c in range(len(there.names))]
        assert choice.auc[f] == pytest.approx(max(aucs))
        best = choice.candidate[f]
        assert aucs[best] == pytest.approx(max(aucs))
        if MIN_FIRES <= n_held_out <= (~train).sum() - MIN_FIRES:
            assert held_out.auc[f] == pytest.approx(roc_auc_score(fires[~train, f], present[~train, best]))
            assert held_out.low[f] <= held_out.auc[f] <= held_out.high[f]


def test_what_fires_always_or_hardly_ever_is_not_named(world):
    fires = np.ones((N, 2), bool)
    fires[:, 1] = np.arange(N) < 3
    rows = label_rows(codes_of(fires), world[2][1], 0.75)
    assert all(r["why"] == RARE and r["label"] == r["candidate"] == "" and r["auc_test"] is None for r in rows)


def test_the_view_in_which_firing_is_best_predicted_is_chosen(world):
    _, role, (_, english) = world
    noise = np.random.default_rng(2).random((N, 1)) < 0.3
    codes = {"caption": codes_of(noise)["caption"], "image": codes_of(role[:, None] == 1)["caption"]}
    (row,) = label_rows(codes, english, 0.75)
    assert (row["label"], row["view"]) == ("role: cook", "image")


def test_a_language_without_captions_and_no_candidates_give_no_label(world):
    nothing = candidates("ar", dict.fromkeys(range(N), ""), {}, world[2][0].is_train)
    (row,) = label_rows(codes_of(np.arange(N)[:, None] % 2), nothing, 0.75)
    assert row["label"] == "" and row["n_candidates"] == 0 and row["why"]


def test_words_are_whole_and_the_same_word_in_any_dress():
    assert words_of("A Man's mother-in-law, 3 cats!") == ["a", "man's", "mother-in-law", "cats"]
    assert words_of("اِمْرَأَة جميـلة.") == ["امرأة", "جميلة"]


def test_only_what_is_to_be_seen_is_an_annotation():
    text = '{"role": "cook", "tone": 2, "p_male": 0.3, "held_out": true, "note": ""}'
    assert attributes_of(text, "female") == ["role: cook", "tone: 2", "gender: female"]
    assert attributes_of("", "unknown") == []
