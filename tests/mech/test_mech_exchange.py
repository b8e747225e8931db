"""Exchanged image tokens: what is moved and what is kept, who is a partner, and what a share of the effect is."""

import numpy as np
import pytest
import torch

from core.mech.exchange import Exchange, direction_of, moved_along, partners, share_row
from core.vlm import load_vlm
from core.vlm.batch import IMAGE
from tests.tiny_models import tiny_model_dir
from tests.vlm.test_vlm_vision import pictures


def test_one_component_is_the_partners_and_all_others_are_kept():
    g = torch.Generator().manual_seed(0)
    own, there, u = (torch.randn(shape, generator=g) for shape in ((2, 5, 8), (2, 5, 8), (8,)))
    u = u / u.norm()
    moved = moved_along(own, there, u)
    assert torch.allclose(moved @ u, there @ u, atol=1e-5)
    across = torch.eye(8) - torch.outer(u, u)
    assert torch.allclose(moved @ across, own @ across, atol=1e-5)


def test_a_partner_is_the_image_that_differs_in_gender_alone():
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(20, 12))
    kinds[:, 0] = 0
    female = np.repeat([True, False], 20)
    states = np.concatenate([kinds, kinds]) + 0.05 * rng.normal(size=(40, 12))
    states[:, 0] += np.where(female, 3.0, -3.0)
    u = direction_of(states, female).double().numpy()
    assert abs(u[0]) > 0.99
    order = rng.permutation(40)
    found = order[partners(states[order], female[order], u)]
    assert (found == (order + 20) % 40).mean() > 0.95


@pytest.mark.parametrize("family", ("gemma3", "llava", "qwen2_vl", "idefics3", "paligemma"))
def test_all_image_tokens_at_a_layer_are_the_partners(family):
    """Behind the last layer the word no longer looks at them; before, it does."""
    vlm = load_vlm(str(tiny_model_dir(family)))
    images = pictures()[:2]
    prompt = "caption en" if family == "paligemma" else "Describe the image."
    rows, own = [vlm.prompt_ids(prompt)] * 2, vlm.encode_images(images)
    there = own.flip(0)
    last = vlm.n_layers - 1
    base = vlm.forward(rows, own, [0, last])
    other = vlm.forward(rows, there, [0, last])
    states = other.resid[0][other.kinds == IMAGE].reshape(2, -1, vlm.d_model)
    moved = vlm.forward(rows, own, [0, last], edits={0: Exchange(states)})
    assert torch.allclose(moved.resid[0][moved.kinds == IMAGE], other.resid[0][other.kinds == IMAGE], atol=1e-5)
    assert torch.allclose(moved.resid[0][moved.kinds != IMAGE], base.resid[0][base.kinds != IMAGE], atol=1e-5)
    assert not torch.allclose(moved.resid[last][:, -1], base.resid[last][:, -1], atol=1e-4)
    ends = other.resid[last][other.kinds == IMAGE].reshape(2, -1, vlm.d_model)
    late = vlm.forward(rows, own, [last], edits={last: Exchange(ends)})
    assert torch.allclose(late.resid[last][:, -1], base.resid[last][:, -1], atol=1e-5)
    parted = Exchange(states).of_rows(1, 2)(base.resid[0][1:], base.kinds[1:])
    assert torch.allclose(parted, moved.resid[0][1:], atol=1e-5)


@pytest.mark.parametrize("family", ("qwen3_vl", "mllama", "gemma3"))
def test_a_direction_moves_what_enters_the_decoder_and_nothing_that_is_added_deeper(family):
    vlm = load_vlm(str(tiny_model_dir(family)))
    own = vlm.encode_images(pictures()[:2])
    u = torch.nn.functional.normalize(torch.arange(1.0, vlm.d_model + 1), dim=0)
    moved = moved_along(own, own.flip(0), u)
    tokens, other = vlm.image_tokens(moved).float(), vlm.image_tokens(own.flip(0)).float()
    assert torch.allclose(tokens @ u, other @ u, atol=1e-4)
    assert torch.equal(moved[..., vlm.d_model :], own[..., vlm.d_model :])


def test_the_whole_exchange_is_one_and_what_does_nothing_is_none():
    rng = np.random.default_rng(0)
    whole = 4 + rng.normal(size=40)
    row = share_row(whole, whole)
    assert row["share"] == pytest.approx(1) and row["high"] - row["low"] < 1e-6
    nothing = share_row(whole, 0.3 * rng.normal(size=40), 0.3 * rng.normal(size=(8, 40)))
    assert nothing["low"] < 0 < nothing["high"] and nothing["beyond_low"] < 0 < nothing["beyond_high"]
    half = share_row(whole, whole / 2 + 0.3 * rng.normal(size=40), 0.3 * rng.normal(size=(8, 40)))
    assert half["low"] < 0.5 < half["high"] and half["beyond_low"] > 0.3


def test_a_direction_like_any_other_is_seldom_beyond_the_others():
    """Directions differ in what they carry; the gender's is drawn as the shuffled ones are."""
    rng, hits, worlds = np.random.default_rng(1), 0, 400
    for _ in range(worlds):
        whole = 2 + rng.normal(size=40)
        carried = rng.gamma(1, 0.2, 9)[:, None] * whole + 0.3 * rng.normal(size=(9, 40))
        hits += share_row(whole, carried[0], carried[1:])["beyond_low"] > 0
    assert hits <= 36  # at 2.5 % nominal, p > .999 up to 23; shares are skewed here
