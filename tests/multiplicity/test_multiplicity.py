"""What stands alone in a large family is found from few draws, and where nothing is, one family in twenty claims it."""

import numpy as np
import pytest
from scipy.stats import binom, kstest

from core.intervals import q_values, shuffled_within
from core.multiplicity import among_sets, step_down, two_samples
from tests.multiplicity.family_worlds import adjusted_designs, adjusted_parts, designs_world, parts_world

LEVEL = 0.05


def allowed(n_worlds, level=LEVEL):
    """False claims that a right procedure stays within in 999 of 1,000 tests."""
    return binom.ppf(0.999, n_worlds, level)


@pytest.mark.parametrize(("n_parts", "n_true"), [(34 * 9, 1), (34 * 9, 3), (34 * 9, 5), (34 * 9, 20), (32 * 33, 20)])
def test_every_overwhelming_part_is_found_whatever_the_size_of_the_family(n_parts, n_true):
    shares, female = parts_world(np.random.default_rng(n_true), 100, n_parts, n_true, strength=2.5)
    p = adjusted_parts(shares, female, 1000, np.random.default_rng(1))
    assert (p[:n_true] <= LEVEL).all() and (p[n_true:] <= LEVEL).sum() <= 1


def test_where_no_part_does_anything_one_family_in_twenty_has_a_finding():
    rng = np.random.default_rng(0)
    worlds = [parts_world(rng, 60, 150, 0) for _ in range(100)]
    claims = sum((adjusted_parts(*world, 199, rng) <= LEVEL).any() for world in worlds)
    assert claims <= allowed(100)


def test_a_lone_design_among_many_is_found_and_was_not_before():
    rng = np.random.default_rng(0)
    found, before = [], []
    for _ in range(60):
        shares = designs_world(rng, 28, 1)
        found.append(adjusted_designs(shares) <= LEVEL)
        away = np.abs(shares - np.median(shares, axis=0))
        before.append(q_values((away >= away[0]).mean(0)) <= 0.1)
    assert np.mean([f[0] for f in found]) >= 0.8 and np.mean([b[0] for b in before]) < 0.2
    assert sum(f[1:].any() for f in found) <= allowed(60)


def test_where_no_design_does_more_than_its_controls_one_family_in_twenty_is_called_specific():
    rng = np.random.default_rng(1)
    for nested in (0.0, 0.9):
        claims = sum((adjusted_designs(designs_world(rng, 28, 0, nested=nested)) <= LEVEL).any() for _ in range(200))
        assert claims <= allowed(200)


def test_one_member_is_an_ordinary_permutation_test():
    rng = np.random.default_rng(0)
    p = [float(step_down(rng.normal(size=1), rng.normal(size=(99, 1)))[0]) for _ in range(400)]
    assert kstest(p, "uniform").pvalue > 0.001 and min(p) >= 0.01


def test_steps_go_down_and_what_is_not_known_stays_so():
    rng = np.random.default_rng(0)
    null = np.abs(rng.normal(size=(500, 6)))
    seen = np.array([9.0, np.nan, 2.0, 5.0, 0.1, 1.0])
    p = step_down(seen, null)
    assert p[0] == p[3] == pytest.approx(1 / 501) and np.isnan(p[1])
    assert p[3] <= p[2] <= p[5] <= p[4] <= 1
    assert p[4] == pytest.approx((1 + (null[:, 4] >= 0.1).sum()) / 501)  # the weakest stands alone at the last step
    assert np.isnan(step_down(np.full(3, np.nan), null[:, :3])).all()


def test_what_strata_tell_is_taken_out_and_scales_do_not_matter():
    rng = np.random.default_rng(0)
    stratum = np.arange(80) // 40
    first = rng.random(80) < np.where(stratum == 0, 0.2, 0.8)
    values = rng.normal(size=(80, 3)) + 5 * stratum[:, None]
    dealt = np.stack([shuffled_within(first, stratum, rng) for _ in range(400)])
    size = two_samples(values, first, dealt, stratum)
    assert ((size[1:] >= size[0]).mean(0) > 0.02).all()
    np.testing.assert_allclose(two_samples(values * [1, 1e6, 1e-6], first, dealt, stratum), size, rtol=1e-6)
    flat = two_samples(np.ones((80, 1)), first, dealt, stratum)
    assert (flat == 0).all()  # a part that adds the same to every image says nothing


def test_a_set_that_stands_alone_does_not_hide_itself():
    values = np.append(10.0, np.linspace(0, 1, 25))[:, None]
    size = among_sets(values, np.array([0.01]))[:, 0]
    assert size[0] > 25 and size[1:].max() < 2
    same = among_sets(np.zeros((26, 1)), np.array([0.01]))
    assert (same == 0).all() and step_down(same[0], same[1:])[0] == 1.0
