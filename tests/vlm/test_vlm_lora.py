"""A LoRA beside the weights, or in a folder of its own, is applied as its formula says, or the model is refused."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from core.config import load_config
from core.errors import UserError
from core.vlm import load_vlm, lora
from core.vlm.conformance import check_model
from core.vlm.identity import digest, find_file
from precompute.forecast.shape import model_shape
from tests.tiny_models import tiny_model_dir

WITH_PEFT = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="an optional extra: pip install peft")
R, ALPHA = 2, 6.0
PROMPTS = ("Describe the image.", "صف الصورة.")


@pytest.fixture
def model(tmp_path):
    return Path(shutil.copytree(tiny_model_dir("gemma3"), tmp_path / "model"))


def projections(folder):
    """The names in the files of the language model's query projections."""
    return [k for k in load_file(folder / "model.safetensors") if k.endswith("q_proj.weight") and "language" in k]


def write_lora(folder, model, **settings):
    """A LoRA on the queries of every layer of the language model, as peft saves it; its tensors."""
    folder.mkdir(exist_ok=True)
    weights, tensors = load_file(model / "model.safetensors"), {}
    random = torch.Generator().manual_seed(1)
    for name in projections(model):
        n_out, n_in = weights[name].shape
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        tensors[f"{stem}.lora_A.weight"] = torch.randn(R, n_in, generator=random)
        tensors[f"{stem}.lora_B.weight"] = torch.randn(n_out, R, generator=random)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    told = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": R, "lora_alpha": ALPHA, "target_modules": ["q_proj"]}
    told |= {"base_model_name_or_path": str(model), "bias": "none", "lora_dropout": 0.1}
    (folder / "adapter_config.json").write_text(json.dumps(told | settings))
    return tensors


def by_hand(folder, model, tensors, scale=ALPHA / R):
    """The same model with W + scale B A written into its file: what the tuned one must compute."""
    made = Path(shutil.copytree(model, folder, ignore=shutil.ignore_patterns("adapter_*")))
    weights = load_file(made / "model.safetensors")
    for name in projections(model):
        a, b = (tensors[f"base_model.model.{name.removesuffix('.weight')}.lora_{x}.weight"] for x in "AB")
        weights[name] += scale * b @ a
    save_file(weights, made / "model.safetensors", {"format": "pt"})
    return made


def logits(folder):
    vlm = load_vlm(str(folder))
    features = vlm.encode_images([Image.new("RGB", (40, 30), (200, 90, 10))])
    return vlm.forward([vlm.prompt_ids(PROMPTS[0])], features, logits=True).logits


@pytest.mark.parametrize("place", ["beside the weights", "in a folder of its own"])
def test_without_peft_the_model_is_refused_and_never_loaded_without_its_lora(model, tmp_path, monkeypatch, place):
    folder = model if place == "beside the weights" else tmp_path / "lora"
    write_lora(folder, model)
    monkeypatch.setattr(lora, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"adapter_model.safetensors[\s\S]*pip install peft"):
        load_vlm(str(folder))


@WITH_PEFT
@pytest.mark.parametrize("place", ["beside the weights", "in a folder of its own"])
def test_a_lora_gives_the_logits_of_w_plus_scale_b_a(model, tmp_path, place):
    folder = model if place == "beside the weights" else tmp_path / "lora"
    plain = logits(model)
    expected = logits(by_hand(tmp_path / "merged", model, write_lora(folder, model)))
    found = logits(folder)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (found - plain).abs().max() > 0.1
    vlm = load_vlm(str(folder))
    assert type(vlm.model).__name__ == "Gemma3ForConditionalGeneration"
    assert all(check.passed for check in check_model(vlm, PROMPTS))


@WITH_PEFT
def test_the_scale_is_the_one_that_the_settings_say(model, tmp_path):
    """Rank-stabilised LoRA (Kalajdzievski 2023): alpha over the root of r."""
    tensors = write_lora(model, model, use_rslora=True)
    expected = logits(by_hand(tmp_path / "merged", model, tensors, ALPHA / R**0.5))
    torch.testing.assert_close(logits(model), expected, atol=1e-5, rtol=1e-5)


@WITH_PEFT
def test_a_tensor_without_a_place_is_named(model):
    tensors = write_lora(model, model)
    more = {name.replace("layers.0.", "layers.9."): t.clone() for name, t in tensors.items() if "layers.0." in name}
    save_file(tensors | more, model / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"no place for .*layers\.9\."):
        load_vlm(str(model))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "'PROMPT_TUNING'"),
        ({"peft_type": "IA3"}, "'IA3'"),
        ({"peft_type": None}, "None"),
    ],
)
def test_other_adapters_are_refused(model, settings, said):
    write_lora(model, model, **settings)
    with pytest.raises(UserError, match=said):
        load_vlm(str(model))


def test_a_lora_that_is_not_whole_is_named(model):
    tensors = write_lora(model, model)
    gone = next(name for name in tensors if "layers.1." in name and "lora_B" in name)
    save_file({k: v for k, v in tensors.items() if k != gone}, model / "adapter_model.safetensors")
    with pytest.raises(UserError, match="is not in it") as error:
        load_vlm(str(model))
    assert gone in str(error.value)
    (model / "adapter_model.safetensors").rename(model / "adapter_model.bin")
    with pytest.raises(UserError, match="pickle"):
        load_vlm(str(model))
    (model / "adapter_model.bin").unlink()
    with pytest.raises(UserError, match=r"adapter_model\.safetensors is missing"):
        load_vlm(str(model))


def test_a_lora_in_a_file_that_nothing_reads_is_not_passed_over(model, tmp_path):
    write_lora(model, model)
    (model / "adapter_model.safetensors").rename(model / "my_lora.safetensors")
    (model / "adapter_config.json").unlink()
    with pytest.raises(UserError, match=r"my_lora\.safetensors .* is a LoRA that is not used"):
        load_vlm(str(model))


@pytest.mark.parametrize("base", ["", "/nothing/here", "./nowhere"])
def test_a_lora_whose_model_is_not_here_is_refused(model, tmp_path, base):
    write_lora(tmp_path / "lora", model, base_model_name_or_path=base)
    with pytest.raises(UserError, match=r"no model to be applied to[\s\S]*base_model_name_or_path"):
        load_vlm(str(tmp_path / "lora"))


def test_the_lora_and_its_model_are_both_part_of_the_identity(model, tmp_path):
    def identity(folder):
        return digest(load_config("demo", [f"model.name={folder}"]))

    plain = identity(model)
    alone = tmp_path / "lora"
    tensors = write_lora(alone, model)
    first = identity(alone)
    write_lora(model, model)
    assert len({plain, identity(model), first}) == 3
    save_file({k: 2 * v for k, v in tensors.items()}, alone / "adapter_model.safetensors")
    assert identity(alone) != first
    tensors = write_lora(alone, model)
    weights = load_file(model / "model.safetensors")
    save_file({k: v + 1 for k, v in weights.items()}, model / "model.safetensors")
    assert identity(alone) != first


def test_plans_know_the_model_that_a_lora_changes(model, tmp_path):
    write_lora(tmp_path / "lora", model, base_model_name_or_path="../model")
    config = load_config("demo", [f"model.name={tmp_path / 'lora'}"])
    assert find_file(config, "config.json") == model / "config.json"
    assert model_shape(config).n_layers == 3
