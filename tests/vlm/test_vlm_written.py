"""A model that would rather write an image token, BOS or a mark of turns writes words, and its captions can be read."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig

from core.errors import UserError
from core.steering.writing import write
from core.vlm import load_vlm
from core.vlm.batch import CAPTION
from core.vlm.conformance import check_model, pictures
from core.vlm.sampling import sample_captions, uniforms
from tests.tiny_models import FAMILIES, tiny_model_dir

N = 8


def favouring(family, folder):
    """A tiny model whose unembedding gives the image token, BOS and turn marks more than any word."""
    vlm = load_vlm(str(tiny_model_dir(family)))
    made = Path(shutil.copytree(tiny_model_dir(family), folder))
    weights = load_file(made / "model.safetensors")
    (name,) = [key for key in weights if key.endswith("lm_head.weight")]
    rows = weights[name]
    names = [t for t in vlm.never_written[: len(rows)].nonzero()[:, 0].tolist() if t < len(rows)]
    assert vlm.image_token_id in names or vlm.image_token_id >= len(rows)
    for i, token in enumerate(names):  # along both ways of random directions: one of them wins nearly everywhere
        direction = torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(i // 2))
        rows[token] = 20 * direction * (-1) ** i
    if vlm.image_token_id < len(rows):  # the image token before all others
        first = vlm.forward([vlm.prompt_ids(prompt(family))], vlm.encode_images(pictures()[:1]), [vlm.n_layers - 1])
        last = vlm.final_norm(first.resid[vlm.n_layers - 1][0, -1])
        rows[vlm.image_token_id] = 200 * last / last.norm()
    save_file(weights, made / "model.safetensors", {"format": "pt"})
    return load_vlm(str(made)), names


def prompt(family):
    return "caption en" if "paligemma" in family else "Describe the image."


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_are_not_written_and_every_check_passes(family, tmp_path):
    vlm, marks = favouring(family, tmp_path / "model")
    row, features = vlm.prompt_ids(prompt(family)), vlm.encode_images(pictures()[:1])
    scores = vlm.forward([row], features, logits=True).logits[0, -1]
    assert int(scores.argmax()) in marks
    assert vlm.image_token_id not in marks or scores[vlm.image_token_id] == scores.max()  # others may be at the cap too
    (greedy,), _ = vlm.generate([row], features, N)
    ((drawn,),), _ = sample_captions(vlm, [row], features, uniforms([(0,)], N)[None])
    *_, (steered,) = write(vlm, [row], features, N, numbers=None)
    assert greedy and not {*greedy, *drawn, *steered.ids} & {*marks} and steered.ids == greedy
    logits = vlm.forward([row + greedy], features, logits=True)
    assert (logits.kinds[0, len(row) :] == CAPTION).all()
    best = logits.logits[0, len(row) - 1 : -1].masked_fill(vlm.never_written, -torch.inf).argmax(-1)
    assert best.tolist() == greedy  # the best of what is left
    prompts = ("caption en", "caption ar") if "paligemma" in family else ("Describe the image.", "صف الصورة.")
    for check in check_model(vlm, prompts):
        assert check.passed, check


@pytest.mark.parametrize("family", ("gemma3", "qwen2_5_vl", "mllama"))
def test_a_caption_that_holds_an_image_token_is_refused_by_name(family):
    vlm = load_vlm(str(tiny_model_dir(family)))
    row = [*vlm.prompt_ids(prompt(family)), 300, vlm.image_token_id, 301]
    name = vlm.tokenizer.convert_ids_to_tokens(vlm.image_token_id)
    for read in (vlm.forward, vlm.caption_log_probs):
        with pytest.raises(UserError, match="A caption holds the token") as error:
            read([row], vlm.encode_images(pictures()[:1]))
        assert name in str(error.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_that_spells_a_special_token_is_letters(family):
    vlm = load_vlm(str(tiny_model_dir(family)))
    for token in (vlm.image_token_id, vlm.eos_ids[0]):
        text = f"a {vlm.tokenizer.convert_ids_to_tokens(token)} man"
        assert not {*vlm.caption_ids(text)} & vlm.special_ids
    assert vlm.caption_ids("a man") == vlm.tokenizer("a man", add_special_tokens=False).input_ids


def test_what_ends_a_caption_can_be_written():
    for family in FAMILIES:
        vlm = load_vlm(str(tiny_model_dir(family)))
        assert not vlm.never_written[list(vlm.eos_ids)].any()


def test_settings_of_the_checkpoint_that_change_generation_are_not_held_against_it():
    """Qwen2.5-VL is published with a penalty on repeated words: captions here are the plain greedy ones."""
    vlm = load_vlm(str(tiny_model_dir("qwen2_5_vl")))
    plain = vlm.model.generation_config
    vlm.model.generation_config = GenerationConfig(**plain.to_diff_dict() | {"repetition_penalty": 5.0, "num_beams": 2})
    checks = {check.name: check for check in check_model(vlm, ("Describe the image.", "صف الصورة."))}
    assert checks["greedy captions"].passed
    assert vlm.model.generation_config.repetition_penalty == 5.0
