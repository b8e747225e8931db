"""Features and gender: the statistics against dense ones, chance where nothing is there, all where all is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_array
from scipy.stats import kstest, mannwhitneyu

from core.config import GenderConfig
from core.gender.effects import (
    Images,
    _delong_variance,
    auc_and_p,
    auc_interval,
    cell_scores,
    image_codes,
    images_of,
    mean_difference,
    sparse_ranks,
)
from tests.gender.gender_toys import genders, noise

CONFIG = GenderConfig(min_images=10)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 40), st.sampled_from([0, 1, 8]))
def test_sparse_ranks_give_scipys_mann_whitney_with_all_its_ties(seed, n, decimals):
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(0, 1, (n, 5)), 0).astype(np.float32).round(decimals)
    female = np.arange(n) < rng.integers(1, n)
    auc, p = auc_and_p(sparse_ranks(csc_array(x)), female)
    expected = mannwhitneyu(x[female].astype(float), x[~female].astype(float), method="asymptotic")
    varied = np.ptp(x, axis=0) > 0
    assert auc == pytest.approx(expected.statistic / (female.sum() * (~female).sum()))
    assert p[varied] == pytest.approx(np.asarray(expected.pvalue)[varied]) and np.isnan(p[~varied]).all()


def test_the_scatter_of_the_auc_is_delongs():
    x, female = noise(60, 8), np.arange(60) < 25
    ranks = sparse_ranks(csc_array(x))
    variance = _delong_variance(csc_array(x), ranks, female)
    for f in range(7):
        a, b = x[female, f][:, None], x[~female, f][None]
        above = (a > b) + 0.5 * (a == b)
        assert variance[f] == pytest.approx(above.mean(1).var(ddof=1) / 25 + above.mean(0).var(ddof=1) / 35, rel=1e-5)
    low, high = auc_interval(csc_array(x), female, auc_and_p(ranks, female)[0])
    assert 0.4 < low[7] < 0.5 < high[7] < 0.6  # never fires: it may on the next image


def test_the_difference_of_means_is_welchs_with_one_more_value_of_usual_size():
    x, female = noise(60, 5), np.arange(60) < 25
    value, low, high = mean_difference(csc_array(x), female)
    for f in np.flatnonzero((x > 0).sum(0) >= 20):
        own = [x[group, f].astype(float) for group in (female, ~female)]
        typical = (x[:, f].astype(float) ** 2).sum() / x[:, f].sum()
        errors = [(((a - a.mean()) ** 2).sum() + (typical - a.mean()) ** 2) / len(a) / (len(a) - 1) for a in own]
        assert value[f] == pytest.approx(own[0].mean() - own[1].mean(), abs=1e-6)
        assert high[f] - low[f] == pytest.approx(2 * 2.0 * np.sqrt(sum(errors)), rel=0.08)


def test_the_interval_of_the_auc_holds_the_truth_in_95_of_100_cases():
    """A thousand features, each drawn anew: women one standard deviation higher, so that the true AUC is 0.7602."""
    rng, female = np.random.default_rng(0), np.arange(120) < 50
    x = csc_array(np.exp(rng.normal(0, 1, (120, 1000)) + female[:, None]).astype(np.float32))
    low, high = auc_interval(x, female, auc_and_p(sparse_ranks(x), female)[0])
    assert 0.92 < ((low < 0.7602) & (high > 0.7602)).mean() < 0.98


def test_perfectly_apart_is_no_certainty():
    x, female = np.zeros((50, 1), np.float32), np.arange(50) < 20
    x[female] = 1 + np.arange(20)[:, None]
    auc, p = auc_and_p(sparse_ranks(csc_array(x)), female)
    low, high = auc_interval(csc_array(x), female, auc)
    assert auc == high == 1 and 0.85 < low < 0.95 and p < 1e-8


def scores(x, gender, is_train, config=CONFIG):
    n = len(gender)
    images = Images(np.repeat(np.arange(n), 2).astype(np.int32), np.ones(n, np.float32), gender, is_train)
    return cell_scores(csc_array(x), images, config, [0])


def test_where_nothing_is_everything_is_chance():
    gender, is_train = genders(300)
    found, _ = scores(noise(300, 400), gender, is_train)
    alive = slice(0, 399)
    assert kstest(found["p_train"][alive], "uniform").pvalue > 1e-3
    for name, chance in (("auc", 0.5), ("d", 0.0), ("difference", 0.0)):
        assert np.nanmean(found[f"{name}_train"]) == pytest.approx(chance, abs=0.02)
        inside = (found[f"{name}_low_test"] <= chance) & (chance <= found[f"{name}_high_test"])
        assert inside[alive].mean() > 0.9


def test_where_all_is_gender_everything_says_so():
    gender, is_train = genders(300)
    rng = np.random.default_rng(1)
    x = (np.where(gender == "female", 10, 0)[:, None] + rng.normal(0, 1, (300, 3))).clip(0).astype(np.float32)
    x[:, 1] = np.where(gender == "male", 2.0, 0.0)
    found, _ = scores(x, gender, is_train)
    for split in ("train", "test"):
        assert found[f"auc_{split}"].tolist() == [1, 0, 1] and found[f"rate_male_{split}"][1] == 1
        assert found[f"rate_female_{split}"][1] == 0 and found[f"mean_male_{split}"][1] == 2
        assert found[f"difference_{split}"] == pytest.approx([9.6, -2, 9.6], abs=0.5)
    assert (found["p_train"] < 1e-10).all() and found["difference_low_test"][0] > 8.5
    assert np.isnan(found["d_train"][1])  # no spread at all: no standard deviation to measure in


def test_cohens_d_is_the_planted_one():
    gender, is_train = genders(3000)
    x = np.random.default_rng(2).normal(20 + 0.8 * (gender == "female")[:, None], 1, (3000, 20)).astype(np.float32)
    found, _ = scores(x, gender, is_train)
    assert found["d_train"].mean() == pytest.approx(0.8, abs=0.05)
    inside = (found["d_low_test"] < 0.8) & (found["d_high_test"] > 0.8)
    assert inside.mean() > 0.8 and (found["auc_test"] > 0.65).all()


def test_shuffled_scores_are_those_of_no_effect():
    gender, is_train = genders(600)
    x = (np.where(gender == "female", 2, 0)[:, None] + noise(600, 5)).astype(np.float32)
    found, shuffled = scores(x, gender, is_train)
    assert (found["auc_train"] > 0.9).all() and np.abs(shuffled[:, :, 0]).max() < 0.25
    assert np.nanmax(np.abs(shuffled.mean(0))) < 0.25


def test_too_few_images_give_no_number_and_say_so():
    gender, is_train = genders(300)
    test_women = np.flatnonzero((gender == "female") & ~is_train)
    gender[test_women[9:]] = "neutral"
    found, _ = scores(noise(300, 4), gender, is_train)
    assert np.isnan(found["auc_test"]).all() and np.isnan(found["d_low_test"]).all() and (found["why"] != "").all()
    assert not np.isnan(found["auc_train"][:3]).any() and not np.isnan(found["mean_female_test"]).any()
    train_men = np.flatnonzero((gender == "male") & is_train)
    gender[train_men[9:]] = "unknown"
    found, shuffled = scores(noise(300, 4), gender, is_train)
    assert all(np.isnan(found[f"{name}_train"]).all() for name in ("auc", "d", "difference", "p"))
    assert np.isnan(shuffled[:, 0]).all() and set(found["why"]) == {"too few images"}


def test_a_feature_that_never_fires_is_not_tested():
    gender, is_train = genders(300)
    found, _ = scores(noise(300, 3), gender, is_train)
    assert found["why"].tolist() == ["", "", "never fires"]
    assert np.isnan(found["p_train"][2]) and np.isnan(found["auc_test"][2]) and found["rate_male_test"][2] == 0


def test_captions_without_a_position_in_the_view_are_no_images_of_the_cell():
    n_positions = np.array([3, 1, 0, 1, 2, 0])  # samples 0 to 2, English and Arabic in turn
    gender, is_train = np.array(["female", "male", "neutral"]), np.array([True, False, True])
    english = images_of(n_positions, "en", gender, is_train)
    assert english.gender.tolist() == ["female", "neutral"] and english.place.tolist() == [0, -1, -1, -1, 1, -1]
    codes = csc_array(np.array([[4.0], [2.0], [0.0], [6.0], [1.0], [0.0]], np.float32))
    assert image_codes(codes, english).toarray().ravel().tolist() == [4, 1]
    both = images_of(n_positions, "", gender, is_train)
    assert image_codes(codes, both).toarray().ravel().tolist() == [3, 6, 1]  # mean of the captions that have positions


def test_the_same_seed_gives_the_same_bytes_whatever_the_block():
    gender, is_train = genders(200)
    x = noise(200, 12)
    whole, shuffled = scores(x, gender, is_train)
    part, shuffled_part = scores(x[:, 4:9], gender, is_train)
    for name, values in part.items():
        np.testing.assert_array_equal(values, whole[name][4:9])
    np.testing.assert_allclose(shuffled_part, shuffled[..., 4:9], rtol=1e-12)
