"""Gradient times activation: the true change on a linear model, the gradient itself on a real one."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from core.gender.attribution import Target, attribute, balanced, effect_columns, targets_of
from core.gender.contrast import WORD_END, Contrast
from core.gender.logit_words import WordSets
from core.sae.modules import SAE, SAEConfig
from core.vlm.gradients import resid_gradients
from tests.vlm.toy_model import Read, toy_features, toy_vlm

LAYERS = (3, 6)
SETS = WordSets("en", torch.tensor([300]), torch.tensor([301]))


def sae(d_model: int, d_sae: int = 24, k: int = 4, seed: int = 0) -> SAE:
    torch.manual_seed(seed)
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, d_model), dim=1)
    zeros = {"b_enc": torch.zeros(d_sae), "b_dec": torch.zeros(d_model)}
    return SAE(SAEConfig("topk", d_model, d_sae, k), {"W_enc": W_dec.T.contiguous(), "W_dec": W_dec, **zeros})


@pytest.fixture(scope="module")
def passes():
    """Two captions of different lengths, one image each."""
    vlm = toy_vlm()
    prompt = vlm.prompt_ids("Describe the image.")
    rows = [[*prompt, *range(310, 313)], [*prompt, *range(320, 327)]]
    return vlm, rows, toy_features()[:2]


def test_the_effect_of_a_feature_on_a_linear_model_is_the_true_change_without_it(passes, monkeypatch):
    """All above the SAE's layer is made linear: the next-token logits are a fixed map of the summed residuals."""
    vlm, rows, features = passes
    torch.manual_seed(1)
    W = torch.randn(vlm.d_model, 2) / 16
    reader = Read(lambda logits: (logits @ W)[:, 0] - (logits @ W)[:, 1])
    monkeypatch.setattr(vlm.model, "get_output_embeddings", lambda: torch.nn.Identity())
    monkeypatch.setattr(vlm, "run_decoder", linear_decoder(vlm))
    the_sae = sae(vlm.d_model)
    effects = attribute(vlm, {3: the_sae}, rows, features, reader)[3].toarray()
    assert (effects != 0).sum() > 10

    def without(feature):
        def edit(h, kinds):
            z = the_sae.encode(h.reshape(-1, vlm.d_model)).detach().clone()
            member = ((kinds != 0) & (kinds != 5)).reshape(-1, 1)
            kept = z[:, feature : feature + 1] * member
            return h - (kept * the_sae.W_dec[feature].detach()).reshape(h.shape)

        return edit

    clean = reader(last(vlm, rows, features, {}))
    for feature in range(24):
        change = clean - reader(last(vlm, rows, features, {3: without(feature)}))
        assert effects[:, feature] == pytest.approx(change.detach().numpy(), abs=1e-3, rel=1e-3)


def linear_decoder(vlm):
    """Every layer is passed through (for its hooks); all that follows layer 3 is the sum over positions."""

    def run(embeds, mask, position, batch, cache):
        h = embeds
        for number, layer in enumerate(vlm.decoder_layers):
            if number == 3:
                for hook in layer._forward_hooks.values():
                    changed = hook(layer, (), h)
                    h = h if changed is None else changed
        return (h * mask[..., None]).sum(1, keepdim=True).expand_as(h)

    return run


def last(vlm, rows, features, edits):
    from core.vlm.hooks import editing

    with torch.no_grad(), editing(vlm, edits):
        return vlm._whole_pass(vlm._lay_out(rows, features.clone()), None)[:, -1]


def test_a_feature_that_writes_nothing_has_no_effect_and_one_that_never_fires_has_no_entry(passes):
    vlm, rows, features = passes
    the_sae = sae(vlm.d_model)
    with torch.no_grad():
        the_sae.W_dec[3] = 0
        the_sae.b_enc[5] = -1e9
    effects = attribute(vlm, {6: the_sae}, rows, features, SETS)[6]
    dense = effects.toarray()
    assert (dense[:, 3] == 0).all() and (dense[:, 5] == 0).all() and (dense != 0).any()
    assert effects.shape == (2, 24)


