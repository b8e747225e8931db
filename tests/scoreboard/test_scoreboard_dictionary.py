"""A dictionary of known features: the trainer finds them, and the measures say what is so of it and of others."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.nulls.recurrence import decoder_rows
from core.sae.modules import SAE, SAEConfig
from core.scoreboard.dictionary import (
    CHILDREN,
    N_TRUE,
    P_CHILD,
    RECOVERED,
    TRAINING,
    D,
    World,
    absorbed,
    again,
    labelled,
    make_world,
    matched,
    swallowed,
    trained,
)

SHORT = replace(TRAINING, architecture="batchtopk", steps=1200)


@pytest.fixture(scope="module")
def world():
    return make_world(0)


@pytest.fixture(scope="module")
def pair(world):
    return tuple(trained(world, seed, SHORT, 20_000) for seed in (0, 1))


def of_truth(rows: np.ndarray, k: int = 6) -> SAE:
    """An SAE with given rows (n, D), n at most D, that reads with their pseudo-inverse."""
    read = torch.from_numpy(np.linalg.pinv(rows).astype(np.float32))
    tensors = {"W_enc": read, "b_enc": torch.full((len(rows),), -0.01), "b_dec": torch.zeros(D)}
    tensors |= {"W_dec": torch.from_numpy(rows.astype(np.float32))}
    return SAE(SAEConfig("topk", D, len(rows), k, 0), tensors)


def test_a_kind_fires_with_its_gender_alone_where_there_is_a_hierarchy(world):
    for hierarchy in (True, False):
        _, on, female = make_world(0, hierarchy).draw(np.random.default_rng(0), 4000)
        women, men = (on[:, 2 + i * CHILDREN : 2 + (i + 1) * CHILDREN].max(axis=1) for i in (0, 1))
        assert (on[:, 0] == female).all() and (on[:, 1] == ~female).all() and abs((women | men).mean() - 0.6) < 0.05
        assert bool(np.mean(women & ~female) > 0.1) != hierarchy


def test_training_finds_the_true_directions_and_an_untrained_dictionary_has_none(world, pair):
    _, cosine = matched(world, decoder_rows(pair[0]))
    _, untrained = matched(world, decoder_rows(trained(world, 0, replace(SHORT, steps=1), 2_000)))
    assert (cosine > RECOVERED).mean() > 0.6 and cosine.mean() > 0.85
    assert (untrained > RECOVERED).sum() == 0 and untrained.mean() < 0.5
    of, whole = matched(world, world.directions[::-1])
    assert np.array_equal(of, np.arange(N_TRUE)[::-1]) and whole == pytest.approx(1)


def test_a_true_feature_is_called_by_its_own_word_and_by_none_where_words_are_dealt_out_anew(world, pair):
    of, cosine = matched(world, decoder_rows(pair[0]))
    good = np.flatnonzero(cosine > RECOVERED)
    named, shuffled = (labelled(world, pair[0], 0, mixed) for mixed in (False, True))
    assert np.mean([named[of[i]]["label"] == f"word {i}" for i in good]) > 0.85
    assert not any(named[of[i]]["label"] not in ("", f"word {i}") for i in good)
    assert sum(row["label"] != "" for row in shuffled) <= 2


def test_true_features_come_back_and_those_of_nothing_do_not(world, pair):
    of, cosine = matched(world, decoder_rows(pair[0]))
    back = again(world, pair[0], pair[1], 0)
    good = np.isin(np.arange(len(back.known)), of[cosine > RECOVERED]) & back.known
    assert back.recurs[good].mean() > 0.8
    bare = [trained(world, seed, replace(SHORT, steps=1), 2_000) for seed in (0, 1)]
    assert again(world, bare[0], bare[1], 0).recurs.mean() < 0.05
    same = again(world, pair[0], pair[0], 0)
    assert same.recurs[same.known].mean() > 0.95


def test_absorption_is_seen_where_kinds_rows_hold_their_gender(world):
    """Rows at right angles, so that reading is exact: the truth, and one in which a kind's row is kind and gender."""
    rows = np.linalg.qr(np.random.default_rng(0).standard_normal((D, D)))[0][: 2 + 2 * CHILDREN]
    gender = np.repeat([0, 1], CHILDREN)
    taken = np.concatenate([rows[:2], (rows[2:] + rows[gender]) / np.sqrt(2)])

    class Few(World):
        """Gender and its kinds alone, without noise."""

        def draw(self, rng, n):
            _, on, female = world.draw(rng, n)
            return 1.2 * on[:, : len(rows)] @ rows, on[:, : len(rows)], female

    few = Few(rows, True)
    clean, eaten = of_truth(rows), of_truth(taken)
    assert absorbed(few, clean, 0) == 0
    assert absorbed(few, eaten, 0) == pytest.approx(P_CHILD, abs=0.05)


def test_what_kinds_rows_hold_of_their_gender_is_measured_against_the_truth(world):
    mixed = world.directions.copy()
    mixed[2 : 2 + CHILDREN] += world.directions[0]
    assert swallowed(world, world.directions) == pytest.approx(0, abs=1e-9)
    assert swallowed(world, mixed / np.linalg.norm(mixed, axis=1, keepdims=True)) > 0.2
