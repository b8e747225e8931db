"""Edits do exactly what they say, in every pass, to the tokens they name, and to nothing else."""

import functools
import math

import pytest
import torch

from core.errors import UserError
from core.sae.files import sae_id
from core.sae.modules import SAE, SAEConfig
from core.steering import Edit, EditRecord, edit_hooks
from core.vlm.batch import BOS, CAPTION, IMAGE, PAD, PROMPT, SPECIAL
from core.vlm.hooks import editing
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm

D_SAE, K = 96, 8
LAYER = 3


@functools.cache
def toy_sae(seed: int = 0, architecture: str = "topk") -> SAE:
    """A random SAE that finds K features in every residual of the toy model."""
    d_model, rng = toy_vlm().d_model, torch.Generator().manual_seed(seed)
    tensors = {
        "W_enc": torch.randn(d_model, D_SAE, generator=rng) / d_model**0.5,
        "b_enc": 0.1 * torch.randn(D_SAE, generator=rng),
        "W_dec": torch.nn.functional.normalize(torch.randn(D_SAE, d_model, generator=rng), dim=1),
        "b_dec": torch.randn(d_model, generator=rng),
    }
    return SAE(SAEConfig(architecture, d_model, D_SAE, K, layer=LAYER), tensors)


def edit(feature: int = 5, mode: str = "add", strength: float = 2.0, **options) -> Edit:
    """An edit of the toy SAE's feature, in raw units unless said otherwise."""
    return Edit(LAYER, feature, sae_id(toy_sae()), mode, strength, **{"unit": "raw", **options})


def hooks(edits_per_row, cap=math.inf, record=None, p999=None):
    return edit_hooks(edits_per_row, {LAYER: toy_sae()}, p999 or {}, cap, record)


def residuals(n_rows=2, seed=0):
    """Residuals and their kinds: padding, BOS, special, image, prompt, caption."""
    h = 3 * torch.randn(n_rows, 6, toy_vlm().d_model, generator=torch.Generator().manual_seed(seed))
    kinds = torch.tensor([[PAD, BOS, SPECIAL, IMAGE, PROMPT, CAPTION]] * n_rows, dtype=torch.int8)
    return h, kinds


def active_feature(h, row=0, position=3):
    """The strongest feature at a position."""
    return int(toy_sae().encode(h[row, position]).argmax())


@pytest.mark.parametrize("mode, strength", [("add", 0.0), ("scale", 1.0)])
def test_edits_of_no_strength_are_bit_identical_to_no_hook(mode, strength):
    h, kinds = residuals()
    feature = active_feature(h)
    assert hooks([[edit(feature, mode, strength)], []]) == {}, "no hook, no cost"
    beside = [[edit(feature, mode, strength)], [edit(feature, "ablate")]]  # the hook runs for the other row's sake
    assert torch.equal(hooks(beside)[LAYER](h, kinds)[0], h[0])
    almost = hooks([[edit(feature, "add", 1e-30)], []])[LAYER](h, kinds)  # through all of the arithmetic
    assert torch.equal(almost, h)


def test_ablating_takes_away_exactly_the_features_part():
    h, kinds = residuals()
    sae, feature = toy_sae(), active_feature(h)
    out = hooks([[edit(feature, "ablate")], []])[LAYER](h, kinds)
    z = sae.encode(h[0, 3:])[:, feature]
    assert z[0] > 0
    torch.testing.assert_close(out[0, 3:], h[0, 3:] - z[:, None] * sae.W_dec[feature])
    assert torch.equal(out[1], h[1]) and torch.equal(out[0, :3], h[0, :3]), "other row; padding, BOS, special tokens"


def test_clamping_to_the_value_it_has_changes_nothing():
    h, kinds = residuals()
    feature = active_feature(h)
    z = float(toy_sae().encode(h[0, 3])[feature])
    out = hooks([[edit(feature, "clamp", z, where=("image",))], []])[LAYER](h, kinds)
    assert torch.equal(out, h)
    silent = int((toy_sae().encode(h[0, 3]) == 0).nonzero()[0])
    assert torch.equal(hooks([[edit(silent, "clamp", 0.0, where=("image",))], []])[LAYER](h, kinds), h)


@pytest.mark.parametrize(
    "mode, new",
    [
        ("add", lambda z: z + 4),
        ("scale", lambda z: 4 * z),
        ("clamp", lambda z: z * 0 + 4),
        ("ablate", lambda z: z * 0),
    ],
)
def test_every_mode_moves_the_residual_by_the_change_of_the_code(mode, new):
    h, kinds = residuals()
    sae, feature = toy_sae(), active_feature(h)
    out = hooks([[edit(feature, mode, 4.0)], []])[LAYER](h, kinds)
    z = sae.encode(h[0, 3:])[:, feature, None]
    torch.testing.assert_close(out[0, 3:], h[0, 3:] + (new(z) - z) * sae.W_dec[feature], atol=1e-5, rtol=1e-5)


