"""SAEs by others: read by the loader that the registry names, offline; each kind of wrong one is refused, and why."""

import inspect
import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import constants
from rich.console import Console
from safetensors.torch import load_file, save_file

from core.config import fingerprint_part, load_config
from core.errors import UserError
from core.run import Run
from core.sae.files import load_sae, sae_id, save_sae
from core.sae.pretrained import check_sources, load_pretrained, residual_layer, same_model
from core.sae.sources import PICKLED, digest, fill_in, folder_of, registry, sources
from precompute.commands.plan import show_plan
from precompute.engine.local import LocalEngine
from precompute.pipeline import stages
from tests.sae.sae_toys import D_SAE, random_sae, random_tokens
from tests.sae.sae_toys import WIDTH as D_MODEL
from tests.sae.scope_toys import ENTRY, LAYER, RELEASE, REPO, TEMPLATE, WIDTH, hub_cache, scope_tensors, write_scope
from tests.small_run import SMALL


def config_of(source, layers=(LAYER,), **changes):
    sets = [
        f"activations.layers={list(layers)}",
        f"sae.source={json.dumps(source)}" if isinstance(source, list) else f"sae.source={source}",
    ]
    return load_config("demo", sets + [f"{key}={value}" for key, value in changes.items()])


def loaded(source, layer=LAYER):
    (found,) = sources(config_of(source, (layer,)))
    return load_pretrained(found, D_MODEL)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A hub cache with the release's layers 3 and 5, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub_cache(tmp_path / "hub", D_MODEL, D_SAE, (3, 5))))
    return tmp_path


def jumprelu_by_hand(tensors, x, b_dec_first=False):
    pre = (x - tensors["b_dec"] if b_dec_first else x) @ tensors["w_enc"] + tensors["b_enc"]
    z = torch.where(pre > tensors["threshold"], pre, 0.0)
    return z, z @ tensors["w_dec"] + tensors["b_dec"]


def test_a_registry_entry_is_read_offline_by_the_loader_that_the_registry_names(offline, monkeypatch):
    import sae_lens.loading.pretrained_sae_loaders as loaders

    asked = []
    theirs = loaders.NAMED_PRETRAINED_SAE_LOADERS["gemma_3"]
    monkeypatch.setitem(
        loaders.NAMED_PRETRAINED_SAE_LOADERS, "gemma_3", lambda *a, **k: asked.append(k) or theirs(*a, **k)
    )
    config = config_of(TEMPLATE, (3, 5))
    facts, said = check_sources(config, D_MODEL)
    assert [(f.layer, f.d_model, f.d_sae, f.architecture) for f in facts] == [
        (layer, D_MODEL, D_SAE, "jumprelu") for layer in (3, 5)
    ]
    (other_model,) = said
    assert "trained on google/gemma-3-4b-it and are used on data/demo-captioner" in other_model
    for source in sources(config):
        sae, x = load_pretrained(source, D_MODEL), random_tokens()
        z, rebuilt = jumprelu_by_hand(scope_tensors(D_MODEL, D_SAE, source.layer), x)
        assert 0 < (z > 0).float().mean() < 0.5
        torch.testing.assert_close(sae.encode(x), z)
        torch.testing.assert_close(sae(x), rebuilt)
        assert (sae.cfg.layer, sae.cfg.model_name) == (source.layer, "google/gemma-3-4b-it")
        assert sae.cfg.hook_name == f"blocks.{source.layer}.hook_resid_post"
    assert [k["repo_id"] for k in asked] == [REPO] * 2


def test_the_same_files_in_a_folder_are_the_same_saes(offline):
    (source,) = sources(config_of(ENTRY))
    local = shutil.copytree(folder_of(source), offline / "gemma-scope-2-4b-it" / source.folder)
    copied = offline / "gemma-scope-2-4b-it" / "resid_post_all" / f"layer_{{layer}}_{WIDTH}"
    assert digest(config_of(ENTRY)) == digest(config_of(copied))
    assert sae_id(loaded(ENTRY)) == sae_id(loaded(copied))
    (local / "config.json").unlink()  # the loader then tells the model from the repository's name
    assert check_sources(config_of(copied), D_MODEL)[0][0].trained_on == "google/gemma-3-4b-it"


