"""Direct effects add up to the difference of logits, find what is planted and nothing where nothing is."""

import numpy as np
import pandas as pd
import pytest

from core.answers.mechanisms import mechanisms_answer
from core.config import MechanismsConfig
from core.gender.contrast import WORD_END, Contrast, LogOdds
from core.gender.word_ends import word_ends
from core.mech.heads import (
    DirectEffects,
    direct_effects,
    effect_rows,
    join,
    map_rows,
    parts_of,
    summarise,
    with_findings,
)
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm

FEW_DRAWS = MechanismsConfig(n_bootstrap=400, n_permutations=400)
N = 6
PAIRS = [(300, 301), (302, 420), (310, WORD_END), (300, 301), (WORD_END, 311), (500, 501)]


def log_odds(pairs=PAIRS) -> LogOdds:
    return LogOdds([Contrast(0, 0, *pair) for pair in pairs], word_ends(toy_vlm()))


def toy_effects(controls=()) -> DirectEffects:
    return direct_effects(toy_vlm(), toy_rows(), toy_features(), log_odds(), controls)


def test_parts_add_up_to_the_difference_of_logits():
    vlm, control = toy_vlm(), log_odds([(510, 511)] * N)
    found = toy_effects([control])
    assert found.shares.shape == (N, 2, len(parts_of(vlm))) and len(parts_of(vlm)) == 1 + 8 * 5
    np.testing.assert_allclose(found.shares.sum(2), found.total, rtol=1e-3, atol=1e-3)
    found_logits = vlm.forward(toy_rows(), toy_features(), logits=True).logits
    assert found_logits is not None
    logits = found_logits[:, -1].double()
    ends = word_ends(vlm)

    def side(row, token):
        ended = (logits[row, ends] * logits[row, ends].softmax(-1)).sum()
        return ended if token == WORD_END else logits[row, token]

    expected = [side(i, female) - side(i, male) for i, (female, male) in enumerate(PAIRS)]
    np.testing.assert_allclose(found.total[:, 0], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.total[:, 1], logits[:, 510] - logits[:, 511], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.log_odds, log_odds()(logits), rtol=1e-3, atol=1e-3)


def test_a_token_a_side_is_a_plain_difference_of_logits():
    found = direct_effects(toy_vlm(), toy_rows(), toy_features(), log_odds([(300, 301)] * N))
    np.testing.assert_allclose(found.shares[:, 0].sum(1), found.log_odds, rtol=1e-3, atol=1e-3)


def test_batches_make_no_difference():
    rows, features = toy_rows(), toy_features()
    parts = [direct_effects(toy_vlm(), rows[i : i + 3], features[i : i + 3], log_odds()[i : i + 3]) for i in (0, 3)]
    whole, joined = toy_effects(), join(parts)
    np.testing.assert_allclose(joined.shares, whole.shares, rtol=1e-3, atol=2e-4)
    np.testing.assert_allclose(joined.attention, whole.attention, atol=1e-4)


def test_attention_is_that_to_the_image_alone():
    found = toy_effects()
    assert found.attention.shape == (6, 8, 4, toy_vlm().n_image_tokens)
    sums = found.attention.sum(-1)
    assert (sums >= 0).all() and (sums <= 1 + 1e-5).all() and sums.min() < 0.99


def planted(n: int = 60, n_parts: int = 9, strength: float = 2.0) -> tuple[DirectEffects, np.ndarray, np.ndarray]:
    """Part 3 adds ``strength`` where the image shows a woman; the rest and the random words are noise."""
    rng, female = np.random.default_rng(0), np.arange(n) % 2 == 0
    shares = rng.normal(size=(n, 21, n_parts)).astype(np.float32)
    shares[female, 0, 3] += strength
    total = shares.sum(2)
    return (
        DirectEffects(shares, total, total[:, 0], np.full((n, 2, 4, 16), 0.03, np.float32)),
        female,
        np.arange(n) % 4 < 2,
    )


def test_the_planted_part_is_found_and_no_other():
    effects, female, held_out = planted()
    found = summarise(effects, female, held_out, np.zeros(60, int), np.ones(10, bool), FEW_DRAWS, [0])
    assert found["low"][3] < 2 < found["high"][3] and found["p"][3] < 0.01
    assert found["effect"][3] > found["random_high"][3] and found["effect_train"][3] > 1
    assert (found["low"] <= found["effect"]).all() and (found["effect"] <= found["high"]).all()
    rows = effect_rows(
        effects,
        parts_of(toy_vlm())[:9],
        "en",
        female,
        held_out,
        np.full(60, 40),
        MechanismsConfig(),
        [0],
        np.zeros(60, int),
    )
    with_findings(rows, 0.05)
    assert [r["part"] for r in rows if r["finding"]] == [rows[3]["part"]] and rows[-1]["part"] == "all"
    assert rows[1]["image_even"] == pytest.approx(0.4) and rows[1]["image_share"] == pytest.approx(0.48)


