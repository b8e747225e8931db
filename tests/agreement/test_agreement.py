"""Agreement without the images' accidents, over its ceiling: 1 for equal effects, 0 for unrelated, nothing for none."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from core.agreement import _products, _products_left_out, _products_within, agreement
from core.answers import NEARLY_SAME
from core.answers.mechanisms import alike_sentence
from core.config import Config
from core.mech.part_agreement import rows
from tests.agreement.agreement_worlds import directions_world, effects_world, shares_world


def small():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(11, 4))
    return [a - a.mean(0), (b := a + rng.normal(size=(11, 4))) - b.mean(0)], np.arange(11) % 2 == 0


def test_products_are_the_mean_over_all_pairs_of_different_images():
    (a, b), female = small()
    women, men = np.flatnonzero(female), np.flatnonzero(~female)
    pairs = [(a[i] - a[k]) @ (b[j] - b[m]) for i in women for j in women for k in men for m in men if i != j and k != m]
    assert _products([a, b], female)[0] == pytest.approx(np.mean(pairs))


def test_what_is_left_out_is_left_out_and_one_stratum_changes_nothing():
    sides, female = small()
    left = _products_left_out(sides, female)
    for i in range(11):
        rest = np.delete(np.arange(11), i)
        np.testing.assert_allclose(_products([x[rest] for x in sides], female[rest]), left[:, i])
    one = np.zeros(11)
    own, within, mixed, women = _products_within(sides, female, female[None, ::-1], (one, one))
    np.testing.assert_allclose(own, _products(sides, female))
    np.testing.assert_allclose(within, left[:, np.argsort(~female, kind="stable")])
    assert women.tolist() == [True] * 6 + [False] * 5
    np.testing.assert_allclose(mixed[:, 0], _products(sides, female[::-1]))


def many(world, kind, n_worlds, *given):
    found = []
    for seed in range(n_worlds):
        a, b, female = world(np.random.default_rng(seed), *given)
        found.append(agreement(a, b, female, kind, seed))
    return pd.DataFrame(found)


@pytest.mark.parametrize("n", [60, 140, 400])
def test_equal_effects_read_one_at_any_number_of_images_where_the_plain_value_does_not(n):
    found = many(effects_world, "identity", 20, n, 64, 1.0)
    assert found["ratio"].mean() == pytest.approx(1, abs=0.05)
    assert found["value"].mean() < (0.97 if n < 400 else 0.99) and (found["value"] > found["floor_high"]).all()
    unrelated = many(effects_world, "identity", 20, n, 64, 0.0)
    assert unrelated["ratio"].mean() == pytest.approx(0, abs=0.12)


def test_one_direction_is_never_called_two_and_two_are_found():
    one, half, two = (many(directions_world, "cosine", 20, 140, 192, c, 2.5) for c in (1.0, 0.5, 0.0))
    assert one["value"].max() < 0.7  # what was read as two directions
    assert not (one["ratio_high"] < NEARLY_SAME).any() and (one["ratio_low"] > 0.5).all()
    assert (two["ratio_high"] < NEARLY_SAME).all() and (half["ratio_high"] < NEARLY_SAME).mean() > 0.7
    for found, true in ((one, 1.0), (half, 0.5), (two, 0.0)):
        assert ((found["ratio_low"] <= true) & (true <= found["ratio_high"])).sum() >= binom.ppf(0.001, 20, 0.95)


def test_the_published_size_one_direction_in_2560_dimensions_from_1000_images():
    a, b, female = directions_world(np.random.default_rng(0), 1000, 2560, 1.0, 4.0)
    found = agreement(a, b, female, "cosine", 0)
    assert found.value < 0.7 and found.ratio == pytest.approx(1, abs=0.05) and found.ratio_low > NEARLY_SAME


def test_where_nothing_is_there_is_no_ratio():
    found = many(directions_world, "cosine", 40, 60, 100, 1.0, 0.0, 0.9)
    assert found["value"].mean() == pytest.approx(0, abs=0.15)
    assert (found["low"] > found["floor_high"]).sum() <= binom.ppf(0.999, 40, 0.025)
    assert found["ratio_low"].isna().mean() > 0.9
    with pytest.raises(ValueError, match="3 of each"):
        agreement(np.ones((4, 2)), np.ones((4, 2)), np.array([True, True, False, False]), "cosine", 0)


def said(n_worlds, *world):
    listed = [{"lang": "en", "part": "head", "why": ""}] * world[1]
    tables = [
        pd.DataFrame(rows(listed, shares_world(np.random.default_rng(seed), *world), Config()))
        for seed in range(n_worlds)
    ]
    return [alike_sentence(table) for table in tables]  # (claimed, sentence)


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_the_same_parts_are_not_claimed_where_no_part_does_anything(shared):
    sentences = said(15, 60, 80, 1.0, 0.0, shared)
    assert sum(claimed for claimed, _ in sentences) <= binom.ppf(0.999, 15, 0.025)


def test_the_same_parts_are_found_where_they_do_it_and_not_where_others_do():
    same, others = said(8, 150, 80, 1.0, 2.5), said(8, 150, 80, 0.0, 2.5)
    assert sum(text.startswith(" The same parts do it") for _, text in same) >= 6
    assert sum(claimed for claimed, _ in others) <= 1


def test_two_languages_and_enough_images_are_needed():
    listed = [{"lang": "en", "part": "head", "why": ""}] * 80
    world = shares_world(np.random.default_rng(0), 12, 80, 1.0, 2.0)
    assert "10 are needed" in alike_sentence(pd.DataFrame(rows(listed, world, Config())))[1]
    few = pd.DataFrame(rows(listed[:3], shares_world(np.random.default_rng(0), 60, 3, 1.0, 2.0), Config()))
    assert "cannot be said: 3 parts" in alike_sentence(few)[1]
