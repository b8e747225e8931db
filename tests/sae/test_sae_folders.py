"""SAEs in the folders of other trainers give the codes of their formulas, or are refused with what mends them."""

import json
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.config import load_config
from core.errors import UserError
from core.sae.pretrained import check_sources, load_pretrained
from core.sae.sources import digest, sources
from tests.sae.sae_toys import D_SAE, K, random_tokens
from tests.sae.sae_toys import WIDTH as D_MODEL
from tests.sae.scope_toys import write_scope

LAYER = 5


def config_of(place):
    return load_config("demo", [f"activations.layers=[{LAYER}]", f"sae.source={place}"])


def loaded(place):
    (source,) = sources(config_of(place))
    return load_pretrained(source, D_MODEL)


def refused(place):
    with pytest.raises(UserError) as error:
        check_sources(config_of(place), D_MODEL)
    assert all((error.value.what, error.value.why, error.value.do))
    return str(error.value)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(**more):
    """Tensors as torch's Linear keeps them: (out, in)."""
    found = {"encoder.weight": drawn(D_SAE, D_MODEL), "encoder.bias": 0.1 * drawn(D_SAE, seed=1)}
    return found | {"decoder.weight": drawn(D_MODEL, D_SAE, seed=2)} | more


def top(pre, k=K):
    """The k largest of what is above 0."""
    values, at = pre.relu().topk(k, dim=-1)
    return torch.zeros_like(pre).scatter_(-1, at, values)


def holds(sae, x, z, rebuilt):
    assert 0 < (z > 0).float().mean() < 0.9
    torch.testing.assert_close(sae.encode(x), z)
    torch.testing.assert_close(sae(x), rebuilt)


# sparsify


def write_sparsify(folder, tensors=None, **changes):
    folder.mkdir(parents=True)
    held = {"encoder.weight": drawn(D_SAE, D_MODEL), "encoder.bias": 0.1 * drawn(D_SAE, seed=1)}
    held |= {"W_dec": drawn(D_SAE, D_MODEL, seed=2), "b_dec": 0.3 * drawn(D_MODEL, seed=3)} | (tensors or {})
    save_file(held, folder / "sae.safetensors")
    told = {"activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": D_SAE, "k": K}
    told |= {"multi_topk": False, "skip_connection": False, "transcode": False, "d_in": D_MODEL}
    (folder / "cfg.json").write_text(json.dumps(told | changes))
    return held


