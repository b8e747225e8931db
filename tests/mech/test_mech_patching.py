"""Predicted effects are first-order effects, ablations are what an edit does, and agreement knows luck from skill."""

import math

import numpy as np
import pytest
import torch

from core.gender.contrast import WORD_END, Contrast, LogOdds
from core.gender.word_ends import word_ends
from core.mech.factored import FactoredMatrix
from core.mech.patching import ablate, agreement, predict
from core.mech.weights import GenderReader
from core.sae.files import sae_id
from core.sae.modules import SAE, SAEConfig, tensor_shapes
from core.steering import Edit, edit_hooks
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm

PAIRS = [(300, 301), (302, 420), (310, WORD_END), (300, 301), (WORD_END, 311), (500, 501)]


@pytest.fixture(scope="module")
def score() -> LogOdds:
    """Every row has words of its own."""
    return LogOdds([Contrast(0, 0, *pair) for pair in PAIRS], word_ends(toy_vlm()))


@pytest.fixture(scope="module")
def saes() -> dict[int, SAE]:
    found = {}
    for layer in (3, 7):
        g, cfg = torch.Generator().manual_seed(layer), SAEConfig("topk", 192, 48, k=4, layer=layer)
        tensors = {n: torch.randn(shape, generator=g) * 0.07 for n, shape in tensor_shapes(cfg).items()}
        tensors["W_dec"] *= 0.02  # small enough for a first order to hold
        found[layer] = SAE(cfg, tensors)
    return found


def test_a_small_feature_does_what_its_gradient_says(saes, score):
    vlm, rows, features = toy_vlm(), toy_rows(), toy_features()
    found = predict(vlm, saes, rows, features, score, 3, vlm.logits)
    ids = {n: sae_id(sae) for n, sae in saes.items()}
    base = ablate(vlm, saes, ids, rows, features, score, [(i, ()) for i in range(6)])
    for layer in saes:
        f = int(np.abs(found[layer]["gradient"].sum(0)).argmax())
        true = ablate(vlm, saes, ids, rows, features, score, [(i, [(layer, f)]) for i in range(6)], batch=4) - base
        for method in ("gradient", "integrated"):
            got = found[layer][method].toarray()[:, f]
            np.testing.assert_allclose(got, true, rtol=0.15, atol=2e-3)
    fires = found[7]["fires"].toarray() > 0
    assert not found[7]["gradient"].toarray()[~fires].any()


def test_in_the_last_layer_own_words_and_gradient_are_the_same(saes, score):
    vlm = toy_vlm()
    found = predict(vlm, saes, toy_rows(), toy_features(), score, 0, vlm.logits)
    np.testing.assert_allclose(found[7]["direct"].toarray(), found[7]["gradient"].toarray(), atol=1e-5)
    assert not np.allclose(found[3]["direct"].toarray(), found[3]["gradient"].toarray(), atol=1e-5)


def test_ablation_is_the_edit_of_the_house(saes, score):
    vlm, rows, features = toy_vlm(), toy_rows()[:2], toy_features()[:2]
    ids = {3: sae_id(saes[3])}
    got = ablate(vlm, saes, ids, rows, features, score[:2], [(1, [(3, 5), (3, 9)]), (0, ())])
    edits = [[], [Edit(3, 5, ids[3], "ablate"), Edit(3, 9, ids[3], "ablate")]]
    logits = vlm.forward(rows, features, edits=edit_hooks(edits, saes, {}, cap=math.inf), logits=True).logits
    assert logits is not None
    np.testing.assert_allclose(got, score[:2](logits[:, -1]).flip(0), rtol=1e-4, atol=1e-4)


def test_agreement_is_one_for_the_truth_and_chance_for_noise():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(1, 30)) + 0.2 * rng.normal(size=(24, 30))
    same = agreement(true, true, 300, [0])
    assert same["r"] == pytest.approx(1) and same["slope"] == pytest.approx(1) and same["low"] > 0.99
    half = agreement(true / 2, true, 300, [0])
    assert half["r"] == pytest.approx(1) and half["slope"] == pytest.approx(2)
    noise = agreement(rng.normal(size=(24, 30)), true, 300, [0])
    assert noise["low"] < 0 < noise["high"] and noise["control_low"] < noise["r"] < noise["control_high"]


def test_too_few_or_constant_effects_have_a_reason():
    few = agreement(np.ones((5, 3)), np.ones((5, 3)), 100, [0])
    assert "at least 8" in few["why"] and np.isnan(few["r"])
    assert "does not vary" in agreement(np.ones((5, 9)), np.ones((5, 9)), 100, [0])["why"]


def test_a_head_that_copies_the_gender_direction_is_beyond_its_nulls_and_one_that_ignores_it_is_not():
    rng, female = np.random.default_rng(0), np.arange(80) % 2 == 0
    gender = np.eye(24)[0]
    resid = (rng.normal(size=(80, 24)) + 3 * np.outer(female, gender)).astype(np.float32)
    above = (rng.normal(size=(80, 24)) + 3 * np.outer(female, np.eye(24)[1])).astype(np.float32)
    reader = GenderReader(female, 0)
    source, target = reader.grouped(resid), reader.grouped(above)
    one = torch.zeros(24, 4)
    one[0, 0] = 1
    two = torch.zeros(4, 24)
    two[0, 1] = 1
    copies = reader.read(FactoredMatrix(one, two), source, target, np.eye(24)[1])
    assert copies["cosine"] > 0.8 and copies["cosine_low"] > 0.6 and copies["word_cosine"] == pytest.approx(1)
    assert copies["gain"] > 3 * copies["random_gain"]
    blind = reader.read(FactoredMatrix(torch.randn(24, 4), torch.randn(4, 24)), source, target, np.eye(24)[1])
    assert blind["cosine_random_low"] - 0.2 < blind["cosine"] < blind["cosine_random_high"] + 0.2
    near = reader.features(FactoredMatrix(one, two), source, np.eye(24))
    assert near["features"][0] == 1 and near["feature_cosines"][0] == pytest.approx(1)


def test_what_the_stream_carries_of_the_images_is_no_reading_of_gender():
    """The layer above holds what the one below held, for these very images: without gender it was .9."""
    female, all_there = np.arange(120) % 2 == 0, FactoredMatrix(torch.eye(24), torch.eye(24))
    found = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        resid = rng.normal(size=(120, 24))
        reader = GenderReader(female, seed)
        below, above = (
            reader.grouped((resid + 0.2 * rng.normal(size=resid.shape)).astype(np.float32)) for _ in range(2)
        )
        found.append(reader.read(all_there, below, above, np.eye(24)[0]))
    assert np.mean([row["cosine"] for row in found]) < 0.3
    assert not any(row["cosine_low"] > row["cosine_shuffled_high"] for row in found)
