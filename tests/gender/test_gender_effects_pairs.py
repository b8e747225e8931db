"""Balanced pairs are alike, and the lift is 1 where gender plays no part and the most it can be where it plays all."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csc_array

from core.config import GenderConfig
from core.gender.pairs import ALIKE, matched, pair_rows, strongest
from tests.gender.gender_toys import genders

CONFIG = GenderConfig(min_images=10, n_matched=6)


def rows_of(x, gender, is_train):
    """One view, the same activations in both languages; ``x`` (n_images, n_features)."""
    codes = {"caption": csc_array(np.repeat(x, 2, axis=0).astype(np.float32))}
    return pair_rows(strongest(codes, gender, is_train), CONFIG)


falling = st.lists(st.floats(0.01, 10), max_size=30).map(lambda v: sorted(v, reverse=True))


@given(falling, falling, st.integers(1, 12))
def test_pairs_are_alike_and_each_image_stands_in_one(women, men, n):
    pairs = matched(women, men, n)
    assert len(pairs) <= n
    for places in zip(*pairs, strict=True):
        assert list(places) == sorted(set(places))
    assert all(abs(women[i] - men[j]) <= ALIKE * max(women[i], men[j]) for i, j in pairs)


def test_equal_strengths_are_all_paired_and_those_that_nobody_equals_are_passed_over():
    assert matched([5, 4, 3], [5, 4, 3], 9) == [(0, 0), (1, 1), (2, 2)]
    assert matched([9, 8, 4], [4, 2], 9) == [(2, 0)]
    assert matched([9, 8], [2, 1], 9) == []


def test_a_feature_of_women_has_no_pairs_and_the_largest_lift():
    gender, is_train = genders(200)
    rng = np.random.default_rng(0)
    (row,) = rows_of(np.where(gender == "female", rng.uniform(3, 4, 200), 0)[:, None], gender, is_train)
    base = row["n_female"] / (row["n_female"] + row["n_male"])
    assert row["n_pairs"] == 0 and row["n_top"] == row["n_top_female"] == 12
    assert row["lift_female"] == 1 / base and row["lift_male"] == 0
    assert 1 < row["lift_female_low"] < row["lift_female"] and row["lift_male_high"] < 1


def test_where_gender_plays_no_part_the_lift_is_1():
    gender, is_train = genders(300)
    rows = rows_of(np.random.default_rng(1).uniform(1, 9, (300, 300)), gender, is_train)
    assert abs(np.mean([row["lift_female"] for row in rows]) - 1) < 0.05
    inside = [row["lift_female_low"] <= 1 <= row["lift_female_high"] for row in rows]
    assert np.mean(inside) > 0.9 and all(row["n_pairs"] == 6 for row in rows)


def test_pairs_name_the_images_and_their_activations_strongest_first():
    gender, is_train = genders(200)
    x = np.random.default_rng(2).uniform(1, 9, (200, 1))
    (row,) = rows_of(x, gender, is_train)
    for name in ("female", "male"):
        samples = row[f"sample_{name}"]
        assert set(gender[samples]) == {name}
        assert row[f"activation_{name}"] == x[samples, 0].astype(np.float32).tolist()
        assert row[f"activation_{name}"] == sorted(row[f"activation_{name}"], reverse=True)


def test_an_image_counts_by_its_strongest_view_and_language():
    gender, is_train = np.array(["female", "neutral", "male"]), np.array([True, True, False])
    views = {"image": [1, 0, 9, 9, 0, 2], "caption": [0, 3, 9, 9, 1, 0]}
    found = strongest({v: csc_array(np.array(x, np.float32)[:, None]) for v, x in views.items()}, gender, is_train)
    assert found.values.toarray().ravel().tolist() == [3, 2] and found.sample.tolist() == [0, 2]


def test_a_feature_that_hardly_fires_has_no_lift():
    gender, is_train = genders(200)
    x = np.zeros((200, 1))
    x[np.flatnonzero(~is_train)[:9]] = 1
    (row,) = rows_of(x, gender, is_train)
    assert row["why"] == "too few images" and "lift_female" not in row and row["n_top"] == 9
