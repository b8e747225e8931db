"""SAEs in the folders of other trainers: sae-lens' own trainer, sparsify and dictionary_learning; and what is refused.

Each is told by its files. What is read is read exactly, without a pickle; the formats, from the projects' public code:

- sae-lens, as its trainer saves (BatchTopK, Matryoshka): cfg.json, sae_weights.safetensors with ``topk_threshold``,
  which becomes the threshold of a JumpReLU as in sae-lens' own ``save_inference_model``.
- sparsify: cfg.json (d_in, k, num_latents or expansion_factor), sae.safetensors (encoder.weight (d_sae, d_model),
  encoder.bias, W_dec, b_dec) in a folder that is named after the hook, ``layers.17``. b_dec is taken from x first; of
  what is above 0 the k largest are kept.
- dictionary_learning: config.json (trainer: dict_class, layer, lm_name, submodule_name) and ae.pt, a pickle, which is
  converted first to ae.safetensors.
- saev: a line of JSON with a pickle behind it in one .pt, which is converted first, too.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from core.errors import UserError
from core.sae.sources import AE, SPARSIFY, header

TRAINED_AS = ("batchtopk", "matryoshka_batchtopk")  # sae-lens' training SAEs that become jumprelu when they are saved
ENCODER = {"encoder.weight": "W_enc.T", "encoder.bias": "b_enc"}  # ".T": stored transposed
TENSORS = {
    "sparsify": ENCODER | {"W_dec": "W_dec", "b_dec": "b_dec"},
    "AutoEncoder": ENCODER | {"decoder.weight": "W_dec.T", "bias": "b_dec"},
    "AutoEncoderNew": ENCODER | {"decoder.weight": "W_dec.T", "decoder.bias": "b_dec"},
    "GatedAutoEncoder": {
        "encoder.weight": "W_enc.T",
        "decoder.weight": "W_dec.T",
        "decoder_bias": "b_dec",
        "r_mag": "r_mag",
        "gate_bias": "b_gate",
        "mag_bias": "b_mag",
    },
    "JumpReluAutoEncoder": {name: name for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")},
    "AutoEncoderTopK": ENCODER | {"decoder.weight": "W_dec.T", "b_dec": "b_dec"},
    "BatchTopKSAE": ENCODER | {"decoder.weight": "W_dec.T", "b_dec": "b_dec", "threshold": "threshold"},
    "MatryoshkaBatchTopKSAE": {name: name for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")},
}
"""By the class that trained the SAE: the tensors in its file, and what they are here."""
NOT_WEIGHTS = ("k", "threshold", "group_sizes")  # what else such a file may hold
RULES = {
    "AutoEncoder": "standard",
    "AutoEncoderNew": "standard",
    "GatedAutoEncoder": "gated",
    "JumpReluAutoEncoder": "jumprelu",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "jumprelu",
    "MatryoshkaBatchTopKSAE": "jumprelu",
}
CENTRED = ("AutoEncoder", "GatedAutoEncoder", "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE")


def kind_of(folder: Path) -> str:
    """ "sparsify", "dictionary_learning" or "trainer" (sae-lens'), "" for a folder that is none of them."""
    if (folder / SPARSIFY).is_file() and (folder / "cfg.json").is_file():
        return "sparsify"
    if (folder / AE).is_file() and (folder / "config.json").is_file():
        return "dictionary_learning"
    if (folder / "cfg.json").is_file() and _json(folder / "cfg.json").get("architecture") in TRAINED_AS:
        return "trainer"
    return ""


def read_config(kind: str, folder: Path) -> dict[str, Any]:
    """What the folder says of its SAE, in the form of sae-lens 6; sizes from the headers, no weights are read.

    Raises UserError for a transcoder, and for a rule of activation that is not read here.
    """
    match kind:
        case "sparsify":
            return _of_sparsify(folder)
        case "dictionary_learning":
            return _of_dictionary_learning(folder)
        case _:
            content = _json(folder / "cfg.json")
            if "topk_threshold" not in header(folder / "sae_weights.safetensors", "shape"):
                raise UserError(
                    f"The SAE in {folder} has no threshold.",
                    "sae_weights.safetensors holds no topk_threshold: it was saved by an older trainer.",
                    "Save it for inference where it was trained: training_sae.save_inference_model(FOLDER).",
                )
            return content | {"architecture": "jumprelu", "k": int(content.get("k") or 0)}


def read_sae(kind: str, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and float32 tensors by their names here."""
    from safetensors.torch import load_file

    content = read_config(kind, folder)
    if kind == "trainer":
        found = {name: t.float() for name, t in load_file(folder / "sae_weights.safetensors").items()}
        threshold = found.pop("topk_threshold")
        return content, found | {"threshold": threshold.expand(content["d_sae"]).contiguous()}
    stored = load_file(folder / (SPARSIFY if kind == "sparsify" else AE))
    names, found = TENSORS[content.pop("tensors")], {}
    for theirs, ours in names.items():
        tensor = stored[theirs].float()
        found[ours.removesuffix(".T")] = tensor.t().contiguous() if ours.endswith(".T") else tensor
    if "threshold" in found and found["threshold"].ndim == 0:
        found["threshold"] = found["threshold"].expand(content["d_sae"]).contiguous()
    return content, found


def _of_sparsify(folder: Path) -> dict[str, Any]:
    told, shapes = _json(folder / "cfg.json"), header(folder / SPARSIFY, "shape")
    above = _json(folder.parent / "config.json") if (folder.parent / "config.json").is_file() else {}
    if told.get("transcode") or above.get("transcode") or (above.get("sae") or {}).get("transcode"):
        raise UserError(
            f"{folder.name} is a transcoder (sparsify).",
            "Its cfg.json says transcode: it predicts what a module writes of what it reads.",
            "Choose SAEs that were trained without --transcode.",
        )
    refused = {
        "a skip connection": told.get("skip_connection") or "W_skip" in shapes,
        "signed activations: the k of largest size, also below 0": told.get("signed"),
        f"the activation {told.get('activation')}": told.get("activation", "topk") != "topk",
    }
    _expect_tensors(folder / SPARSIFY, "sparsify", shapes)
    for what, is_so in refused.items():
        if is_so:
            raise UserError(
                f"The SAE in {folder} is of a kind that is not read here.",
                f"It has {what}; read are sparsify's topk SAEs without a skip connection.",
                "Choose another, or train one here.",
            )
    d_sae, d_in = shapes["encoder.weight"]
    if told.get("d_in", d_in) != d_in or not isinstance(told.get("k"), int):
        raise UserError(
            f"The SAE in {folder} is not what its cfg.json says.",
            f"cfg.json: d_in {told.get('d_in')}, k {told.get('k')}; encoder.weight is {d_sae} x {d_in}.",
            "Take cfg.json and sae.safetensors from the same place.",
        )
    if not re.search(r"\.\d+", folder.name):
        raise UserError(
            f"The folder {folder.name} does not say which layer its SAE reads.",
            "sparsify names the folder of an SAE after its hook, and says it nowhere else.",
            "Call the folder layers.17 if the SAE reads what layer 17 leaves behind.",
        )
    return _content("topk", d_in, d_sae, "sparsify", folder.name, str(above.get("model") or ""), True, k=told["k"])


def _of_dictionary_learning(folder: Path) -> dict[str, Any]:
    told, shapes = _json(folder / "config.json").get("trainer"), header(folder / AE, "shape")
    told = told if isinstance(told, dict) else {}
    name = told.get("dict_class")
    if name == "AutoEncoder" and "decoder.bias" in shapes:  # so called by the trainer of AutoEncoderNew, too
        name = "AutoEncoderNew"
    if name not in RULES:
        raise UserError(
            f"The SAE in {folder} is of the class {name!r}, which is not read here.",
            f"Read are {', '.join(RULES)} of dictionary_learning.",
            "Convert it to a .safetensors with a TOML: see docs/saes.md.",
        )
    _expect_tensors(folder / AE, name, shapes)
    place, layer = told.get("submodule_name") or "", told.get("layer")
    if not place or not isinstance(layer, int):
        raise UserError(
            f"The config.json in {folder} does not say what its SAE reads.",
            f"trainer.submodule_name is {place or 'not given'}, trainer.layer is {layer}.",
            'If it reads what layer 17 leaves behind, write "layer": 17 and "submodule_name": "resid_post_layer_17".',
        )
    hook = f"blocks.{layer}.hook_resid_post" if "resid_post" in place else place
    transposed = TENSORS[name].get("encoder.weight")
    d_in, d_sae = shapes["encoder.weight"][::-1] if transposed else shapes["W_enc"]
    content = _content(
        RULES[name], d_in, d_sae, name, hook, told.get("lm_name") or "", name in CENTRED, k=told.get("k") or 0
    )
    # as its own from_pretrained does: features in units of decoder rows of length 1
    return content | ({"rescale_acts_by_decoder_norm": True} if name == "AutoEncoder" else {})


def _content(
    rule: str, d_in: int, d_sae: int, tensors: str, hook: str, model: str, centred: bool, k: int
) -> dict[str, Any]:
    return {
        "architecture": rule,
        "d_in": d_in,
        "d_sae": d_sae,
        "k": k,
        "apply_b_dec_to_input": centred,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "tensors": tensors,
        "metadata": {"model_name": model, "hook_name": hook},
    }


def _expect_tensors(path: Path, name: str, shapes: dict[str, list[int]]) -> None:
    missing = sorted(set(TENSORS[name]) - set(shapes))
    extra = sorted(set(shapes) - set(TENSORS[name]) - {*NOT_WEIGHTS, "W_skip"})
    if missing or extra:
        said = [f"{what}: {', '.join(names)}" for what, names in (("missing", missing), ("left over", extra)) if names]
        raise UserError(
            f"{path} does not hold a {name} SAE.", "; ".join(said) + ".", "Take the files as they were published."
        )


def _json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds no settings")
    return content
