"""Control sets are live, outside the target, matched one to one, and nested."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.steering.controls import Candidates, matched_controls, matched_sets, uniform_sets
from core.steering.request import FeatureEdit


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


def test_uniform_controls_are_like_the_layer_and_not_like_the_target():
    there = world(n=2000)
    often = np.flatnonzero(there.alive & (there.density > 0.1))[:10]
    avoid = np.flatnonzero(there.alive)[-300:]
    found = uniform_sets(often, there, 200, 0, avoid)
    pool = there.outside([*often, *avoid])
    assert all(len(set(one)) == 10 and set(one) <= set(pool) for one in found.features)
    assert abs(np.log(there.density[found.features]).mean() - np.log(there.density[pool]).mean()) < 0.25
    assert found.distance.mean() > 3 * matched_sets(often, there, 25, 0, avoid).distance.mean()
    assert (uniform_sets(often[:4], there, 3, 0, avoid).features.shape) == (3, 4)


def test_sets_differ_between_draws_and_repeat_with_the_seed():
    there, target = world(), [int(np.flatnonzero(world().alive)[0])]
    one, other = matched_sets(target, there, 8, 1), matched_sets(target, there, 8, 1)
    assert (one.features == other.features).all() and len(np.unique(one.features)) > 3


def test_too_few_live_features_are_an_error_and_no_dead_ones_are_taken():
    there = world(dead=0.97)
    alive = np.flatnonzero(there.alive)
    with pytest.raises(ValueError, match="need as many others"):
        matched_sets(alive, there, 2, 0)


def layer(n: int = 100, dead: int = 41) -> tuple[pd.DataFrame, np.ndarray]:
    """Features of layer 0, alike but for how often they fire, and the lengths of their decoder rows."""
    columns = {"layer": 0, "feature": range(n), "alive": [i != dead for i in range(n)], "mean": 1.0, "p999": 2.0}
    return pd.DataFrame({**columns, "density": [10 ** (-4 + i / 33) for i in range(n)]}), np.ones(n)


def test_a_control_is_as_rare_as_the_edited_feature_and_never_dead_or_edited():
    features, norm = layer()
    edit = FeatureEdit(0, 40, 3.0, 1.0)
    drawn = [matched_controls(features, [edit], lambda _: norm, seed)[0] for seed in range(200)]
    near = {e.feature for e in drawn}
    assert len(near) == 12 and near <= set(range(33, 48)) - {40, 41}
    assert {e.push for e in drawn} == {edit.push}
    pair = matched_controls(features, [edit, FeatureEdit(0, 42, 1.0, 1.0)], lambda _: norm, 1)
    assert len({e.feature for e in pair} | {40, 42}) == 4


def test_a_control_writes_as_much_as_the_edited_feature():
    features, norm = layer(200)
    features["density"] = 0.01
    features["mean"] = np.tile([1.0, 50.0], 100)
    norm[100:] = 9.0
    drawn = [matched_controls(features, [FeatureEdit(0, 40, 1, 1)], lambda _: norm, seed)[0] for seed in range(40)]
    assert {(features["mean"][e.feature], norm[e.feature]) for e in drawn} == {(1.0, 1.0)}


def test_what_is_multiplied_gets_the_same_factor_and_a_full_layer_has_no_controls():
    features, norm = layer(6, dead=-1)
    edits = [FeatureEdit(0, n, 0.5, 1.0) for n in range(3)]
    assert [e.strength for e in matched_controls(features, edits, lambda _: norm, 0, "scale")] == [0.5] * 3
    assert matched_controls(features, [FeatureEdit(0, n, 0.5, 1.0) for n in range(4)], lambda _: norm, 0) == ()


def test_draws_of_a_seed_stay_what_they_are():
    """The published effects stand on these draws."""
    features, norm = layer(64)
    features["mean"] = np.linspace(1, 5, 64)
    there = Candidates.of_layer(features.sample(frac=1, random_state=0), 0, norm)
    found = matched_sets([3, 30, 60], there, 3, [0, 5, 1], [10, 11])
    assert found.features.tolist() == [[7, 33, 52], [5, 36, 57], [14, 24, 54]]