def test_an_entry_that_is_not_here_is_said_and_checked_as_far_as_can_be(offline):
    config = config_of(f"{RELEASE}/layer_7_{WIDTH}", (7,))
    facts, said = check_sources(config, D_MODEL)
    assert (facts[0].d_model, facts[0].trained_on) == (0, "google/gemma-3-4b-it")
    assert f"the run downloads {REPO}/resid_post_all/layer_7_{WIDTH} when it starts" in said[1]
    with pytest.raises(UserError, match="not on this machine"):
        digest(config)
    with pytest.raises(UserError, match="could not be downloaded"):
        check_sources(config, D_MODEL, fetch=True)
    with pytest.raises(UserError, match="not one of the residual stream"):  # known without its files
        check_sources(config_of(f"gemma-scope-2-4b-it-mlp-all/layer_7_{WIDTH}", (7,)), D_MODEL)


def test_the_fingerprint_knows_the_content_and_no_place(tmp_path):
    made = [write_scope(tmp_path / name / "resid_post_all" / f"layer_5_{WIDTH}", D_MODEL, D_SAE) for name in ("a", "b")]
    assert digest(config_of(made[0])) == digest(config_of(made[1])) != digest(load_config("demo")) == ""
    assert "source" not in fingerprint_part(config_of(made[0]), "sae")
    changed = load_file(made[1] / "params.safetensors")
    changed["b_enc"][0] += 1e-3
    save_file(changed, made[1] / "params.safetensors")
    assert digest(config_of(made[0])) != digest(config_of(made[1]))


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "jumprelu", "gated", "standard"])
def test_our_own_folders_are_read_as_any_other(architecture, tmp_path):
    sae = random_sae(architecture)
    save_sae(sae, tmp_path / "layer_03")
    again = loaded(f"{tmp_path}/layer_{{layer:02d}}", 3)
    assert sae_id(again) == sae_id(sae) and again.cfg == sae.cfg


def test_a_folder_of_an_older_sae_lens_is_read(tmp_path):
    """Flat keys, activation_fn_str, a hook that names the stream before the next layer."""
    sae = random_sae("standard")
    save_sae(sae, tmp_path)
    old = {
        "d_in": D_MODEL,
        "d_sae": D_SAE,
        "hook_name": "blocks.6.hook_resid_pre",
        "model_name": "gemma-3-4b-pt",
        "activation_fn_str": "relu",
        "normalize_activations": False,
        "apply_b_dec_to_input": True,
        "dtype": "torch.float32",
    }
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    again = loaded(tmp_path, 5)
    torch.testing.assert_close(again.encode(random_tokens()), sae.encode(random_tokens()))
    assert (again.cfg.layer, again.cfg.model_name) == (5, "gemma-3-4b-pt")


TOML = """architecture = "jumprelu"
layer = 5
hook = "resid_post"
model = "some-model"
apply_b_dec_to_input = true
scale = 0.25
[tensors]
W_enc = "enc.weight.T"
W_dec = "dec"
b_enc = "enc.bias"
b_dec = "offset"
threshold = "theta"
"""


def plain_file(tmp_path, toml=TOML):
    w = scope_tensors(D_MODEL, D_SAE)
    stored = {
        "enc.weight": w["w_enc"].T.contiguous(),
        "dec": w["w_dec"].bfloat16(),
        "enc.bias": w["b_enc"],
        "offset": w["b_dec"],
        "theta": torch.tensor(0.3),
    }
    save_file(stored, tmp_path / "mine.safetensors")
    (tmp_path / "mine.toml").write_text(toml)
    return tmp_path / "mine.safetensors", w | {"w_dec": stored["dec"].float(), "threshold": torch.full((D_SAE,), 0.3)}


