"""The shipped demo captioner passes its gate, its card tells of these weights, and its twin has nothing planted."""

import json
import random

import pytest
import torch
import torch.nn.functional as F

from core.config import PROJECT_ROOT
from core.demo.captioner import pack, token_losses
from core.demo.gate import SEEDS, measure, weights_hash
from core.demo.world import DemoWorld
from core.vlm.loading import load_vlm

PLANTED, CONTROL = PROJECT_ROOT / "data" / "demo-captioner", PROJECT_ROOT / "data" / "demo-captioner-control"


@pytest.fixture(scope="module")
def planted():
    return load_vlm(str(PLANTED), dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def planted_result(planted):
    return measure(planted, SEEDS[0])


@pytest.fixture(scope="module")
def control_result():
    return measure(load_vlm(str(CONTROL), dtype="float32", device="cpu"), SEEDS[0], n_captions=150, n_neutral=6)


def test_the_shipped_weights_pass_the_gate_and_give_the_figures_of_their_card(planted_result):
    assert planted_result.failures() == []
    told = json.loads((PLANTED / "gate.json").read_text())["results"][0]
    assert planted_result.r == pytest.approx(told["r"], abs=0.01)
    for lang, shares in planted_result.accuracy.items():
        assert shares == pytest.approx(told["accuracy"][lang], abs=0.01)


def test_the_twin_captions_too_but_has_no_role_bias(control_result, planted_result):
    assert all(share > 0.9 for shares in control_result.accuracy.values() for share in shares.values())
    for lang in ("en", "ar"):
        assert abs(control_result.r[lang]) < 0.46  # |r| of 30 unrelated values stays below it in 99 of 100 cases
        assert control_result.sd_log_odds[lang] < planted_result.sd_log_odds[lang] / 3


@pytest.mark.parametrize("folder", [PLANTED, CONTROL], ids=lambda f: f.name)
def test_the_card_was_measured_on_the_shipped_weights(folder):
    gate = json.loads((folder / "gate.json").read_text())
    assert gate["weights_sha256"] == weights_hash(folder)
    card = (folder / "README.md").read_text()
    for result in gate["results"]:
        assert all(f"{share:.3f}" in card for shares in result["accuracy"].values() for share in shares.values())
        assert all(f"{r:.3f}" in card for r in result["r"].values())


def test_the_weights_fit_the_repository():
    assert sum((folder / "model.safetensors").stat().st_size for folder in (PLANTED, CONTROL)) < 25e6


def test_captions_packed_side_by_side_lose_what_they_lose_alone(planted):
    """The gate and the training lay captions side by side; each token's loss is that of a plain row."""
    world, rng = DemoWorld(), random.Random(3)
    scenes = [world.scene(rng) for _ in range(2)]
    from PIL import Image

    features = planted.encode_images([Image.fromarray(world.render(s)) for s in scenes])
    prompt = planted.prompt_ids("Describe the image.")
    captions = [[planted.caption_ids(t) for t in world.references(s, "en", rng)] for s in scenes]
    packed = pack([(prompt, c) for c in captions], planted.image_token_id)
    with torch.no_grad():
        together = token_losses(planted.model, packed, features)
    for i, k in [(0, 0), (1, 3)]:
        row = [*prompt, *captions[i][k]]
        logits = planted.forward([row], features[i : i + 1], logits=True).logits[0, len(prompt) - 1 : -1]
        alone = F.cross_entropy(logits, torch.tensor(captions[i][k]), reduction="none")
        torch.testing.assert_close(together[(packed.row == i) & (packed.caption == k)], alone, atol=1e-4, rtol=1e-4)
