"""Statistics where nothing is there (chance, uniform p) and where all is there (known values)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from core.interventions.statistics import MIN_CONTROLS, Figure, apart, compare, paired, sign_flips


def shares(*arms):
    top = np.array(arms, float)
    return Figure(top, np.ones_like(top))


def null(rng, n_images=40, n_controls=25, p=0.3):
    hard = rng.beta(2, 2 / p - 2, n_images)  # images differ; target and controls do not
    sets = rng.beta(8, 8, n_controls + 1)[:, None] * 2
    return shares(np.zeros(n_images), *(rng.random((n_controls + 1, n_images)) < np.clip(hard * sets, 0, 1)))


def test_where_target_and_controls_are_alike_p_is_uniform():
    rng = np.random.default_rng(0)
    p = np.array([compare(null(rng), 50, i).p_specific for i in range(400)])
    assert (p >= 1 / 26 - 1e-9).all()
    assert abs((p <= 0.1).mean() - 2 / 26) < 0.05 and abs((p <= 0.5).mean() - 0.5) < 0.1


def test_the_interval_of_target_minus_controls_knows_that_controls_differ():
    rng = np.random.default_rng(1)
    found = [compare(null(rng, n_images=60), 200, i) for i in range(120)]
    covered = np.mean([f.specific_low <= 0 <= f.specific_high for f in found])
    of_images_alone = np.mean([abs(f.specific) <= 1.96 * np.sqrt(f.target * (1 - f.target) / 60) for f in found])
    assert covered >= 0.6 and of_images_alone < 0.95  # the target is one draw: p_specific, not this, is the test


@pytest.mark.parametrize(("target", "control"), [(0.05, 0.05), (0.95, 0.1)])
def test_target_minus_controls_holds_the_truth_at_twenty_images(target, control):
    """19 control sets that differ by a third: .93 is asked, 3.3 standard errors of 200 worlds below it allowed."""
    rng, n, held = np.random.default_rng(0), 20, 0
    for i in range(200):
        sets = np.r_[target, np.clip(rng.normal(control, control / 3, 19), 0, 1)]
        found = compare(shares(np.zeros(n), *(rng.random((20, n)) < sets[:, None])), 50, i)
        held += found.specific_low - 1e-9 <= target - control <= found.specific_high + 1e-9
    assert held > 200 * (0.93 - 3.3 * np.sqrt(0.07 * 0.93 / 200))


def test_where_all_is_there_the_figures_are_known():
    n = 30
    found = compare(shares(np.zeros(n), np.ones(n), *np.zeros((25, n))), 200, 0)
    assert (found.baseline, found.target, found.effect, found.control, found.specific) == (0, 1, 1, 0, 1)
    assert found.p_specific == pytest.approx(1 / 26) and found.p_effect < 0.01
    assert found.effect_low == pytest.approx(0.8843, abs=1e-3)  # 30 of 30: a bootstrap would have no width
    assert np.isnan(found.ratio)  # the controls do nothing: there is no ratio


def test_a_ratio_has_an_interval_that_holds_the_known_value():
    rng = np.random.default_rng(2)
    n = 400
    controls = rng.random((25, n)) < 0.2
    found = compare(shares(np.zeros(n), rng.random(n) < 0.6, *controls), 300, 0)
    assert found.ratio_low < 3 < found.ratio_high and found.ratio_high - found.ratio_low < 1.5


def test_shorter_captions_are_no_effect_in_the_form_per_token():
    n = 50
    rng = np.random.default_rng(3)
    before = rng.integers(2, 5, n).astype(float)
    length = before * 6
    top = np.array([before, before / 2, *([before] * 25)])  # half the words of every caption are gone
    counts = Figure(top, np.ones_like(top))
    rates = Figure(top, np.array([length, length / 2, *([length] * 25)]))
    assert compare(counts, 200, 0).effect_high < 0
    rate = compare(rates, 200, 0)
    assert rate.effect == pytest.approx(0) and rate.p_effect == 1.0 and rate.p_specific == 1.0


def test_too_few_images_or_controls_give_no_p():
    few = compare(shares(np.zeros(5), np.ones(5), *np.zeros((25, 5))), 50, 0)
    assert np.isnan(few.p_specific) and np.isnan(few.effect_low) and few.why == "5 images; 20 are needed"
    alone = compare(shares(np.zeros(30), np.ones(30), *np.zeros((MIN_CONTROLS - 1, 30))), 50, 0)
    assert np.isnan(alone.p_specific) and "controls" in alone.why and alone.effect == 1
    assert compare(Figure(np.zeros((3, 4)), np.zeros((3, 4))), 50, 0).why == "no caption is asked about"


def test_images_that_are_not_asked_about_take_no_part():
    bottom = np.ones((8, 60))
    bottom[:, 30:] = 0
    top = np.where(bottom > 0, 1.0, 0.0)
    top[0] = top[2:] = 0
    assert compare(Figure(top, bottom), 50, 0).n_images == 30


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=5, max_size=30))
def test_sets_lie_apart_either_way_and_no_figure_is_told_of_a_set_without_captions(values):
    top = np.array([[0.0], [3.0], *([v] for v in values)])
    one, other = (apart(Figure(sign * top, np.ones_like(top))) for sign in (1, -1))
    np.testing.assert_allclose(one, other)
    assert one.argmax() == 0 and np.isnan(apart(Figure(top, np.where(top == 3, 0.0, 1.0)))).all()


def test_sign_flips_are_uniform_under_the_null_and_small_for_an_effect():
    rng = np.random.default_rng(0)
    p = np.array([sign_flips(rng.standard_normal(30), 200, i) for i in range(200)])
    assert abs((p <= 0.05).mean() - 0.05) < 0.05 and abs(np.median(p) - 0.5) < 0.1
    assert sign_flips(np.ones(20), 500, 0) < 0.01 and sign_flips(np.zeros(20), 500, 0) == 1.0


def changed(rng, p, n, shared=0.5):
    """Captions (n_arms + 1, n) that arms change with chances ``p``, the unedited ones first; images differ in ease."""
    ease = np.sqrt(shared) * rng.standard_normal(n) + np.sqrt(1 - shared) * rng.standard_normal((len(p), n))
    top = np.vstack([np.zeros(n), ease < norm.ppf(p)[:, None]]).astype(float)
    return Figure(top, np.ones_like(top))


def test_an_arm_beside_draws_has_an_interval_over_images_and_draws():
    """The arm is one more draw: the interval of the difference from the mean of all draws holds it in 95 of 100."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(400):
        p = np.clip(rng.normal(0.3, 0.1, 6), 0.02, 0.98)
        found = paired(changed(rng, p, 60))
        inside += found.difference_low <= p[0] - 0.3 <= found.difference_high
    assert binomtest(inside, 400, 0.93, "less").pvalue > 1e-3 and inside < 400