def test_max_act_counts_in_the_features_p999():
    h, kinds = residuals()
    in_units = hooks([[edit(7, unit="max_act", strength=0.5)], []], p999={(LAYER, 7): 8.0})[LAYER](h, kinds)
    assert torch.equal(in_units, hooks([[edit(7, strength=4.0)], []])[LAYER](h, kinds))
    factor = hooks([[edit(7, "scale", 3.0, unit="max_act")], []])  # a factor has no unit
    assert LAYER in factor
    for known in ({}, {(LAYER, 7): math.nan}):
        with pytest.raises(UserError, match="largest activation of feature 7"):
            hooks([[edit(7, unit="max_act")], []], p999=known)


def test_several_edits_add_up_and_keep_to_their_places():
    h, kinds = residuals()
    sae = toy_sae()
    out = hooks([[edit(1, where=("image",)), edit(2, strength=-3.0), edit(1, strength=5.0, where=("caption",))], []])[
        LAYER
    ](h, kinds)
    moved = torch.stack([2 * sae.W_dec[1] - 3 * sae.W_dec[2], -3 * sae.W_dec[2], 5 * sae.W_dec[1] - 3 * sae.W_dec[2]])
    torch.testing.assert_close(out[0, 3:], h[0, 3:] + moved)
    assert torch.equal(out[0, :3], h[0, :3])
    with pytest.raises(UserError, match="edited twice"):
        hooks([[edit(1), edit(1, "ablate", where=("image",))], []])


def test_an_empty_choice_of_places_changes_nothing():
    assert hooks([[edit(1, strength=100.0, where=())], []]) == {}


@pytest.mark.parametrize("strength", [0.1, 3.0, 1e4])
def test_the_cap_bounds_the_change_and_keeps_its_direction(strength):
    h, kinds = residuals()
    record = EditRecord()
    out = hooks([[edit(1, strength=strength)], [edit(2, "ablate")]], cap=0.5, record=record)[LAYER](h, kinds)
    change, norm = out[0, 3:] - h[0, 3:], h[0, 3:].norm(dim=1)
    expected = (strength / norm).clamp(max=0.5)  # W_dec has unit rows
    torch.testing.assert_close(change.norm(dim=1) / norm, expected, atol=1e-4, rtol=1e-4)
    cosine = torch.nn.functional.cosine_similarity(change, toy_sae().W_dec[1][None])
    assert cosine.min() > 0.999 if strength > 1 else True
    rows = record.by_row(LAYER, 2)
    assert rows[0]["n"] == 3 and rows[0]["n_capped"] == int((strength / norm > 0.5).sum())
    assert rows[0]["mean_ratio"] == pytest.approx(float(expected.mean()), rel=1e-4) and rows[1]["n_capped"] == 0
    entries = [e for e in record.positions() if e["row"] == 0]
    assert [e["kind"] for e in entries] == [IMAGE, PROMPT, CAPTION]
    assert [e["wanted"] for e in entries] == pytest.approx((strength / norm).tolist(), rel=1e-4)
    record.clear()
    assert record.positions() == [] and record.by_row(LAYER, 1)[0]["n"] == 0


def test_a_zero_residual_gives_no_nan():
    h, kinds = residuals()
    out = hooks([[edit(1)], [edit(2, "ablate")]], cap=1.0)[LAYER](h * 0, kinds)
    assert torch.isfinite(out).all()
    assert torch.isfinite(hooks([[edit(1)], []])[LAYER](h * 0, kinds)).all()


@pytest.mark.parametrize("architecture", ["topk", "standard"])
def test_long_inputs_are_encoded_in_parts(architecture, monkeypatch):
    h, kinds = residuals(n_rows=40)
    sae = toy_sae(1, architecture)
    scale = [[Edit(LAYER, i % 5, sae_id(sae), "scale", 3.0)] for i in range(40)]
    whole = edit_hooks(scale, {LAYER: sae}, {}, math.inf)[LAYER](h, kinds)
    monkeypatch.setattr("core.steering.apply.ENCODE_ROWS", 7)
    torch.testing.assert_close(edit_hooks(scale, {LAYER: sae}, {}, math.inf)[LAYER](h, kinds), whole)


def test_half_precision_keeps_untouched_tokens_bit_for_bit():
    h, kinds = residuals()
    h = h.bfloat16()
    out = hooks([[edit(1)], []])[LAYER](h, kinds)
    assert out.dtype == torch.bfloat16 and torch.equal(out[1], h[1]) and torch.equal(out[0, :3], h[0, :3])
    assert not torch.equal(out[0, 3:], h[0, 3:])


# With the model


def per_row():
    """Different edits for the six toy rows, one row without."""
    return [
        [edit(1, strength=30.0)],
        [],
        [edit(2, "ablate"), edit(3, "clamp", 20.0)],
        [edit(4, "scale", -2.0)],
        [edit(5, strength=-25.0, where=("caption",))],
        [edit(6, strength=40.0, where=("image",))],
    ]


