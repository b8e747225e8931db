"""Probes find a planted gender at the layer where it was put, and nothing where there is nothing."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from core.layers import TransformerProbeAnalyzer
from tests.layers.layers_toys import QUICK, auc_row, images, residuals


def test_a_planted_gender_is_read_at_its_layer_and_not_before():
    female, kind = images(200)
    analyzer = TransformerProbeAnalyzer(female, kind=kind, config=QUICK)
    by_layer = [auc_row(analyzer.analyze({"en": residuals(female, s, seed=7)})) for s in (0, 0, 12)]
    assert [row["value"] > 0.99 for row in by_layer] == [False, False, True]
    assert by_layer[2]["low"] > 0.97 and by_layer[2]["selectivity_low"] > 0.3 and by_layer[2]["p"] < 1e-6
    assert by_layer[0]["low"] < 0.5 and by_layer[1]["low"] < 0.5


def test_where_nothing_is_planted_chance_stays_within_most_intervals():
    inside = []
    for seed in range(12):
        female, kind = images(80, seed=seed)
        row = auc_row(
            TransformerProbeAnalyzer(female, kind=kind, config=QUICK, seed=seed).analyze(
                {"en": residuals(female, 0, seed=seed)}
            )
        )
        inside.append(row["p"] > 0.05)
    assert np.mean(inside) >= 0.8


def test_what_can_be_learned_by_heart_the_control_learns_too():
    female, kind = images(200, n_types=12)
    types = np.eye(12, dtype=np.float32)[kind]  # a layer that knows the type of image, and no gender
    row = auc_row(TransformerProbeAnalyzer(female, kind=kind, config=QUICK).analyze({"en": types}))
    assert row["control"] > 0.95 and row["selectivity_high"] < 0


def test_a_doubled_image_never_stands_on_both_sides():
    female, _ = images(60)
    once = residuals(female, 0, d_model=200)
    twice, doubled = np.vstack([once, once]), np.concatenate([female, female])
    row = auc_row(TransformerProbeAnalyzer(doubled, np.tile(np.arange(60), 2), config=QUICK).analyze({"en": twice}))
    leaked = auc_row(TransformerProbeAnalyzer(doubled, config=QUICK).analyze({"en": twice}))
    assert row["value"] < 0.75 < leaked["value"]


def test_a_shared_direction_transfers_and_an_offset_between_languages_does_not_matter():
    female, _ = images(160)
    en = residuals(female, 8, seed=1)
    turned = residuals(female, 8, seed=2)  # gender along another direction
    analyzer = TransformerProbeAnalyzer(female, config=QUICK)
    noise = np.random.default_rng(3).standard_normal(en.shape).astype(np.float32)
    same = analyzer.analyze({"en": en, "ar": en + 0.1 * noise + 50})
    assert auc_row(same, "ar", "en")["value"] > 0.98
    assert auc_row(same, "ar", "en", "balanced_accuracy")["value"] > 0.95
    other = analyzer.analyze({"en": en, "ar": turned})
    assert auc_row(other, "ar")["value"] > 0.98 and auc_row(other, "ar", "en")["value"] < 0.8


def test_equal_residuals_are_measured_once_and_have_nothing_to_transfer():
    female, _ = images(80)
    x = residuals(female, 3)
    rows = TransformerProbeAnalyzer(female, config=QUICK).analyze({"en": x, "ar": x})
    assert all(row["shared"] and row["lang"] == row["trained_on"] for row in rows) and len(rows) == 6
    assert auc_row(rows, "en")["value"] == auc_row(rows, "ar")["value"]


def test_the_majority_is_the_chance_of_accuracy():
    female = np.arange(100) < 30
    rows = TransformerProbeAnalyzer(female, config=QUICK).analyze({"en": residuals(female, 0)})
    assert auc_row(rows, measure="accuracy")["chance"] == 0.7 and auc_row(rows)["chance"] == 0.5


@pytest.mark.parametrize(("n_female", "n_male"), [(19, 60), (60, 0)])
def test_too_few_images_of_a_gender_give_a_reason_and_no_number(n_female, n_male):
    female = np.arange(n_female + n_male) < n_female
    row = auc_row(TransformerProbeAnalyzer(female, config=QUICK).analyze({"en": residuals(female, 9)}))
    assert np.isnan(row["value"]) and np.isnan(row["p"]) and "at least 20 are needed" in row["why"]


def test_a_language_without_captions_takes_nothing_from_the_other():
    female, _ = images(80)
    x = residuals(female, 9)
    rows = TransformerProbeAnalyzer(female, config=QUICK).analyze({"en": x, "ar": np.full_like(x, np.nan)})
    assert auc_row(rows, "en")["value"] > 0.9 and auc_row(rows, "ar")["why"] and auc_row(rows, "ar", "en")["why"]


def test_the_number_of_threads_changes_no_digit():
    female, kind = images(120)
    found = []
    for n in (1, 2):
        with threadpool_limits(n):
            analyzer = TransformerProbeAnalyzer(female, kind=kind, config=QUICK)
            found.append(analyzer.analyze({"en": residuals(female, 1), "ar": residuals(female, 1, seed=1)}))
    assert str(found[0]) == str(found[1])  # NaN is not equal to itself
