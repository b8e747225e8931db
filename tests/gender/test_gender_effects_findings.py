"""Findings: planted ones are found in every view and language, and there are none where labels are shuffled."""

import numpy as np
import pytest

from core.config import GenderConfig
from core.features.labels import candidates
from core.gender.findings import World, count_findings, describe_layer, findings, finish, shuffled_labels
from core.gender.rankings import agreement, ranks
from core.scoreboard.worlds import Size
from core.scoreboard.worlds.gender import _rankings
from tests.gender.gender_toys import genders, noise, write_pooled

CONFIG = GenderConfig(min_images=15, n_matched=5)
N = 240
PLANTED = {(3, 0), (3, 5), (7, 2)}  # layer, feature


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two layers of 30 features over 240 images; three features follow gender, in all views and both languages."""
    folder = tmp_path_factory.mktemp("run")
    gender, is_train = genders(N, seed=1)
    gender[:30] = "neutral"
    pooled = {}
    for layer in (3, 7):
        codes = {}
        for number, view in enumerate(("image", "before", "caption")):
            x = noise(2 * N, 30, 100 * layer + number)
            for _, feature in (key for key in PLANTED if key[0] == layer):
                side = np.repeat(gender == ("male" if feature == 5 else "female"), 2)
                x[:, feature] = np.where(side, 1.5 + x[:, 1], np.where(x[:, 2] > 1, x[:, 2], 0))
            codes[view] = x.astype(np.float32)
        pooled[layer] = write_pooled(folder, layer, codes)
    return pooled, gender, is_train


def test_the_planted_features_are_found_in_both_languages_and_views(world):
    pooled, gender, is_train = world
    found = findings(pooled, gender, is_train, CONFIG)
    cells = {(cell["view"], cell["lang"]) for cell in found}
    assert cells == {(view, lang) for view in ("before", "caption") for lang in ("en", "ar")}
    for cell in found:
        expected = {feature for layer, feature in PLANTED if layer == cell["layer"]}
        assert set(cell["feature"].tolist()) == expected
        assert np.array_equal(cell["auc_test"] < 0.5, cell["feature"] == 5)
    assert count_findings(pooled, gender, is_train, CONFIG) == 4 * len(PLANTED)
    assert count_findings(pooled, gender, is_train, CONFIG, views=("image",)) == len(PLANTED)


def test_with_shuffled_labels_there_is_nothing_in_19_of_20_seeds(world):
    pooled, gender, is_train = world
    counts = [
        count_findings(
            pooled, shuffled_labels(gender, is_train, seed), is_train, CONFIG, ("before", "caption", "image")
        )
        for seed in range(20)
    ]
    assert sum(n > 0 for n in counts) <= 1


def test_shuffling_keeps_the_numbers_of_each_split_and_who_is_neutral(world):
    _, gender, is_train = world
    mixed = shuffled_labels(gender, is_train, 4)
    assert (mixed != gender).any() and np.array_equal(mixed == "neutral", gender == "neutral")
    for split in (True, False):
        assert sorted(mixed[is_train == split]) == sorted(gender[is_train == split])


def test_what_does_not_hold_on_the_other_images_is_no_finding(world, tmp_path):
    _, gender, is_train = world
    x = noise(2 * N, 10, 5)
    x[:, 0] = np.where(np.repeat((gender == "female") & is_train, 2), 2, x[:, 0])  # on training images alone
    pooled = {1: write_pooled(tmp_path, 1, {"caption": x})}
    assert count_findings(pooled, gender, is_train, CONFIG, ("caption",)) == 0


def test_the_table_says_the_same_as_the_count(world):
    pooled, gender, is_train = world
    captions = {s: ("a woman" if gender[s] == "female" else "a man") for s in range(N)}
    known = World(gender, is_train, [candidates("en", captions, {}, is_train)], CONFIG, seed=0)
    layers = [describe_layer(pooled[layer], known, {}) for layer in sorted(pooled)]
    table = finish([layer.features for layer in layers], CONFIG.fdr)
    rows = [row for part in table for row in part.to_pylist()]
    for views in (("before", "caption"), ("image",)):
        found = [row for row in rows if row["finding"] and row["view"] in views]
        assert len(found) == count_findings(pooled, gender, is_train, CONFIG, views)
    by_key = {(r["layer"], r["feature"], r["view"], r["lang"]): r for r in rows}
    planted = by_key[7, 2, "caption", "ar"]
    assert planted["direction"] == "female" and planted["rank_auc"] == 1 and planted["n_neutral_train"] > 0
    assert planted["effect_train"] is None and planted["n_effect_train"] == 0
    assert [r["feature"] for r in rows] == sorted(r["feature"] for r in rows[: len(table[0])]) + sorted(
        r["feature"] for r in rows[len(table[0]) :]
    )
    assert (29 not in {r["feature"] for r in rows}) and len(rows) == 2 * 29 * 5  # the dead feature has no row
    labels = {(r["feature"], r["label"]) for r in layers[0].labels.to_pylist()}
    assert (0, "woman") in labels and (5, "man") in labels


def columns_of(rng, strength, n=500):
    """AUC, d and difference of the same images agree; the effect on the output is its own."""
    signal = rng.normal(0, 1, n)
    found = {}
    for name in ("auc", "d", "difference", "effect"):
        for split in ("train", "test"):
            own = rng.normal(0, 1, n)
            found[f"{name}_{split}"] = (0.5 if name == "auc" else 0) + strength * signal + (1 - strength) * own
    return found


def test_rankings_that_are_one_agree_wholly_and_unrelated_ones_by_chance_only():
    rng = np.random.default_rng(0)
    shuffled = rng.normal(0, 1, (20, 2, 3, 500))
    same = agreement(columns_of(rng, 1.0), shuffled)
    assert len(same) == 10 and all(r["spearman"] == pytest.approx(1) and r["overlap"] == r["k"] == 50 for r in same)
    apart = agreement(columns_of(rng, 0.0), shuffled)
    assert max(abs(r["spearman"]) for r in apart) < 0.15
    assert all(r["overlap_chance_low"] <= r["overlap"] <= r["overlap_chance_high"] for r in apart)
    assert all(r["overlap_chance"] == 5 for r in apart)
    shown = [r for r in apart if r["ranking_a"] != "effect"]
    assert all(r["spearman_shuffled_low"] < 0.05 and r["spearman_shuffled_high"] > -0.05 for r in shown)


def test_rankings_made_on_the_same_images_do_not_agree_by_their_accidents():
    """Without any gender AUC and d of the same images have rho .9 and more."""
    frames = [_rankings(np.random.default_rng(seed), Size(50, 192), 0.0)[0] for seed in range(3)]
    rho = [frame.loc[~frame["itself"], "spearman"].to_numpy() for frame in frames]
    assert np.abs(rho).max() < 0.35 and all(f["ratio"].isna().all() for f in frames)
    known = _rankings(np.random.default_rng(3), Size(50, 192), 3.0)[0]
    assert known["ratio"].notna().sum() == 3 and known["ratio"].min() > 0.6 and known["spearman"].min() > 0.4


def test_ranks_begin_with_the_largest_whatever_its_sign_and_leave_out_the_unknown():
    values = {f"{r}_train": np.array([0.1, -3.0, np.nan, 0.2]) for r in ("d", "difference", "effect")}
    found = ranks({**values, "auc_train": np.array([0.5, 0.1, np.nan, 0.95])})
    assert found["rank_d"][[0, 1, 3]].tolist() == [3, 1, 2] and np.isnan(found["rank_d"][2])
    assert found["rank_auc"][[0, 1, 3]].tolist() == [3, 2, 1]


def test_few_features_are_not_compared():
    rng = np.random.default_rng(1)
    rows = agreement(columns_of(rng, 1.0, 10), rng.normal(0, 1, (20, 2, 3, 10)))
    assert all(r["why"] and "spearman" not in r for r in rows)
