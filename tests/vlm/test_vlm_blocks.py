"""The parts of a decoder layer are named right for every family: they add up, and heads are what their weights say."""

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.gender.contrast import WORD_END, Contrast, LogOdds
from core.gender.word_ends import word_ends
from core.mech.heads import direct_effects, head_outputs, parts_of
from core.mech.weights import mlp, ov, qk, spectra
from core.vlm.blocks import Block, norm_scale
from core.vlm.hookpoints import ActivationCache, HookPoint, hook_points
from tests.tiny_models import FAMILIES
from tests.vlm.test_vlm_conformance import conformance, tiny
from tests.vlm.toy_model import toy_vlm

PARTS = ("resid_pre", "attn_out", "mlp_out", "resid_post", "z")


def outside(vlm):
    return [n for n in range(vlm.n_layers) if Block(vlm, n).looks_outside]


def watched(family, points, **options):
    vlm, work = tiny(family), conformance(family)
    with ActivationCache(vlm, points, **options) as cache:
        vlm.forward([work.row(0), work.row(2)], work.features[[0, 2]])
    return vlm, cache


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_halves_add_makes_the_layers_output(family):
    vlm, cache = watched(family, hook_points(range(tiny(family).n_layers), PARTS))
    work = conformance(family)
    captured = vlm.forward([work.row(0), work.row(2)], work.features[[0, 2]], range(vlm.n_layers))
    for layer in range(vlm.n_layers):
        parts = sum(cache[layer, name] for name in PARTS[:3])
        torch.testing.assert_close(parts, cache[layer, "resid_post"], rtol=1e-4, atol=1e-4)
        assert torch.equal(cache[layer, "resid_post"], captured.resid[layer][captured.mask])
        heads = head_outputs(Block(vlm, layer), cache[layer, "z"])
        torch.testing.assert_close(heads.sum(1), cache[layer, "attn_out"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_patterns_are_those_of_eager_attention_and_heads_what_their_weights_say(family):
    """The sum of attention-weighted x OV, up to norms' scales and biases of values, is what a head gathers."""
    inside = [n for n in range(tiny(family).n_layers) if n not in outside(tiny(family))]
    vlm, cache = watched(family, hook_points(inside, ("resid_pre", "pattern", "z")))
    work = conformance(family)
    plain = work.plain(0, work.row(0)[len(vlm.prompt_ids(work.prompts[0])) :])
    vlm.model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            found = vlm.model(**plain, output_attentions=True).attentions
    finally:
        vlm.model.set_attn_implementation("eager" if family == "paligemma2" else "sdpa")
    mine = cache.row == 0
    width = plain["input_ids"].shape[1]
    for layer in inside:
        block, pattern = Block(vlm, layer), cache[layer, "pattern"][mine][..., -width:]
        torch.testing.assert_close(pattern, found[layer][0].transpose(0, 1), rtol=0, atol=2e-5)
        x = cache[layer, "resid_pre"][mine]
        x = x * norm_scale(block.part("attn_in_norm"), x)
        bias = block.part("v").bias
        for head in range(block.n_heads):
            matrix, kv = ov(vlm, layer, head), block.kv_head(head)
            gathered = pattern[:, head] @ (x @ matrix.A)
            if bias is not None:
                gathered = gathered + bias.detach()[kv * block.d_head : (kv + 1) * block.d_head]
            torch.testing.assert_close(gathered, cache[layer, "z"][mine][:, head], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_matrices_have_spectra_and_parts_are_counted(family):
    vlm = tiny(family)
    rows = [row for layer in range(vlm.n_layers) for row in spectra(vlm, layer, seed=0)]
    n_outside = len(outside(vlm))
    assert len(rows) == 9 * (vlm.n_layers - n_outside) + n_outside
    assert n_outside == (2 if family == "mllama" else 0)
    assert all(row["effective_rank"] >= 1 for row in rows) and len(parts_of(vlm)) == 1 + 5 * vlm.n_layers
    assert mlp(vlm, 0).shape == (vlm.d_model, vlm.d_model)


def test_cross_attention_layers_are_refused_where_they_have_nothing_to_show():
    vlm = tiny("mllama")
    for call in (ov, qk):
        with pytest.raises(ValueError, match="Heads of layer 1"):
            call(vlm, 1, 0)
    with pytest.raises(UserError, match="no attention pattern"), ActivationCache(vlm, [HookPoint(1, "pattern")]):
        pass


def test_what_qwen3_adds_between_its_first_layers_is_no_part_of_a_layer():
    """resid_post is the layer's own output; the next layer gets the image's features on top, at image tokens only."""
    vlm, cache = watched("qwen3_vl", hook_points(range(3), ("resid_pre", "resid_post")))
    image = cache.is_kind("image")
    for layer in range(vlm.n_deep):
        added = cache[layer + 1, "resid_pre"] - cache[layer, "resid_post"]
        assert bool((added[image].abs().amax(1) > 0.01).all()) and not added[~image].any()


@pytest.mark.parametrize("family", ("mllama", "qwen3_vl"))
def test_edits_are_in_what_is_kept(family):
    vlm, work = tiny(family), conformance(family)
    points = hook_points([1], ("resid_pre", "mlp_out", "attn_out", "resid_post"))
    with ActivationCache(vlm, points) as plain:
        vlm.forward([work.row(0)], work.features[:1])
    with ActivationCache(vlm, points) as edited:
        vlm.forward([work.row(0)], work.features[:1], edits={1: lambda h, kinds: h + 1})
    torch.testing.assert_close(edited[1, "resid_post"], plain[1, "resid_post"] + 1)
    assert torch.equal(edited[1, "mlp_out"], plain[1, "mlp_out"])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_parts_add_makes_the_difference_of_logits(family):
    """Embedding, all heads (those behind a gate too) and all MLPs: their shares sum to the words' difference."""
    vlm, work = tiny(family), conformance(family)
    score = LogOdds([Contrast(0, 0, 300, 302), Contrast(0, 0, 301, WORD_END)], word_ends(vlm))
    found = direct_effects(vlm, [work.row(0), work.row(2)], work.features[[0, 2]], score)
    assert found.shares.shape == (2, 1, len(parts_of(vlm)))
    assert found.shares.sum(-1) == pytest.approx(found.total, rel=1e-3, abs=1e-3)
    assert found.attention.shape == (2, vlm.n_layers, 4, vlm.n_image_tokens)
    unknown = [bool(np.isnan(found.attention[:, layer]).any()) for layer in range(vlm.n_layers)]
    assert [n for n, missing in enumerate(unknown) if missing] == outside(vlm)


class Packed(torch.nn.Linear):
    """A linear layer that keeps its weights as bytes, as a quantised one does."""

    def __init__(self, linear: torch.nn.Linear):
        super().__init__(linear.in_features, linear.out_features)
        self.meant = linear.weight.detach()
        self.weight = torch.nn.Parameter(torch.zeros(3, dtype=torch.uint8), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.meant.T + self.bias


def test_weights_that_are_kept_packed_are_read_as_what_they_mean(monkeypatch):
    block = Block(toy_vlm(), 3)
    plain, d_head = block.weight("o"), block.d_head
    monkeypatch.setitem(block.module.self_attn._modules, "o_proj", Packed(block.part("o")))
    packed = Block(toy_vlm(), 3)
    assert torch.allclose(packed.weight("o"), plain, atol=1e-6) and packed.d_head == d_head
