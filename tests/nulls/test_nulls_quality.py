"""Absorption and disentanglement on dictionaries whose answer is planted; detectors that need no dictionary."""

import numpy as np
import pytest
from scipy.sparse import csc_array

from core.features.labels import candidates
from core.nulls.detectors import differences, intervals
from core.nulls.findings import fit_probe
from core.nulls.quality import absorption, concepts, disentanglement, mean_over_concepts, sparse_probing
from core.nulls.scores import difference, placed

N, D, KINDS = 400, 16, 4


@pytest.fixture(scope="module")
def world():
    """Orthogonal directions: 0 for women, 1 for men, then four kinds of things of which each image shows one."""
    rng = np.random.default_rng(0)
    female, train = np.arange(N) % 2 == 0, np.arange(N) % 5 < 3
    thing = rng.integers(0, KINDS, N)
    z = np.zeros((N, 2 + KINDS))
    z[np.arange(N), np.where(female, 0, 1)] = rng.uniform(2, 3, N)
    z[np.arange(N), 2 + thing] = rng.uniform(2, 3, N)
    decoder = np.eye(D)[: 2 + KINDS]
    resid = z @ decoder + 0.05 * rng.standard_normal((N, D))
    present = thing[:, None] == np.arange(KINDS)
    return z, decoder, resid, female, train, present


def asked(z, decoder, resid, female, train, present):
    x = csc_array(z.astype(np.float32))
    gender, probes = fit_probe(resid[train], female[train]), [fit_probe(resid[train], p[train]) for p in present.T]
    rows = absorption(x, resid, decoder, gender, female, train)
    rows += disentanglement(x, resid, decoder, gender, probes, present, female, train)
    return {row["measure"]: row["value"] for row in rows}


def test_of_a_clean_dictionary_nothing_is_absorbed_and_gender_alone_is_changed(world):
    z, decoder, resid, female, train, present = world
    padded, more = np.hstack([z, np.zeros((N, 5))]), np.vstack([decoder, np.eye(D)[-5:]])
    padded[:, 6:] = 0.01  # features that say nothing, so that the five changed need not be of things
    padded[:, 6:] += 0.001 * female[:, None]
    found = asked(padded, more, resid, female, train, present)
    assert found["absorption"] == 0 and found["cause"] == 1 and found["isolation"] == 1
    assert found["disentanglement"] == 1


def test_a_mean_over_concepts_lies_between_0_and_1_and_few_concepts_have_no_interval():
    """Two concepts told perfectly said 1.00 [1.00, 1.00], and nine of .89 to 1 ended at 1.04."""
    few, alike = mean_over_concepts("probing", 1, [1.0, 1.0]), mean_over_concepts("probing", 1, [1.0] * 9)
    assert few["value"] == alike["value"] == 1 and few["low"] is alike["low"] is None and few["why"] and alike["why"]
    nine = mean_over_concepts("probing", 1, [0.7, 0.95, 1.0, 1.0, 0.99, 1.0, 0.98, 1.0, 0.97])
    assert 0.5 < nine["low"] < nine["value"] < nine["high"] <= 1
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        row = mean_over_concepts("probing", 1, 1 - rng.beta(1, 9, 9))  # truth .9
        held += row["low"] <= 0.9 <= row["high"]
    assert held > 0.92 * 400


def test_a_feature_that_takes_over_on_some_images_is_absorption(world):
    z, decoder, resid, female, train, present = world
    taken = np.hstack([z, np.zeros((N, 1))])
    swallowed = female & (np.arange(N) % 3 == 0)
    taken[swallowed, 6], taken[swallowed, 0] = taken[swallowed, 0], 0.0
    found = asked(taken, np.vstack([decoder, decoder[:1]]), resid, female, train, present)
    assert found["absorption"] == pytest.approx(swallowed[~train].mean(), abs=0.02)


def test_gender_features_that_carry_things_change_these_too(world):
    z, decoder, resid, female, train, present = world
    mixed, tangled = z.copy(), decoder.copy()
    tangled[0] = decoder[0] - 0.9 * decoder[2:].sum(0)  # who takes this away adds every thing
    tangled[1] = decoder[1] + 0.9 * decoder[2:].sum(0)
    found = asked(mixed, tangled, resid, female, train, present)
    assert found["cause"] > 0.9 and found["isolation"] < 0.8


def test_a_planted_feature_is_a_whole_probe_and_noise_is_at_chance(world):
    z, *_, train, present = world
    clean = sparse_probing(csc_array(z.astype(np.float32)), present, train)
    assert clean[0]["value"] == 1 and clean[0]["k"] == 1 and clean[0]["n"] == KINDS
    noise = np.random.default_rng(1).random((N, 30)).astype(np.float32)
    first = sparse_probing(csc_array(noise), present, train)[0]
    assert 0.4 < first["value"] < 0.6


def test_concepts_say_no_gender_and_are_neither_rare_nor_everywhere():
    texts = {i: f"a {'woman' if i % 2 else 'man'} with a {['ball', 'tree', 'car'][i % 3]}" for i in range(200)}
    texts[7] = "a woman with a zebra"
    attributes = {i: ["gender: female" if i % 2 else "gender: male", f"role: {i % 4}"] for i in texts}
    there = candidates("en", texts, attributes, np.arange(200) < 150)
    names = {there.names[c] for c in concepts(there)}
    assert names == {"ball", "tree", "car", "role: 0", "role: 1", "role: 2", "role: 3"}


def test_many_differences_at_once_are_those_taken_one_by_one():
    rng, female = np.random.default_rng(0), np.arange(60) % 2 == 0
    many = placed(rng.standard_normal((4, 60)) + female * np.array([[0.0], [1.0], [2.0], [4.0]]), female)
    one = placed(rng.standard_normal(60) + female, female)
    found = differences(many, *intervals(many), one)
    for i in range(4):
        alone = placed(many.ranks[i], female)
        assert found[:, i] == pytest.approx(tuple(difference(alone, one)))
