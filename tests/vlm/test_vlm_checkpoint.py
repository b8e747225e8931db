"""A checkpoint that is not whole is refused by name, before anything is computed with it; a whole one is not."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import UserError
from core.vlm import load_vlm
from core.vlm.checkpoint import check_folder, tensor_headers, weight_files
from precompute.commands.check_model import run_check
from tests.tiny_models import FAMILIES, tiny_model_dir

WEIGHTS = "model.safetensors"
DOWN = "layers.1.mlp.down_proj.weight"  # of the language model, in every family
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 4961251752\n"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(tiny_model_dir("gemma3"), tmp_path / "model"))


def tensors_with(folder, change):
    """The weights, changed by a function of the dictionary of tensors."""
    held = load_file(folder / WEIGHTS)
    change(held)
    save_file(held, folder / WEIGHTS, {"format": "pt"})


def name_of(folder, part):
    (name,) = [key for key in tensor_headers(folder / WEIGHTS) if key.endswith(part) and "vision" not in key]
    return name


def shard(folder, n=3):
    """The same weights in several files and an index, as large models are published."""
    held = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = [f"model-{i + 1:05d}-of-{n:05d}.safetensors" for i in range(n)]
    where = {key: names[i % n] for i, key in enumerate(sorted(held))}
    for name in names:
        save_file({k: v for k, v in held.items() if where[k] == name}, folder / name, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return names


def refused(folder):
    with pytest.raises(UserError) as error:
        load_vlm(str(folder))
    assert all((error.value.what, error.value.why, error.value.do))
    return str(error.value)


def set_in(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_tensor_is_named_as_the_model_and_as_the_files_name_it(family, tmp_path):
    folder = Path(shutil.copytree(tiny_model_dir(family), tmp_path / "model"))
    in_file = name_of(folder, DOWN)
    tensors_with(folder, lambda held: held.pop(in_file))
    said = refused(folder)
    loaded = load_vlm(str(tiny_model_dir(family))).model
    (in_model,) = [key for key, _ in loaded.named_parameters() if key.endswith(DOWN) and "vision" not in key]
    assert f"Not in the checkpoint (1): {in_model}" in said and in_file in said


def test_what_is_left_over_or_of_another_shape_is_named(folder):
    down = name_of(folder, DOWN)
    extra = down.replace("layers.1.", "layers.7.")
    tensors_with(folder, lambda held: held.update({extra: held[down].clone(), down: held[down][:, :-1].contiguous()}))
    said = refused(folder)
    assert "layers.7.mlp.down_proj.weight" in said and "32 x 63 in the files, 32 x 64 by config.json" in said


def test_a_checkpoint_of_the_text_alone_is_refused_by_what_it_lacks(folder):
    seen = [key for key in tensor_headers(folder / WEIGHTS) if "vision" in key or "projector" in key]
    tensors_with(folder, lambda held: [held.pop(key) for key in seen])
    said = refused(folder)
    assert f"Not in the checkpoint ({len(seen)})" in said and "vision_tower" in said


def test_more_layers_in_the_settings_than_in_the_files_are_refused(folder):
    told = json.loads((folder / "config.json").read_text())
    told["text_config"] |= {"num_hidden_layers": 4, "layer_types": ["sliding_attention"] * 4}
    (folder / "config.json").write_text(json.dumps(told))
    assert "layers.3.mlp.down_proj.weight" in refused(folder)
    told["text_config"] |= {"num_hidden_layers": 2, "layer_types": ["sliding_attention"] * 2}
    (folder / "config.json").write_text(json.dumps(told))
    assert "not in the model" in refused(folder)


def test_tied_weights_need_not_be_stored_and_old_buffers_may_be(folder):
    """As published: lm_head is the embedding, and files of earlier versions hold inv_freq."""
    told = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(told))
    old = "language_model.model.layers.0.self_attn.rotary_emb.inv_freq"
    tensors_with(folder, lambda held: (held.pop(name_of(folder, "lm_head.weight")), held.update({old: torch.ones(4)})))
    model = load_vlm(str(folder)).model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_weights_in_several_files_are_the_same_weights(folder):
    whole = load_vlm(str(folder)).model.state_dict()
    shard(folder)
    again = load_vlm(str(folder)).model.state_dict()
    assert all(torch.equal(again[key], tensor) for key, tensor in whole.items())


@pytest.mark.parametrize("how", ["absent", "a link to nothing", "without an index", "cut off"])
def test_files_of_weights_that_are_not_all_there_are_named(folder, how):
    names = shard(folder)
    if how == "without an index":
        (folder / "model.safetensors.index.json").unlink()
        assert "model.safetensors.index.json is missing" in refused(folder) and names[2] in refused(folder)
        return
    content = (folder / names[1]).read_bytes()
    (folder / names[1]).unlink()
    if how == "a link to nothing":  # as a download leaves it that was stopped
        (folder / names[1]).symlink_to(folder / "blobs" / "none")
    if how == "cut off":
        (folder / names[1]).write_bytes(content[:-100])
    said = refused(folder)
    assert names[1] in said and names[0] not in said
    assert how != "cut off" or f"{len(content) - 100:,} bytes; its header tells of {len(content):,}" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\x00" * 4000, "header cannot be read"),
        (b"<html>404 Not Found</html>" * 99, "header cannot be read"),
        ((40).to_bytes(8, "little") + b"{" * 400, "header is damaged"),
    ],
)
def test_what_is_no_safetensors_file_is_said(folder, content, said):
    (folder / WEIGHTS).write_bytes(content)
    assert said in refused(folder) and WEIGHTS in refused(folder)


@pytest.mark.parametrize(
    "name", [WEIGHTS, "tokenizer.json", "config.json", "tokenizer_config.json", "chat_template.jinja"]
)
def test_a_pointer_of_git_lfs_in_any_files_place_is_named(folder, name):
    (folder / name).write_text(POINTER)
    said = refused(folder)
    assert f"{name} is a git-lfs pointer of {len(POINTER)} bytes" in said and "git lfs pull" in said


def test_all_pointers_are_named(folder):
    for name in (WEIGHTS, "tokenizer.json"):
        (folder / name).write_text(POINTER)
    assert "So are tokenizer.json" in refused(folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (WEIGHTS, "neither model.safetensors nor"),
        ("tokenizer.json", "tokenizer.json (or tokenizer.model) is missing"),  # else an empty tokenizer is made
        ("tokenizer_config.json", "tokenizer_config.json is missing"),
        ("processor_config.json", "preprocessor_config.json is missing"),
        ("config.json", "config.json is missing"),
    ],
)
def test_a_missing_file_is_named(folder, name, said):
    (folder / name).unlink()
    assert said in refused(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "processor_config.json"])
def test_a_file_that_is_cut_off_or_empty_is_named(folder, name):
    whole = (folder / name).read_text()
    (folder / name).write_text(whole[: len(whole) // 2])
    assert f"{name} is not valid JSON" in refused(folder)
    (folder / name).write_text("")
    assert f"{name} is empty" in refused(folder)


def test_pickles_are_refused_with_the_command_that_saves_them_anew(folder):
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    said = refused(folder)
    assert "pytorch_model.bin" in said and "save_pretrained" in said and "pickle" in said
    (folder / "pytorch_model.bin").rename(folder / "model.gguf")
    assert "model.gguf" in refused(folder)


def test_weights_of_fewer_bits_are_refused(folder):
    set_in(folder / "config.json", quantization_config={"quant_method": "awq", "bits": 4})
    assert "quantised (awq)" in refused(folder) and "model.quantize" in refused(folder)
    set_in(folder / "config.json", quantization_config=None)
    tensors_with(folder, lambda held: held.update({"x": torch.zeros(2, dtype=torch.int8)}))
    assert "quantised (I8)" in refused(folder)


def test_numbers_that_are_not_finite_are_named(folder):
    tensors_with(folder, lambda held: held[name_of(folder, DOWN)].view(-1).__setitem__(5, float("nan")))
    assert "not finite" in refused(folder) and DOWN in refused(folder)


def test_a_tokenizer_of_another_model_is_refused(folder):
    told = json.loads((folder / "tokenizer.json").read_text())
    n = max(
        told["model"]["vocab"].values()
        if isinstance(told["model"]["vocab"], dict)
        else range(len(told["model"]["vocab"]))
    )
    new = {"id": n + 900, "content": "<new>", "special": True}
    like = {**told["added_tokens"][0], **new}
    (folder / "tokenizer.json").write_text(json.dumps(told | {"added_tokens": [*told["added_tokens"], like]}))
    assert "tokens that the model does not know" in refused(folder)


def test_a_base_model_without_a_chat_template_is_refused(folder):
    (folder / "chat_template.jinja").unlink()
    said = refused(folder)
    assert "no chat template" in said and "base model" in said and "-it" in said


@pytest.mark.parametrize(
    "template", ["{% for m in messages %}{{ m['content'] }}{% endfor %}", "{{ 'a' + 1 }}", "{{ x["]
)
def test_a_chat_template_for_text_alone_is_refused(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    assert "does not make a chat over one image" in refused(folder)


def test_a_chat_template_kept_in_the_tokenizers_settings_is_used(folder):
    template = (folder / "chat_template.jinja").read_text()
    before = load_vlm(str(folder)).prompt_ids("Describe.")
    (folder / "chat_template.jinja").unlink()
    set_in(folder / "tokenizer_config.json", chat_template=template)
    assert load_vlm(str(folder)).prompt_ids("Describe.") == before


def test_without_generation_settings_captions_end_where_a_turn_ends(folder):
    vlm = load_vlm(str(folder))
    (folder / "generation_config.json").unlink()
    told = json.loads((folder / "config.json").read_text())
    told["text_config"]["eos_token_id"] = vlm.tokenizer.convert_tokens_to_ids("<eos>")
    (folder / "config.json").write_text(json.dumps(told))
    end = vlm.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    bare = load_vlm(str(folder))
    assert end in bare.eos_ids and not bare.never_written[end]


def test_check_model_says_what_it_held_against_the_files(folder):
    lines = []
    assert run_check(str(folder), say=lines.append)
    n = len(tensor_headers(folder / WEIGHTS))
    assert any(f"{n} tensors of 1 file" in line for line in lines)
    tensors_with(folder, lambda held: held.pop(name_of(folder, DOWN)))
    with pytest.raises(UserError, match="Not in the checkpoint"):
        run_check(str(folder), say=lines.append)


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_folders_pass(family):
    check_folder(tiny_model_dir(family))
    assert weight_files(tiny_model_dir(family)) == [tiny_model_dir(family) / WEIGHTS]
