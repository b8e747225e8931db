"""Control sets are live, outside the target, matched one to one, and nested."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.interventions.controls import Candidates, matched_sets


def world(seed=0, n=200, dead=0.3):
    rng = np.random.default_rng(seed)
    return Candidates(10 ** rng.uniform(-4, -0.5, n), np.ones(n), rng.uniform(1, 5, n), rng.random(n) > dead)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(1, 30), n_sets=st.integers(1, 6))
def test_controls_are_alive_distinct_and_not_in_the_target(seed, k, n_sets):
    there = world(seed)
    target = np.flatnonzero(there.alive)[:k]
    avoid = np.flatnonzero(there.alive)[k : k + 5]
    found = matched_sets(target, there, n_sets, seed, avoid).features
    for one in found:
        assert len(set(one)) == k and there.alive[one].all() and not set(one) & {*target, *avoid}


def test_partners_of_the_first_k_do_not_depend_on_k():
    there = world()
    target = np.flatnonzero(there.alive)[:20]
    whole = matched_sets(target, there, 5, 7, target).features
    assert (matched_sets(target[:4], there, 5, 7, target).features == whole[:, :4]).all()


def test_controls_match_what_the_target_is_like_and_not_what_features_are_like():
    there = world(n=2000)
    often = np.flatnonzero(there.alive & (there.density > 0.1))[:10]
    found = matched_sets(often, there, 25, 0)
    matched = np.log(there.density[found.features]).mean()
    assert abs(matched - np.log(there.density[often]).mean()) < 0.25
    assert np.log(there.density[there.alive]).mean() < matched - 2
    assert found.distance.mean() < 0.5


def test_sets_differ_between_draws_and_repeat_with_the_seed():
    there, target = world(), [int(np.flatnonzero(world().alive)[0])]
    one, other = matched_sets(target, there, 8, 1), matched_sets(target, there, 8, 1)
    assert (one.features == other.features).all() and len(np.unique(one.features)) > 3


def test_too_few_live_features_are_an_error_and_no_dead_ones_are_taken():
    there = world(dead=0.97)
    alive = np.flatnonzero(there.alive)
    with pytest.raises(ValueError, match="need as many others"):
        matched_sets(alive, there, 2, 0)