def test_a_safetensors_with_a_toml_is_read_and_its_scale_folded_exactly(tmp_path):
    path, w = plain_file(tmp_path)
    sae, x = loaded(path), random_tokens()
    z, rebuilt = jumprelu_by_hand(w, 0.25 * x, b_dec_first=True)
    torch.testing.assert_close(sae.encode(x), z)
    torch.testing.assert_close(sae(x), rebuilt / 0.25)
    assert sae.cfg.model_name == "some-model"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('model = "some-model"\n', "", "model: missing"),
        ("layer = 5", 'layer = "5"', "layer: expected int"),
        ("scale = 0.25", "scale = 0", "scale: expected a number above 0"),
        ("scale = 0.25", "scales = 1", "scales: unknown"),
        ('threshold = "theta"', "", "tensors.threshold: missing"),
        ('"offset"', '"bias"', "mine.safetensors has no tensor bias"),
        ('"dec"', '"dec.T"', "W_dec does not fit"),
        ('"jumprelu"', '"temporal"', "architecture: expected one of standard"),
        ('"resid_post"', '"mlp_out"', "what the MLP adds"),
        ("layer = 5", "layer = 4", "is of layer 4, not of layer 5"),
        ("scale = 0.25", 'normalize = "layer_norm"', "normalize_activations = 'layer_norm'"),
        ("layer = 5", "layer = = 5", "not valid TOML"),
    ],
)
def test_a_toml_that_does_not_describe_its_file_is_refused(tmp_path, old, new, said):
    assert old in TOML
    path, _ = plain_file(tmp_path, TOML.replace(old, new))
    with pytest.raises(UserError, match=said):
        loaded(path)


SCOPE_WRONGS = {
    "an MLP's output": ("mlp_out_all", {}, "not one of the residual stream"),
    "heads": ("attn_out_all", {}, "what attention heads gather"),
    "a transcoder": ("transcoder_all", {}, "is a transcoder"),
    "an unnamed place": ("somewhere", {}, "Hook name not found"),
    "another layer": ("resid_post_all", {"layer": 4}, "disagree"),
    "another width": ("resid_post_all", {"d_model": 16}, "It reads 16 dimensions; the model's residual stream has 12"),
    "whole numbers": ("resid_post_all", {"w_enc": torch.zeros(D_MODEL, D_SAE, dtype=torch.int8)}, "w_enc as I8"),
    "not finite": ("resid_post_all", {"b_enc": torch.full((D_SAE,), torch.nan)}, "not finite"),
    "shapes that disagree": ("resid_post_all", {"w_dec": torch.zeros(D_SAE, 16)}, "cannot be read|does not fit"),
}


@pytest.mark.parametrize("wrong", SCOPE_WRONGS)
def test_a_wrong_sae_in_the_layout_of_gemma_scope_is_refused_with_the_reason(tmp_path, wrong):
    place, changes, said = SCOPE_WRONGS[wrong]
    folder = write_scope(
        tmp_path / "gemma-scope-2-4b-it" / place / f"layer_5_{WIDTH}", **{"d_model": D_MODEL, "d_sae": D_SAE} | changes
    )
    with pytest.raises(UserError, match=said) as e:
        loaded(folder)
    assert all((e.value.what, e.value.why, e.value.do))
    if wrong not in ("not finite", "shapes that disagree"):  # all else is found before any weight is read
        with pytest.raises(UserError, match=said):
            check_sources(config_of(folder), D_MODEL)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"normalize_activations": "layer_norm"}, "normalize_activations = 'layer_norm'"),
        ({"normalize_activations": "expected_average_only_in"}, "expected_average_only_in"),
        ({"reshape_activations": "hook_z"}, "reshape_activations = 'hook_z'"),
        ({"architecture": "batchtopk"}, "has no threshold"),  # a trainer's, without what its trainer keeps
        ({"metadata": {"sae_lens_version": "6.1.0"}}, "reads an unnamed place"),
        ({"metadata": {"sae_lens_version": "6.1.0", "hook_name": "blocks.5.hook_resid_mid"}}, "between attention and"),
        ({"d_in": 13}, "It reads 13 dimensions"),
    ],
)
def test_a_wrong_folder_of_sae_lens_is_refused_before_anything_runs(tmp_path, change, said):
    save_sae(random_sae("standard"), tmp_path)
    content = json.loads((tmp_path / "cfg.json").read_text())
    content["metadata"]["hook_name"] = "blocks.5.hook_resid_post"
    (tmp_path / "cfg.json").write_text(json.dumps(content | change))
    with pytest.raises(UserError, match=said):
        check_sources(config_of(tmp_path), D_MODEL)