def test_the_gradient_is_that_of_a_small_push(passes):
    vlm, rows, features = passes
    before = [p.requires_grad for p in vlm.model.parameters()]
    found = resid_gradients(vlm, rows, features, LAYERS, SETS)
    torch.manual_seed(2)
    for layer in LAYERS:
        push = torch.randn(vlm.d_model)
        push /= push.norm()
        gradient = found.gradient[layer]
        position = gradient.shape[1] - 2  # the last but one token of both rows

        def score(size, layer=layer, push=push, position=position):
            def edit(h, _):
                h = h.clone()
                h[:, position] += size * push
                return h

            return SETS(vlm.forward(rows, features, edits={layer: edit}, logits=True).logits[:, -1])

        slope = (score(0.05) - score(-0.05)) / 0.1
        assert torch.allclose(gradient[:, position] @ push, slope, atol=2e-3, rtol=2e-2)
    assert [p.requires_grad for p in vlm.model.parameters()] == before


def test_padding_and_what_comes_later_has_no_gradient(passes):
    vlm, rows, features = passes
    found = resid_gradients(vlm, rows, features, [3], SETS)
    assert found.gradient[3][0, :4].abs().max() == 0  # the shorter row begins with padding
    alone = resid_gradients(vlm, rows[:1], features[:1], [3], SETS)
    assert torch.allclose(alone.gradient[3][0], found.gradient[3][0, 4:], atol=1e-5)


def test_targets_end_before_the_token_that_says_the_gender_and_captions_without_a_contrast_have_none():
    captions = [{"sample_id": s, "lang": "en", "token_ids": [1, 2, 3, 4]} for s in range(4)]
    row = {"lang": "en", "begins": 1, "slot": 2, "female": 3, "male": WORD_END, "why": ""}
    contrasts = [
        {**row, "sample_id": 0},
        {**row, "sample_id": 1, "slot": 4},
        {**row, "sample_id": 2, "female": None, "male": None, "why": "no counterpart"},
        {**row, "sample_id": 3, "lang": "ar"},
    ]
    found = targets_of(captions, contrasts, "en")
    assert {s: t.token_ids for s, t in found.items()} == {0: [1, 2], 1: [1, 2, 3, 4]}
    assert found[0].contrast == Contrast(1, 2, 3, WORD_END)


def test_women_and_men_are_drawn_in_equal_numbers_from_each_split():
    gender = np.array(["female"] * 10 + ["male"] * 30 + ["neutral"] * 5)
    is_train = np.arange(45) % 2 == 0
    targets = {i: Target(i, [i], Contrast(0, 0, 1, 2)) for i in range(45)}
    found = balanced(targets, gender, is_train, 16, [0])
    for split, chosen in found.items():
        ids = [t.sample_id for t in chosen]
        assert sorted(gender[ids].tolist()) == ["female"] * 4 + ["male"] * 4
        assert set(is_train[ids]) == {split == "train"}
    assert balanced(targets, gender, is_train, 16, [0]) == found
    assert len(balanced(targets, gender, is_train, 400, [0])["train"]) == 10  # five women are all there are


def test_effects_are_means_with_an_interval_and_nothing_of_too_few():
    rng = np.random.default_rng(3)
    dense = rng.normal(2.0, 1, (50, 40)) * (np.arange(40) < 39)
    found = effect_columns({"train": csr_array(dense[:9]), "test": csr_array(dense)}, 10)
    assert np.isnan(found["effect_train"]).all() and found["n_effect_train"][0] == 9
    inside = (found["effect_low_test"] < 2) & (found["effect_high_test"] > 2)
    assert inside[:39].mean() > 0.85 and found["effect_test"][39] == 0 and np.isnan(found["effect_high_test"][39])