def test_arms_that_do_the_same_differ_by_nothing_and_the_opposite_by_everything():
    same = Figure(np.array([[0.0] * 40, *[[1.0, 0.0] * 20] * 6]), np.ones((7, 40)))
    assert paired(same).difference == 0 and paired(same).difference_low < 0 < paired(same).difference_high
    apart_ = Figure(np.array([[0.0] * 40, [1.0] * 40, *[[0.0] * 40] * 5]), np.ones((7, 40)))
    assert paired(apart_).difference == 1 and paired(apart_).difference_low > 0.9
    few = Figure(apart_.top[:, :10], apart_.bottom[:, :10])
    assert np.isnan(paired(few).difference_low) and "20 are needed" in paired(few).why
    assert "5 are needed" in paired(Figure(apart_.top[:4], apart_.bottom[:4])).why


def test_two_that_add_up_are_their_sum_and_one_of_them_is_either():
    low, high = np.arange(40) < 10, (np.arange(40) >= 10) & (np.arange(40) < 22)
    adds = Figure(np.stack([0.0 * low, low | high, low, high]).astype(float), np.ones((4, 40)))
    assert paired(adds, "sum").difference == 0 == paired(adds, "either").difference
    only = Figure(np.stack([0.0 * low, low, low, low]).astype(float), np.ones((4, 40)))
    assert (
        paired(only, "either").difference == 0 > paired(only, "either").difference_low
        and paired(only, "sum").difference == -0.25
    )
    assert paired(only, "sum").difference_high < 0
    more = Figure(np.stack([0.0 * low, ~low, low, low]).astype(float), np.ones((4, 40)))
    assert paired(more, "either").difference == 0.5 and paired(more, "either").difference_low > 0.1
    assert "fewer than 5 images" in paired(adds, "sum").why
