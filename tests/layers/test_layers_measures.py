"""AUC and accuracies of held-out scores for many weightings, and the first layer at which gender leaves its control."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from core.config import LayersConfig
from core.intervals import auc_interval, auc_variance
from core.layers import TransformerProbeAnalyzer
from core.layers.measures import accuracies, auc, emergence, simultaneous, with_q
from tests.layers.layers_toys import QUICK, images, residuals


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


def probes(strengths: dict[int, float], female: np.ndarray, seed: int = 0) -> list[dict]:
    analyzer = TransformerProbeAnalyzer(female, config=QUICK, seed=seed)
    return [
        {"layer": layer, "view": "before", **row}
        for layer, s in strengths.items()
        for row in analyzer.analyze({"en": residuals(female, s, seed=100 * seed + layer)})
    ]


def first(rows: list[dict]) -> dict:
    with_q(rows, [])
    (found,) = emergence(rows, [])
    return found


def test_the_first_layer_is_where_it_was_planted():
    female, _ = images(160)
    found = first(probes({1: 0, 3: 0, 5: 6, 7: 8}, female))
    assert (found["layer"], found["is_lowest"], found["n_after"], found["n_later"]) == (5, False, 1, 1)
    assert found["low"] > found["baseline"] >= 0.5 and found["n_images"] == 160


def test_what_is_there_at_once_may_have_been_there_before():
    female, _ = images(160)
    assert first(probes({1: 8, 3: 8}, female))["is_lowest"]


def test_shuffled_labels_emerge_in_at_most_one_of_twenty_runs():
    found, quick = 0, LayersConfig(n_folds=3, n_bootstrap=100, n_controls=2)
    for seed in range(20):
        female, _ = images(80, seed=seed)
        x = {layer: residuals(female, 6, d_model=8, seed=layer) for layer in (1, 3)}
        shuffled = np.random.default_rng(seed).permutation(female)
        analyzer = TransformerProbeAnalyzer(shuffled, config=quick, seed=seed)
        rows = [{"layer": n, "view": "image", **row} for n, v in x.items() for row in analyzer.analyze({"en": v})]
        found += first(rows)["layer"] >= 0
    assert found <= 1


def test_too_few_images_give_a_reason_and_no_layer():
    found = first(probes({1: 9, 3: 9}, np.arange(30) < 8))
    assert found["layer"] == -1 and "8 images of women" in found["why"]


@pytest.mark.parametrize(
    ("low", "q", "by_pairs", "layer"),
    [(0.7, 0.01, 0.5, 2), (0.55, 0.01, 0.5, -1), (0.7, 0.2, 0.5, -1), (0.7, 0.01, 0.75, -1)],
)
def test_the_lens_must_beat_other_words_the_choice_of_words_and_the_number_of_tests(low, q, by_pairs, layer):
    row = {
        "layer": 2,
        "position": "word",
        "lang": "ar",
        "auc": 0.8,
        "low": low,
        "high": 0.9,
        "p": q,
        "q": q,
        "random_high": 0.6,
        "shuffled_high": by_pairs,
        "n_female": 30,
        "n_male": 30,
        "why": "",
    }
    (found,) = emergence([], [row])
    assert (found["method"], found["layer"]) == ("lens", layer)


def told_layers(rng: np.random.Generator, n: int, truth: list[float], languages: tuple[str, ...] = ("en",)) -> list:
    """Emergence of layers of these AUCs, whose scores share half of the images' accidents, by language."""
    rows = [row for lang in languages for row in rows_of(rng, n, truth, lang)]
    with_q(rows, [])
    return emergence(rows, [])


def rows_of(rng: np.random.Generator, n: int, truth: list[float], lang: str) -> list[dict]:
    female, rows = np.arange(2 * n) < n, []
    common = rng.standard_normal(2 * n)
    for layer, one in enumerate(truth):
        score = np.sqrt(0.5) * (common + rng.standard_normal(2 * n)) + np.sqrt(2) * norm.ppf(one) * female
        value = float(auc(score, female, np.zeros(2 * n, int), np.ones((1, 2 * n)))[0])
        low, high = (float(end) for end in auc_interval(value, n, n))
        names = {"measure": "auc", "lang": lang, "trained_on": lang, "view": "before", "layer": layer, "why": ""}
        p = float(2 * norm.sf(abs(value - 0.5) / np.sqrt(auc_variance(0.5, n, n))))
        numbers = {"value": value, "low": low, "high": high, "control": 0.5, "p": p}
        rows.append({**names, **numbers, "n_female": n, "n_male": n})
    return rows


def test_a_layer_before_the_first_true_one_is_named_in_at_most_one_of_twenty_runs():
    """Seven layers of two languages that know nothing, and a last one: by q alone one of the seven is named in 7 %."""
    rng, early, last = np.random.default_rng(5), 0, 0
    for _ in range(400):
        layers = [one["layer"] for one in told_layers(rng, 40, [0.5] * 7 + [0.95], ("en", "ar"))]
        early += min(layers) in range(7)
        last += layers == [7, 7]
    assert early <= 0.05 * 400 + 10 and last > 0.93 * 400, (early, last)


def test_the_first_layer_is_given_with_the_layers_among_which_it_lies():
    """The first at which the AUC truly is 0.05 beyond the control; the named one alone is right in under .7."""
    rng, truth = np.random.default_rng(0), [0.5, 0.52, 0.54, 0.58, 0.66, 0.8, 0.9]
    found = [told_layers(rng, 100, truth)[0] for _ in range(150)]
    inside = np.mean([one["earliest"] <= 3 <= one["latest"] for one in found])
    assert inside > 0.93 and np.mean([one["layer"] == 3 for one in found]) < 0.7
    assert max(one["latest"] for one in found) <= 5
    sharp = [told_layers(rng, 200, [0.5, 0.5, 0.95, 0.95])[0] for _ in range(5)]
    assert all(one["latest"] == 2 for one in sharp)
    assert told_layers(rng, 100, [0.5, 0.5])[0]["latest"] == -1


def test_the_interval_of_the_named_layer_holds_for_all_of_them():
    row = {"n_female": 30, "n_male": 40}
    for value in (0.5, 0.8, 0.97, 1.0):
        row["low"], row["high"] = (float(end) for end in auc_interval(value, 30, 40, 1.3))
        expected = auc_interval(value, 30, 40, 1.3, 1 - 0.05 / 12)
        assert simultaneous(row, value, 12) == pytest.approx([float(end) for end in expected], abs=1e-4)