@pytest.mark.parametrize("name", ["layers.5", "model.language_model.layers.5"])
def test_a_folder_of_sparsify_gives_the_codes_of_its_formula(tmp_path, name):
    w = write_sparsify(tmp_path / name)
    (tmp_path / "config.json").write_text(json.dumps({"model": "google/gemma-3-4b-it", "sae": {"k": K}}))
    x = random_tokens()
    z = top((x - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"])
    sae = loaded(tmp_path / name)
    holds(sae, x, z, z @ w["W_dec"] + w["b_dec"])
    assert (sae.cfg.layer, sae.cfg.model_name, sae.cfg.k) == (LAYER, "google/gemma-3-4b-it", K)
    (facts,), _ = check_sources(config_of(f"{tmp_path}/{name.replace('5', '{layer}')}"), D_MODEL)
    assert (facts.d_model, facts.d_sae, facts.architecture) == (D_MODEL, D_SAE, "topk")


def test_the_identity_of_a_folder_is_that_of_its_content(tmp_path):
    for name in ("a", "b", "c"):
        write_sparsify(tmp_path / name / "layers.5", {"b_dec": drawn(D_MODEL)} if name == "c" else None)
    one, same, other = (digest(config_of(tmp_path / name / "layers.5")) for name in ("a", "b", "c"))
    assert one == same != other


@pytest.mark.parametrize(
    ("name", "changes", "tensors", "said"),
    [
        ("layers.5", {"transcode": True}, {}, "is a transcoder (sparsify)"),
        ("layers.5", {"skip_connection": True}, {}, "a skip connection"),
        ("layers.5", {}, {"W_skip": torch.zeros(D_MODEL, D_MODEL)}, "transcoder with a skip connection"),
        ("layers.5", {"signed": True}, {}, "also below 0"),
        ("layers.5", {"activation": "groupmax"}, {}, "groupmax"),
        ("layers.5", {"d_in": D_MODEL + 1}, {}, "not what its cfg.json says"),
        ("layers.5", {"k": None}, {}, "not what its cfg.json says"),
        ("layers.5", {}, {"W_enc": torch.zeros(2, 2)}, "left over: W_enc"),
        ("layers.4", {}, {}, "is of layer 4, not of layer 5"),
        ("layers.5.mlp", {}, {}, "what the MLP adds"),
        ("layers.5.self_attn", {}, {}, "what attention adds"),
        ("mine", {}, {}, "does not say which layer"),
    ],
)
def test_what_cannot_be_read_of_sparsify_is_refused_by_name(tmp_path, name, changes, tensors, said):
    write_sparsify(tmp_path / name, tensors, **changes)
    assert said in refused(tmp_path / name)


def test_an_early_transcoder_of_sparsify_is_known_by_its_run(tmp_path):
    write_sparsify(tmp_path / "layers.5", transcode=None)
    (tmp_path / "config.json").write_text(json.dumps({"transcode": True}))
    assert "transcoder" in refused(tmp_path / "layers.5")


# dictionary_learning


def plain():
    return linear(bias=0.2 * drawn(D_MODEL, seed=3))


def new():
    return linear(**{"decoder.bias": 0.2 * drawn(D_MODEL, seed=3)})


def gated():
    held = linear(decoder_bias=0.2 * drawn(D_MODEL, seed=3), r_mag=0.1 * drawn(D_SAE, seed=4))
    held |= {"gate_bias": 0.1 * drawn(D_SAE, seed=5), "mag_bias": 0.1 * drawn(D_SAE, seed=6)}
    del held["encoder.bias"]
    return held


def with_k(threshold=0.7):
    return linear(
        b_dec=0.2 * drawn(D_MODEL, seed=3), k=torch.tensor(K, dtype=torch.int32), threshold=torch.tensor(threshold)
    )


def matrices(**more):
    found = {
        "W_enc": drawn(D_MODEL, D_SAE),
        "b_enc": 0.1 * drawn(D_SAE, seed=1),
        "W_dec": drawn(D_SAE, D_MODEL, seed=2),
    }
    return found | {"b_dec": 0.2 * drawn(D_MODEL, seed=3)} | more


def over(pre, threshold):
    return pre.relu() * (pre > threshold)


def hidden(w, x, centre=None):
    return (x if centre is None else x - centre) @ w["encoder.weight"].T + w.get("encoder.bias", 0)


def formula_plain(w, x):
    norm = w["decoder.weight"].norm(dim=0)
    z = hidden(w, x, w["bias"]).relu()
    return z * norm, z @ w["decoder.weight"].T + w["bias"]


def formula_new(w, x):
    z = hidden(w, x).relu()
    return z, z @ w["decoder.weight"].T + w["decoder.bias"]


def formula_gated(w, x):
    h = hidden(w, x, w["decoder_bias"])
    z = (h + w["gate_bias"] > 0) * (h * w["r_mag"].exp() + w["mag_bias"]).relu()
    return z, z @ w["decoder.weight"].T + w["decoder_bias"]


def formula_topk(w, x):
    z = top(hidden(w, x, w["b_dec"]))
    return z, z @ w["decoder.weight"].T + w["b_dec"]


def formula_batch(w, x):
    z = over(hidden(w, x, w["b_dec"]), w["threshold"])
    return z, z @ w["decoder.weight"].T + w["b_dec"]


def formula_matryoshka(w, x):
    z = over((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"], w["threshold"])
    return z, z @ w["W_dec"] + w["b_dec"]


def formula_jump(w, x):
    z = over(x @ w["W_enc"] + w["b_enc"], w["threshold"])
    return z, z @ w["W_dec"] + w["b_dec"]


GROUPS = {"k": torch.tensor(K, dtype=torch.int32), "group_sizes": torch.tensor([4, D_SAE - 4])}
CLASSES = {
    "AutoEncoder": ("AutoEncoder", plain, formula_plain),
    "AutoEncoderNew": ("AutoEncoderNew", new, formula_new),
    "AutoEncoderNew, as its trainer calls it": ("AutoEncoder", new, formula_new),
    "GatedAutoEncoder": ("GatedAutoEncoder", gated, formula_gated),
    "AutoEncoderTopK": ("AutoEncoderTopK", with_k, formula_topk),
    "BatchTopKSAE": ("BatchTopKSAE", with_k, formula_batch),
    "BatchTopKSAE without a threshold yet": ("BatchTopKSAE", lambda: with_k(-1.0), formula_batch),
    "MatryoshkaBatchTopKSAE": (
        "MatryoshkaBatchTopKSAE",
        lambda: matrices(threshold=torch.tensor(0.5), **GROUPS),
        formula_matryoshka,
    ),
    "JumpReluAutoEncoder": (
        "JumpReluAutoEncoder",
        lambda: matrices(threshold=0.4 + 0.1 * drawn(D_SAE, seed=7).abs()),
        formula_jump,
    ),
}


def write_dictionary(folder, name, tensors, **changes):
    folder.mkdir()
    told = {"dict_class": name, "layer": LAYER, "lm_name": "google/gemma-3-4b-it", "k": K}
    told |= {"submodule_name": f"resid_post_layer_{LAYER}", "activation_dim": D_MODEL, "dict_size": D_SAE}
    (folder / "config.json").write_text(json.dumps({"trainer": told | changes, "buffer": {"io": "out"}}))
    torch.save(tensors, folder / "ae.pt")
    return folder


def run_command(said):
    """The command that a message gives, run as a user would run it."""
    (command,) = re.findall(r"^Convert it: (.*)$", said, re.MULTILINE)
    done = subprocess.run(["bash", "-c", command.replace("python", sys.executable, 1)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", CLASSES)
def test_dictionary_learning_is_converted_by_the_command_and_gives_its_codes(tmp_path, case):
    name, make, formula = CLASSES[case]
    w, x = make(), random_tokens()
    folder = write_dictionary(tmp_path / "trainer_0", name, w)
    said = refused(folder)
    assert "ae.pt is a pickle (dictionary_learning)" in said
    run_command(said)
    sae = loaded(folder)
    holds(sae, x, *formula(w, x))
    assert (sae.cfg.layer, sae.cfg.model_name) == (LAYER, "google/gemma-3-4b-it")


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("IdentityDict", {}, "of the class 'IdentityDict'"),
        ("AutoEncoderTopK", {"submodule_name": None}, "does not say what its SAE reads"),
        ("AutoEncoderTopK", {"submodule_name": "mlp_out_layer_5"}, "what the MLP adds"),
        ("AutoEncoderTopK", {"layer": 4}, "is of layer 4, not of layer 5"),
        ("GatedAutoEncoder", {}, "missing: decoder_bias"),
    ],
)
def test_what_cannot_be_read_of_dictionary_learning_is_refused_by_name(tmp_path, name, changes, said):
    folder = write_dictionary(tmp_path / "trainer_0", name, with_k(), **changes)
    save_file(with_k(), folder / "ae.safetensors")
    assert said in refused(folder)


# saev


@pytest.mark.parametrize("kind", ["Relu", "TopK", "BatchTopK"])
def test_saev_is_converted_by_the_command_and_the_toml_of_the_message(tmp_path, kind):
    w, x = matrices(), random_tokens()
    if kind == "BatchTopK":
        w["activation.threshold"] = torch.tensor(0.5)
    params = {} if kind == "Relu" else {"top_k": K}
    told = {"schema": 5, "cfg": {"d_model": D_MODEL, "d_sae": D_SAE, "activation": {"cls": kind, "params": params}}}
    with open(tmp_path / "sae.pt", "wb") as file:
        file.write(json.dumps(told).encode() + b"\n")
        torch.save(w, file)
    said = refused(tmp_path / "sae.pt")
    assert refused(tmp_path) == said and "a line of JSON (saev)" in said
    run_command(said)
    toml = said.partition("sae.toml:\n")[2].replace("layer = 17", f"layer = {LAYER}").replace("its model", "clip")
    (tmp_path / "sae.toml").write_text(toml)
    pre = x @ w["W_enc"] + w["b_enc"]
    z = {"Relu": pre.relu(), "TopK": top(pre), "BatchTopK": over(pre, 0.5)}[kind]
    holds(loaded(tmp_path / "sae.safetensors"), x, z, z @ w["W_dec"] + w["b_dec"])


def test_any_other_pickle_is_refused_with_a_command(tmp_path):
    torch.save(linear(), tmp_path / "weights.pt")
    said = refused(tmp_path)
    assert "weights.pt is a pickle" in said and "docs/saes.md" in said
    run_command(said)
    assert set(load_file(tmp_path / "weights.safetensors")) == set(linear())


# sae-lens' trainer


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("name", ["batchtopk", "matryoshka_batchtopk"])
def test_a_folder_of_sae_lens_trainer_is_what_it_saves_for_inference(tmp_path, name, rescale):
    sae_lens = pytest.importorskip("sae_lens")
    from sae_lens.saes.sae import TrainingSAE

    made = TrainingSAE.get_sae_config_class_for_architecture(name)
    more = {"matryoshka_widths": [4, D_SAE]} if name.startswith("mat") else {}
    cfg = made(d_in=D_MODEL, d_sae=D_SAE, k=K, rescale_acts_by_decoder_norm=rescale, **more)
    cfg.metadata.hook_name, cfg.metadata.model_name = f"blocks.{LAYER}.hook_resid_post", "some-model"
    theirs = TrainingSAE.from_dict(cfg.to_dict())
    with torch.no_grad():
        theirs.W_enc.copy_(drawn(D_MODEL, D_SAE))
        theirs.W_dec.copy_(drawn(D_SAE, D_MODEL, seed=1) * (0.5 + torch.arange(D_SAE)[:, None] / D_SAE))
        theirs.b_dec.copy_(0.2 * drawn(D_MODEL, seed=2))
        theirs.topk_threshold.fill_(0.8)
    theirs.save_model(tmp_path / "trainer")
    theirs.save_inference_model(tmp_path / "inference")
    assert json.loads((tmp_path / "trainer" / "cfg.json").read_text())["architecture"] == name
    x, reference = random_tokens(), sae_lens.SAE.load_from_disk(str(tmp_path / "inference"))
    for folder in ("trainer", "inference"):
        with torch.no_grad():
            holds(loaded(tmp_path / folder), x, reference.encode(x), reference(x))
    held = load_file(tmp_path / "trainer" / "sae_weights.safetensors")
    del held["topk_threshold"]
    save_file(held, tmp_path / "trainer" / "sae_weights.safetensors")
    assert "save_inference_model" in refused(tmp_path / "trainer")


# transcoders


def test_cross_layer_transcoders_are_refused_by_name(tmp_path):
    for name in ("W_enc_5", "W_dec_5"):
        save_file({name: torch.zeros(4, 4)}, tmp_path / f"{name}.safetensors")
    assert "cross-layer transcoder" in refused(tmp_path)
    save_file({"W_enc": torch.zeros(4, 4), "W_dec": torch.zeros(4, 3, 4)}, tmp_path / "clt.safetensors")
    assert "cross-layer transcoder" in refused(tmp_path / "clt.safetensors")


def test_transcoders_of_circuit_tracer_are_refused_by_name(tmp_path):
    save_file({"W_enc": torch.zeros(4, 4)}, tmp_path / "layer_5.safetensors")
    (tmp_path / "config.yaml").write_text("model_kind: transcoder_set\n")
    assert "transcoders (circuit-tracer)" in refused(tmp_path)


@pytest.mark.parametrize("kind", ["transcoder", "clt", "crosscoder"])
def test_transcoders_in_the_layout_of_gemma_scope_are_known_whatever_their_folder_is_called(tmp_path, kind):
    folder = write_scope(tmp_path / "resid_post_all" / "layer_5_width_16k_l0_small", D_MODEL, D_SAE)
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | {"type": kind}))
    assert "is a transcoder" in refused(folder) and kind in refused(folder)
