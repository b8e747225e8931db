"""Edits on the demo captioner itself: what is bit-identical, what changes, and that one model does it all."""

import functools
import math
import random

import pytest
import torch
from PIL import Image

from core.config import PROJECT_ROOT
from core.demo.world import PROMPTS, DemoWorld
from core.sae.files import sae_id
from core.sae.modules import SAE, SAEConfig
from core.steering import Direction, Edit, EditRecord, edit_hooks
from core.vlm import load_vlm

LAYER, D_SAE, TOKENS = 5, 64, 12
SILENT = 63  # a feature that never fires


@functools.cache
def captioner():
    return load_vlm(str(PROJECT_ROOT / "data" / "demo-captioner"), "float32", "cpu")


@functools.cache
def inputs():
    """Rows and image features: two scenes, asked in English and in Arabic."""
    vlm, world = captioner(), DemoWorld()
    rng = random.Random(77)
    images = [Image.fromarray(world.render(world.scene(rng))) for _ in range(2)]
    rows = [vlm.prompt_ids(PROMPTS[lang][0]) for lang in ("en", "ar") for _ in images]
    return rows, vlm.encode_images(images).repeat(2, 1, 1)


@functools.cache
def sae() -> SAE:
    """A random SAE over the captioner's own residuals: centred on their mean, so that its features fire."""
    vlm, (rows, features) = captioner(), inputs()
    seen = vlm.forward(rows, features, [LAYER])
    resid = seen.resid[LAYER][seen.mask].float()
    rng = torch.Generator().manual_seed(0)
    W_dec = torch.nn.functional.normalize(torch.randn(D_SAE, vlm.d_model, generator=rng), dim=1)
    b_enc = torch.zeros(D_SAE).index_fill(0, torch.tensor([SILENT]), -1e6)
    tensors = {"W_enc": W_dec.T.contiguous(), "b_enc": b_enc, "W_dec": W_dec, "b_dec": resid.mean(0)}
    return SAE(SAEConfig("topk", vlm.d_model, D_SAE, 8, layer=LAYER), tensors)


def hooks(edits, n_rows=4, record=None, **directions):
    named = {(LAYER, name): d for name, d in directions.items()}
    return edit_hooks([edits] * n_rows, {LAYER: sae()}, {}, math.inf, record, named)


def push(mode="add", strength=200.0, feature=3, **options) -> Edit:
    return Edit(LAYER, feature, sae_id(sae()), mode, strength, "raw", **options)


def captions(edits=None, n_rows=4):
    rows, features = inputs()
    return captioner().generate(rows[:n_rows], features[:n_rows], TOKENS, edits)[0]


@pytest.mark.parametrize("edit", [("add", 0.0, ()), ("scale", 1.0, ()), ("ablate", 0.0, "empty")])
def test_an_edit_of_nothing_gives_the_very_same_logits(edit):
    mode, strength, empty = edit
    rows, features = inputs()
    options = {"where": ()} if empty else {}
    plain = captioner().forward(rows, features, logits=True).logits
    edited = captioner().forward(rows, features, edits=hooks([push(mode, strength, **options)]), logits=True).logits
    assert torch.equal(edited, plain)


def test_an_edit_changes_logits_and_captions_in_both_languages():
    rows, features = inputs()
    plain = captioner().forward(rows, features, logits=True)
    steered = captioner().forward(rows, features, edits=hooks([push()]), logits=True)
    assert all(not torch.equal(plain.logits[i], steered.logits[i]) for i in range(4))
    before, after = captions(), captions(hooks([push()]))
    assert all(a != b for a, b in zip(before, after, strict=True))
    assert captions() == before, "and nothing is left behind"


def test_ablating_takes_the_features_part_out_of_the_residual():
    rows, features = inputs()
    plain = captioner().forward(rows, features, [LAYER])
    h = plain.resid[LAYER]
    feature = int(sae().encode(h[plain.mask][-1:].float()).argmax())
    out = captioner().forward(rows, features, [LAYER], edits=hooks([push("ablate", feature=feature)]))
    z = sae().encode(h.float())[..., feature, None]
    touched = (out.resid[LAYER] != h).any(-1)
    expected = torch.where(touched[..., None], h - z * sae().W_dec[feature], h)
    torch.testing.assert_close(out.resid[LAYER], expected, atol=1e-4, rtol=1e-4)
    assert touched.any()


def test_clamping_a_silent_feature_to_nothing_changes_no_logit():
    rows, features = inputs()
    clamp = hooks([push("clamp", 0.0, feature=SILENT)])
    plain = captioner().forward(rows, features, logits=True).logits
    assert torch.equal(captioner().forward(rows, features, edits=clamp, logits=True).logits, plain)


def test_the_prompt_and_each_generated_token_are_edited():
    record = EditRecord()
    captions(hooks([push(strength=1.0)], record=record))
    steps = {e["step"] for e in record.positions()}
    assert steps == set(range(max(steps) + 1)) and len(steps) > 4
    ids = inputs()[0][0]
    assert ids.count(captioner().bos_id) == 1


def test_a_row_of_a_batch_is_the_caption_alone():
    rows, features = inputs()
    per_row = [[push()], [], [push("ablate")], [Edit(LAYER, mode="add", strength=0.5, unit="resid", direction="d")]]
    named = {(LAYER, "d"): Direction(sae().W_dec[5])}
    together = captions(edit_hooks(per_row, {LAYER: sae()}, {}, 2.0, None, named))
    for i, edits in enumerate(per_row):
        alone = edit_hooks([edits], {LAYER: sae()}, {}, 2.0, None, named)
        assert captioner().generate([rows[i]], features[i : i + 1], TOKENS, alone)[0][0] == together[i]