def test_damaged_files_are_refused(tmp_path):
    folder = write_scope(tmp_path / "resid_post_all" / f"layer_5_{WIDTH}", D_MODEL, D_SAE)
    (folder / "params.safetensors").write_bytes(b"broken, and long enough for a header")
    with pytest.raises(UserError, match="no safetensors file"):
        check_sources(config_of(folder), D_MODEL)
    (folder / "params.safetensors").unlink()
    with pytest.raises(UserError, match="There is no SAE in"):
        check_sources(config_of(folder), D_MODEL)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("gemma-scope-2-4b-it-ress/layer_5", "Did you mean gemma-scope-2-4b-it-res"),
        (f"{RELEASE}/layer_5_width_9k", "The nearest: layer_5_width_16k"),
        ("gemma-scope-2-4b-it-res/layer_5_width_16k_l0_small", "of layers 9, 17, 22, 29"),
        ("./nowhere", "no folder"),
        ("core/sae", "There is no SAE in"),
        ("./mine.safetensors", r"mine.safetensors and mine.toml is missing"),
        ("qwen2.5-7b-instruct-andyrdt/resid_post_layer_3_trainer_1", "pickles"),
    ],
)
def test_a_place_that_cannot_be_one_is_refused(source, said):
    with pytest.raises(UserError, match=said):
        sources(config_of(source))


def test_the_loaders_that_read_pickles_are_all_known():
    import sae_lens.loading.pretrained_sae_loaders as loaders

    reading = {
        name
        for name, loader in loaders.NAMED_PRETRAINED_SAE_LOADERS.items()
        if "torch.load" in inspect.getsource(loader)
    }
    assert reading == set(PICKLED)
    assert "connor_rob_hook_z" in reading and "gemma_3" not in reading


def test_every_layer_needs_its_place():
    with pytest.raises(UserError, match=r"sae\.source: expected one place with"):
        config_of(ENTRY, (3, 5))
    with pytest.raises(UserError, match="got 3"):
        config_of(["a", "b", "c"], (3, 5))
    assert fill_in("x/layer_{layer:02d}/{layer}", 5) == "x/layer_05/5"
    assert sources(load_config("demo")) == []


def test_which_hooks_are_the_residual_stream():
    for name, layer in (
        ("blocks.8.hook_resid_post", 8),
        ("blocks.8.hook_resid_pre", 7),
        ("model.layers.7.output", 7),
        ("layers.3", 3),
        ("model.language_model.layers.12", 12),
    ):
        assert residual_layer(name) == layer
    for name in (
        "blocks.0.hook_resid_pre",
        "blocks.3.hook_mlp_out",
        "blocks.3.attn.hook_z",
        "",
        "hook_embed",
        "model.layers.3.self_attn.o_proj.input",
        "model.layers.3.pre_feedforward_layernorm.output",
    ):
        assert residual_layer(name) is None