def test_row_i_of_a_batch_equals_the_run_alone():
    vlm, rows, features = toy_vlm(), toy_rows(), toy_features()
    together = vlm.forward(rows, features, [LAYER, 5], edits=hooks(per_row(), cap=1.0), logits=True)
    plain = vlm.forward(rows, features, [LAYER, 5], logits=True)
    for i, row in enumerate(rows):
        alone = vlm.forward([row], features[i : i + 1], [5], edits=hooks([per_row()[i]], cap=1.0), logits=True)
        mine = together.resid[5][i][together.mask[i]]
        assert (mine - alone.resid[5][0]).abs().max() < 3e-5 * mine.abs().max()
        same_as_plain = torch.equal(together.logits[i][together.mask[i]], plain.logits[i][plain.mask[i]])
        assert same_as_plain == (i == 1), "only the row without edits is as before, and bit for bit"


def test_generated_rows_equal_the_runs_alone_and_differ_from_unsteered():
    vlm, rows, features = toy_vlm(), toy_rows()[:2] * 2, toy_features()[:4]
    edits = [[edit(1, strength=60.0)], [], [], [edit(2, strength=60.0, where=("caption",))]]
    steered, _ = vlm.generate(rows, features, 10, edits=hooks(edits, cap=2.0))
    plain, _ = vlm.generate(rows, features, 10)
    assert [a == b for a, b in zip(steered, plain, strict=True)] == [False, True, True, False]
    assert steered[3][0] == plain[3][0], "caption tokens alone: the first word comes from the prompt"
    for i, row in enumerate(rows):
        assert vlm.generate([row], features[i : i + 1], 10, edits=hooks([edits[i]], cap=2.0))[0][0] == steered[i]


def test_prefill_and_decoding_are_both_edited():
    vlm, rows, features = toy_vlm(), toy_rows()[:1], toy_features()[:1]
    record = EditRecord()
    captions, _ = vlm.generate(rows, features, 6, edits=hooks([[edit(1)]], record=record))
    kinds = [e["kind"] for e in record.positions()]
    special = sum(t in vlm.special_ids for t in captions[0][:-1])
    prompt = [t for t in rows[0] if t not in vlm.special_ids]
    assert kinds.count(IMAGE) == vlm.n_image_tokens and kinds.count(PROMPT) == len(prompt)
    assert kinds.count(CAPTION) == 5 - special and not {PAD, BOS, SPECIAL} & set(kinds)


def test_bos_and_special_tokens_are_never_touched():
    vlm, rows, features = toy_vlm(), toy_rows(), toy_features()
    plain = vlm.forward(rows, features, [LAYER])
    edited = vlm.forward(rows, features, [LAYER], edits=hooks([[edit(1, strength=9.0)]] * 6))
    same = (plain.resid[LAYER] == edited.resid[LAYER]).all(-1)
    off = (plain.kinds == BOS) | (plain.kinds == SPECIAL) | (plain.kinds == PAD)
    assert torch.equal(same, off) and bool(off.any())


def test_hooks_are_gone_after_an_exception_in_the_middle():
    vlm, rows, features = toy_vlm(), toy_rows(), toy_features()
    plain, _ = vlm.generate(rows[:1], features[:1], 5)
    with pytest.raises(ValueError, match="edits for 2 rows"):
        vlm.generate(rows[:1], features[:1], 5, edits=hooks([[edit(1)], []]))
    with pytest.raises(KeyError), editing(vlm, hooks([[edit(1, strength=50.0)]])):
        raise KeyError
    assert vlm.generate(rows[:1], features[:1], 5)[0] == plain


# What is refused


def test_an_edit_of_another_sae_is_refused():
    foreign = sae_id(toy_sae(1))
    assert foreign != sae_id(toy_sae())
    for e in (Edit(LAYER, 5, foreign, "add", 1.0), Edit(LAYER, 5, foreign, "add", 0.0)):
        with pytest.raises(UserError, match="belongs to another SAE"):
            hooks([[e]])
    with pytest.raises(UserError, match="no SAE of layer 4"):
        hooks([[Edit(4, 5, foreign)]])
    with pytest.raises(UserError, match=f"no feature {D_SAE}"):
        hooks([[edit(D_SAE)]])


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "multiply"},
        {"unit": "percent"},
        {"strength": math.nan},
        {"strength": math.inf},
        {"where": ("bos",)},
    ],
)
def test_edits_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UserError, match=r"An edit cannot|strength of an edit"):
        edit(**{"feature": 1, **wrong})


@pytest.mark.parametrize("cap", [0.0, -1.0, math.nan])
def test_caps_that_make_no_sense_are_refused(cap):
    with pytest.raises(UserError, match="cap"):
        hooks([[edit(1)]], cap=cap)
