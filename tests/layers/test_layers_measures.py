"""AUC and accuracies of held-out scores, for many weightings at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from core.layers.measures import accuracies, auc


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_with_one_fold_it_is_the_area_under_the_roc_curve_also_when_images_are_drawn_twice(seed, ties):
    rng = np.random.default_rng(seed)
    score, female = rng.standard_normal(30), np.arange(30) % 3 == 0
    score = score.round(0) if ties else score
    weights = np.vstack([np.ones(30), rng.integers(0, 3, 30) + (np.arange(30) < 4)])
    found = auc(score, female, np.zeros(30, int), weights)
    expected = [roc_auc_score(female, score, sample_weight=w) for w in weights]
    assert found == pytest.approx(expected)


def test_pairs_of_different_folds_do_not_count():
    score, female = np.array([0.0, 1.0, 10.0, 11.0]), np.array([True, False, True, False])
    assert auc(score, female, np.array([0, 0, 1, 1]), np.ones((1, 4)))[0] == 0
    assert auc(score, female, np.zeros(4, int), np.ones((1, 4)))[0] == 0.25


def test_a_draw_without_men_says_nothing():
    score, female = np.arange(4.0), np.array([True, True, False, False])
    assert np.isnan(auc(score, female, np.zeros(4, int), np.array([[1, 1, 0, 0.0]])))[0]


def test_accuracies_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    score, female = rng.standard_normal(40), np.arange(40) < 12
    balanced, plain = accuracies(score, female, np.ones((1, 40)))
    assert balanced[0] == pytest.approx(balanced_accuracy_score(female, score > 0))
    assert plain[0] == pytest.approx(np.mean((score > 0) == female))
