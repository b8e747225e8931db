"""Overlap of the strongest features knows the same from others and both from nothing; the earlier formulas do not."""

import numpy as np
import pytest

from core.crosslingual import earlier
from core.crosslingual.overlap import Effects, fieller, half_of, overlap_rows


def effects(same: float, strength: float = 1.5, n: int = 120, p: int = 120, seed: int = 0) -> Effects:
    """Twelve gender features a language, a share of them in both; half of the images' accidents in both languages."""
    rng, female = np.random.default_rng(seed), np.arange(2 * n) % 2 == 0
    common, side = rng.standard_normal((2 * n, p)), np.where(female, 0.5, -0.5)[:, None]
    true, both = np.zeros((2, p)), np.arange(12) < round(12 * same)
    true[0, :12] = strength
    true[1, :12], true[1, 12:24] = strength * both, strength * ~both
    x = {}
    for lang, effect in zip(("en", "ar"), true, strict=True):
        x[lang] = (np.sqrt(0.5) * (common + rng.standard_normal(common.shape)) + side * effect).astype(np.float32)
    return Effects(x, female)


@pytest.mark.parametrize(("same", "ratio"), [(1.0, 1.0), (0.5, 0.5), (0.0, 0.0)])
def test_over_its_ceiling_the_overlap_is_the_share_that_is_the_same(same, ratio):
    (row,) = overlap_rows(effects(same), [1], (12,))
    assert row["ratio_low"] - 0.1 < ratio < row["ratio_high"] + 0.1
    assert row["floor"] < 0.2 < row["ceiling"]


def test_where_nothing_tells_gender_floor_value_and_ceiling_are_one_and_no_ratio_is_given():
    """Shared accidents of the images would put the same features in front, were both ranked on the same images."""
    rows = [row for seed in range(5) for row in overlap_rows(effects(1.0, 0.0, n=40, seed=seed), [seed], (12,))]
    assert np.mean([r["value"] - r["floor"] for r in rows]) == pytest.approx(0, abs=0.05)
    assert np.isnan([r["ratio"] for r in rows]).sum() >= 4
    assert not any(r["low"] > r["floor_high"] for r in rows)


def test_a_feature_of_the_other_sign_is_not_the_same():
    given = effects(1.0)
    turned = Effects({"en": given.x["en"], "ar": -given.x["ar"]}, given.female)
    (row,) = overlap_rows(turned, [1], (12,))
    assert row["value"] < 0.05 and row["ceiling"] > 0.8


def test_fiellers_interval_is_that_of_a_plain_ratio_where_the_ceiling_is_sure():
    ratio, low, high = fieller((0.4, 0.8), np.array([[0.0001, 0.0], [0.0, 1e-12]]), 1.96)
    assert ratio == pytest.approx(0.5) and (low, high) == pytest.approx((0.5 - 0.0245, 0.5 + 0.0245), abs=1e-4)
    assert np.isnan(fieller((0.1, 0.05), np.eye(2), 1.96)).all()


def test_halves_hold_as_many_of_either_gender():
    female = np.arange(41) < 21
    half = half_of(female, np.random.default_rng(0))
    assert (half & female).sum() == 10 and (half & ~female).sum() == 10


def cases(given: Effects) -> dict[tuple[str, str], float]:
    rows = earlier.earlier_rows(given, {lang: x[:, :8] for lang, x in given.x.items()}, [0])
    return {(r["score"], r["case"]): r["value"] for r in rows}


def test_what_the_published_formulas_give_does_not_hang_on_what_they_name():
    found = cases(effects(1.0))
    assert found["clfa", "measured"] == pytest.approx(found["clfa", "images paired at random"])
    name = "clbas_published"
    assert found[name, "labels shuffled"] < found[name, "same language twice"]  # nothing looks more alike than one
    assert found["hbl_en", "labels shuffled"] > 0
    assert found["sbi", "measured"] == found["sbi", "labels shuffled"] == 0.5


def test_transport_lies_between_floor_and_ceiling():
    found = cases(effects(1.0))
    floor, value, top = (
        found["transport", case] for case in ("images paired at random", "measured", "same language twice")
    )
    assert abs(floor) < 0.05 < 0.3 < value < top <= 1 + 1e-9


def test_marginals_transport_to_each_other_at_the_cost_of_their_distance():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((200, 3))
    cost = earlier.wasserstein(a, a[rng.permutation(200)] + 0.5)
    assert np.diagonal(cost) == pytest.approx(0.5, abs=1e-6)
    plan = earlier.sinkhorn(cost)
    assert plan.sum(0) == pytest.approx(1 / 3) and plan.sum(1) == pytest.approx(1 / 3)