def test_a_model_is_known_by_its_name_wherever_it_lies():
    config = load_config("gemma-3-4b")
    assert same_model("google/gemma-3-4b-it", config)
    assert not same_model("google/gemma-3-4b-pt", config) and not same_model("", config)


def test_the_registry_has_the_layers_that_the_page_tells():
    from core.config import PROJECT_ROOT

    page = (PROJECT_ROOT / "docs" / "saes.md").read_text(encoding="utf-8")
    ids = {sae["id"] for sae in registry()[RELEASE]["saes"]}
    widths = sorted({i.partition("_width_")[2] for i in ids})
    assert ids == {f"layer_{layer}_width_{width}" for layer in range(34) for width in widths}
    assert all(width in page for width in widths) and "layers 0 to 33" in page


QUICK = ("explain.n_features=1", "explain.n_dose_images=0", "train.n_spliced=2", "gender.n_attributed=0")


def test_the_later_stages_work_on_saes_by_others(small_run, tmp_path, monkeypatch):
    """The small run again from its activations on, with two SAEs of the release in the place of its own."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub_cache(tmp_path / "hub", 192, 96, (3, 5))))
    # compiling the map of features takes longer than all the rest, and knows nothing of SAEs
    monkeypatch.setattr("precompute.stages.features.feature_map", lambda rows, *_: np.zeros((len(rows), 2), np.float32))
    run = Run(shutil.copytree(small_run, tmp_path / "run"))
    config = load_config("demo", [*SMALL, *QUICK, f"sae.source={TEMPLATE}"])
    wanted = ("prepare", "caption", "words", "activations", "train", "codes", "features", "pool", "gender", "explain")
    ran = LocalEngine(run, config, tuple(s for s in stages() if s.name in wanted)).run_all()
    assert ran == list(wanted[4:])
    saes = pd.read_parquet(run.path("saes.parquet"))
    assert saes.source.tolist() == [f"{RELEASE}/layer_{layer}_{WIDTH}" for layer in (3, 5)]
    assert set(saes.trained_on) == {"google/gemma-3-4b-it"} and saes.n_train_tokens.isna().all()
    for layer, name in ((3, saes.sae_id[0]), (5, saes.sae_id[1])):
        sae = load_sae(run.path("saes", f"layer_{layer:02d}"))
        published = scope_tensors(192, 96, layer)
        assert torch.equal(sae.W_dec, published["w_dec"]) and sae_id(sae) == name
    for table in ("features", "gender_features", "explanations"):
        assert set(pd.read_parquet(run.path(f"{table}.parquet")).sae_id) <= set(saes.sae_id), table
    assert pd.read_parquet(run.path("features.parquet")).alive.any()
    fit = pd.read_parquet(run.path("sae_fit.parquet")).query("lang == 'both'")
    assert set(fit.kind) == {"all", "image", "prompt", "caption"} and (fit.explained_variance < 0.5).all()
    assert LocalEngine(run, config, tuple(s for s in stages() if s.name in wanted)).run_all() == []


def test_a_wrong_sae_ends_a_run_before_its_first_stage_and_a_plan_too(tmp_path):
    wrong = write_scope(tmp_path / "resid_post_all" / f"layer_5_{WIDTH}", 2560, 4)  # of the real model's width
    run, config = Run(tmp_path / "run"), config_of(wrong)
    for begin in (lambda: LocalEngine(run, config).run_all(), lambda: show_plan(config, run)):
        with pytest.raises(UserError, match="It reads 2560 dimensions; the model's residual stream has 192"):
            begin()
    assert not run.path("manifest.json").exists()


def test_a_plan_says_what_the_saes_were_trained_on(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    right = write_scope(tmp_path / "resid_post_all" / f"layer_5_{WIDTH}", 192, 32)
    show_plan(config_of(right), Run(tmp_path / "run"), console)
    told = console.file.getvalue()
    assert "Note: The SAEs were trained on google/gemma-3-4b-it and are used on data/demo-captioner" in told
