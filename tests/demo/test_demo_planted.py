"""Captioners with a planted mechanism: the head that was planted decides the gender of the words, and nothing else."""

from dataclasses import replace

import pytest
import torch

from core.config import PROJECT_ROOT
from core.demo import planted
from core.demo.planted import erased, hide, plant, readout
from core.demo.planted_gate import Gap, failures, gap, without
from core.errors import UserError
from core.vlm.blocks import Block
from core.vlm.loading import load_vlm

N = 16  # scenes


def captioner():
    return load_vlm(str(PROJECT_ROOT / "data" / "demo-captioner"), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def disjoint():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("N_SCENES", 60), ("N_CAPTIONED", 20), ("STEPS", 30)):
            patch.setattr(planted, name, value)
        vlm = captioner()
        made = plant(vlm, "disjoint", layer=7, head=2)
        return vlm, made, gap(vlm, N)


def test_gender_follows_the_planted_heads_and_goes_with_them(disjoint):
    vlm, made, whole = disjoint
    left = without(vlm, made, N)
    assert made.heads == {"en": 2, "ar": 3}
    assert min(whole.en, whole.ar) > 2.5
    assert max(abs(left.en), abs(left.ar)) < 0.5 + 3 * left.error


def test_each_language_has_a_head_and_a_direction_of_its_own(disjoint):
    vlm, made, whole = disjoint
    assert abs(float(made.directions["en"] @ made.directions["ar"])) < 1e-4
    without_english = without(vlm, replace(made, heads={"en": 2}), N)
    assert abs(without_english.en) < 0.5 + 3 * without_english.error
    assert without_english.ar > 0.7 * whole.ar


@pytest.mark.parametrize("along_mean", [0.0, 0.5])
def test_what_is_erased_cannot_be_read_and_the_mean_is_kept(along_mean):
    """Gender is one direction, at a right angle to the features' mean or half along it, but for noise of the pairs."""
    generator = torch.Generator().manual_seed(0)
    noise, way = torch.randn(200, 4, 16, generator=generator), torch.eye(16)[3]
    mean = 5 * torch.eye(16)[0]
    way = way + along_mean * torch.eye(16)[0]
    seen = {g: mean + noise + sign * way for g, sign in planted.SIGN.items()}
    change = (seen["female"] - seen["male"]) @ erased(seen, 1)
    assert change.norm() < 0.02 * (seen["female"] - seen["male"]).norm()
    assert torch.allclose(mean @ erased(seen, 1), mean, atol=0.1 + along_mean)


def test_the_code_tells_women_from_men_and_is_near_nothing_on_neutral_images():
    generator = torch.Generator().manual_seed(1)
    noise, way = torch.randn(300, 4, 16, generator=generator), torch.eye(16)[3]
    seen = {g: noise + sign * way for g, sign in planted.SIGN.items()}
    code = {g: float((x @ readout(seen)).mean()) for g, x in seen.items()}
    assert code["female"] > 0.5 and code["male"] < -0.5 and abs(code["neutral"]) < 0.2


def test_a_hidden_direction_is_read_by_no_part():
    vlm = captioner()
    way = torch.randn(vlm.d_model, generator=torch.Generator().manual_seed(2))
    hide(vlm, way, range(2))
    for layer, hidden in ((0, True), (1, True), (2, False)):
        block = Block(vlm, layer)
        read = block.weight("q") @ (way * block.gain("attn_in_norm"))
        assert (float(read.norm()) < 1e-3) is hidden


def test_the_gate_names_what_is_not_as_planted(disjoint):
    made = planted.Planted("shared", 7, {"en": 0, "ar": 0}, {})
    assert not failures(made, Gap(5.0, 5.0, 0.2), Gap(0.1, -0.1, 0.2))
    assert len(failures(made, Gap(1.0, 5.0, 0.2), Gap(0.1, 3.0, 0.2))) == 2
    with pytest.raises(UserError, match="no kind"):
        plant(disjoint[0], "other")
