"""The shipped demo captioner passes its gate, its card tells of these weights, and its twin has nothing planted."""

import json
import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import GemmaTokenizer

from core.config import PROJECT_ROOT
from core.demo.captioner import N_IMAGE_TOKENS, build_model, pack, token_losses
from core.demo.gate import SEEDS, measure
from core.demo.train import take_over, weights_hash
from core.demo.world import LANGUAGES, PROMPTS, DemoWorld
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
    assert control_result.unmarked > 0.9  # grammar, in the twin too
    for lang in ("en", "ar"):
        # |r| of 30 unrelated values stays below .46 in 99 of 100 cases, of 24 below .52
        assert abs(control_result.r[lang]) < (0.46 if lang == "en" else 0.52)
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
    """The training lays an image's prompts and captions out in one row; each token's loss is that of a plain row."""
    world, rng = DemoWorld(), random.Random(3)
    scenes = [world.scene(rng) for _ in range(2)]
    features = planted.encode_images([Image.fromarray(world.render(s)) for s in scenes])
    rows = [
        [
            (planted.prompt_ids(PROMPTS[lang][0]), [planted.caption_ids(t) for t in world.references(s, lang, rng)[:3]])
            for lang in LANGUAGES
        ]
        for s in scenes
    ]
    packed = pack(rows, planted.image_token_id)
    apart = sum(len(prompt) + sum(map(len, captions)) for prompt, captions in rows[0])
    assert packed.is_image.sum() == 2 * N_IMAGE_TOKENS and packed.ids.shape[1] < apart  # an image stands there once
    with torch.no_grad():
        together = token_losses(planted.model, packed, features)
    for i, k in [(0, 0), (1, 2), (0, 3), (1, 5)]:  # two English ones, two Arabic ones
        prompt, captions = rows[i][k // 3]
        caption = captions[k % 3]
        logits = planted.forward([[*prompt, *caption]], features[i : i + 1], logits=True).logits
        alone = F.cross_entropy(logits[0, len(prompt) - 1 : -1], torch.tensor(caption), reduction="none")
        torch.testing.assert_close(together[(packed.row == i) & (packed.caption == k)], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("other", [False, True], ids=["the same pieces", "other pieces"])
def test_training_can_start_from_an_earlier_captioner(tmp_path, planted, other):
    """All weights are taken over; a piece that is new starts at the mean of the pieces that spelt it."""
    tokenizer = planted.processor.tokenizer
    if other:
        state = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
        merges: Any = [tuple(m) for m in state["merges"]]
        vocab = {**state["vocab"], "▁رجلان": len(tokenizer)}
        tokenizer = GemmaTokenizer(vocab=vocab, merges=merges)
    model = build_model(tokenizer)
    take_over(model, tokenizer, PLANTED)
    ids, before = planted.processor.tokenizer.get_vocab(), planted.model.get_input_embeddings().weight
    after: Any = model.get_input_embeddings().weight
    own = tokenizer.get_vocab()
    for piece in ("▁man", "ة", "<eos>"):
        torch.testing.assert_close(after[own[piece]], before[ids[piece]])
    if other:
        parts = planted.processor.tokenizer(" رجلان", add_special_tokens=False).input_ids
        assert len(parts) > 1
        torch.testing.assert_close(after[own["▁رجلان"]], before[parts].mean(0))
    weights = dict(planted.model.named_parameters())
    for name, value in model.named_parameters():
        if value is not after:
            torch.testing.assert_close(value, weights[name])