def test_intervals_of_effects_hold_the_truth_at_ten_images_a_gender():
    """2,000 parts that add .5 where a woman is: .944 of them, here above .93 (2.8 standard errors)."""
    rng, female = np.random.default_rng(1), np.arange(22) % 2 == 0
    shares = rng.normal(size=(22, 1, 2000)).astype(np.float32)
    shares[female] += 0.5
    effects = DirectEffects(shares, shares.sum(2), shares.sum(2)[:, 0], np.zeros((22, 1, 1, 1), np.float32))
    few = MechanismsConfig(n_permutations=100)
    held_out = np.arange(22) < 20
    found = summarise(effects, female, held_out, np.zeros(22, int), np.ones(2001, bool), few, [0])
    assert ((found["low"] <= 0.5) & (found["high"] >= 0.5))[:-1].mean() > 0.93


def test_nothing_is_found_where_nothing_is():
    n_found = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        shares = rng.normal(size=(60, 21, 9)).astype(np.float32)
        effects = DirectEffects(shares, shares.sum(2), shares.sum(2)[:, 0], np.full((60, 2, 4, 16), 0.03, np.float32))
        args = (
            np.arange(60) % 2 == 0,
            np.arange(60) % 4 < 2,
            np.full(60, 40),
            MechanismsConfig(n_bootstrap=200, n_permutations=200),
            [seed],
            np.arange(60) % 3,
        )
        rows = effect_rows(effects, parts_of(toy_vlm())[:9], "en", *args)
        with_findings(rows, 0.05)
        n_found += sum(r["finding"] for r in rows)
    assert n_found <= 1


def test_too_few_images_give_a_reason_and_no_number():
    effects, female, held_out = planted(8)
    rows = effect_rows(
        effects,
        parts_of(toy_vlm())[:9],
        "ar",
        female,
        held_out,
        np.full(8, 40),
        MechanismsConfig(),
        [0],
        np.zeros(8, int),
    )
    with_findings(rows, 0.05)
    assert {r["why"] for r in rows} == {"2 captions of a gender and split; at least 10 are needed"}
    assert not any(r["finding"] or "effect" in r for r in rows)
    none = np.zeros(0, bool)
    rows = effect_rows(
        None,
        parts_of(toy_vlm()),
        "ar",
        none,
        none,
        np.zeros(0, np.int64),
        MechanismsConfig(),
        [0],
        np.zeros(0, np.int64),
        "no words",
    )
    assert rows[0]["why"] == "no words"


def test_maps_are_kept_by_image_with_their_mean():
    effects, _, _ = planted(6)
    effects.attention[2, 1, 0] = 0.5
    samples = [{"sample_id": 10 + i, "gender": "female", "word": "her"} for i in range(6)]
    rows = map_rows(effects, [p for p in parts_of(toy_vlm()) if p.layer < 2], "en", [2], samples, toy_vlm().patches)
    assert len(rows) == 8 * 2
    mine = [r for r in rows if (r["layer"], r["head"]) == (1, 0)]
    assert mine[1]["sample_id"] == 12 and mine[1]["patch_map"] == [0.5] * 16
    assert mine[0]["sample_id"] == -1 and mine[0]["patch_map"][0] == pytest.approx((0.5 + 5 * 0.03) / 6)


def test_what_the_choice_of_words_tells_is_no_finding():
    """A part that always adds 3 to one pair of words, which captions of women mostly hold."""
    effects, female, held_out = planted(200, strength=0.0)
    rng = np.random.default_rng(1)
    pair, every = np.where(rng.random(200) < 0.85, female, ~female).astype(int), np.ones(10, bool)
    effects.shares[pair == 1, 0, 5] += 3
    found = summarise(effects, female, held_out, pair, every, FEW_DRAWS, [0])
    assert found["low"][5] > 1 and found["p"][5] > 0.05
    assert found["shuffled_low"][5] < found["effect"][5] < found["shuffled_high"][5]
    assert summarise(effects, female, held_out, np.zeros(200, int), every, FEW_DRAWS, [0])["p"][5] < 0.01


def test_where_each_gender_has_words_of_its_own_no_part_can_be_found_and_it_is_said():
    """One woman’s caption compares what sixteen men’s compare: seventeen dealings, of which one is the true one."""
    effects, female, held_out = planted(64, strength=9.0)
    own = np.where(female, 1, 0)
    own[np.flatnonzero(female & held_out)[0]] = 0
    few, none, all_of_them = own, female.astype(int), np.zeros(64, int)
    told = {}
    for name, pair in (("few", few), ("none", none), ("all", all_of_them)):
        n_keys, parts = np.full(64, 40, np.int64), parts_of(toy_vlm())[:9]
        rows = effect_rows(effects, parts, "en", female, held_out, n_keys, FEW_DRAWS, [0], pair)
        with_findings(rows, 0.05)
        told[name] = rows[3]["n_compared"], rows[3]["p_least"], sum(r["finding"] for r in rows)
        assert all(r["p_adjusted"] >= r["p_least"] - 1e-9 for r in rows[1:-1])
        if name != "all":
            answer = mechanisms_answer(pd.DataFrame(rows), pd.DataFrame())
            assert answer.sure == "not enough data" and answer.claims == ()
    assert told["few"] == (17, pytest.approx(1 / 17), 0)
    assert told["none"] == (0, 1.0, 0)
    assert told["all"] == (32, pytest.approx(1 / 401), 1)
