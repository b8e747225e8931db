"""A dictionary recurs in a shuffled copy of itself, not in another one, and not where tokens do not belong together."""

import numpy as np
import pytest
from scipy.sparse import csc_array

from core.nulls.recurrence import MIN_FIRES, recurrence, recurrence_rows

N_TOKENS, N, D = 2000, 40, 64


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    codes = np.where(rng.random((N_TOKENS, N)) < 0.05, rng.exponential(1, (N_TOKENS, N)), 0).astype(np.float32)
    codes[:, 0] = 0
    codes[: MIN_FIRES - 1, 0] = 1.0
    rows = rng.standard_normal((N, D)).astype(np.float32)
    order = rng.permutation(N)
    return rng, codes, rows, order


def test_every_feature_recurs_in_a_copy_with_other_numbers(world):
    _, codes, rows, order = world
    told = recurrence(csc_array(codes), csc_array(codes[:, order]), rows, rows[order] + 0.1, 0)
    assert np.array_equal(order[told.partner[1:]], np.arange(1, N)) and told.recurs[1:].all()
    assert not told.recurs_shuffled.any() and (told.correlation_floor < 0.4).all()
    assert not told.known[0] and not told.recurs[0]
    assert recurrence_rows(told)[0]["recurs"] is None and recurrence_rows(told)[1]["recurs"] is True


def test_none_recurs_in_an_unrelated_dictionary(world):
    rng, codes, rows, _ = world
    other = np.where(rng.random(codes.shape) < 0.05, 1, 0).astype(np.float32)
    told = recurrence(csc_array(codes), csc_array(other), rows, rng.standard_normal(rows.shape), 0)
    assert not told.recurs.any()


def test_firing_together_is_not_enough_and_neither_is_pointing_alike(world):
    rng, codes, rows, _ = world
    apart = recurrence(csc_array(codes), csc_array(codes), rows, rng.standard_normal(rows.shape), 0)
    assert (apart.correlation > 0.99).all() and not apart.recurs.any()
    mixed = csc_array(codes[rng.permutation(N_TOKENS)])
    assert not recurrence(csc_array(codes), mixed, rows, rows, 0).recurs.any()


def test_half_of_the_features_kept_is_half_that_recur(world):
    rng, codes, rows, _ = world
    other, decoder = codes.copy(), rows.copy()
    other[:, N // 2 :] = np.where(rng.random((N_TOKENS, N // 2)) < 0.05, 1, 0)
    decoder[N // 2 :] = rng.standard_normal((N // 2, D))
    told = recurrence(csc_array(codes), csc_array(other), rows, decoder, 0)
    assert told.recurs.sum() == N // 2 - 1  # the first fires too seldom to be asked
