"""SAEs as a plain .safetensors file with a small TOML beside it that says what its tensors are.

::

    architecture = "jumprelu"      # standard, topk, jumprelu or gated
    layer = 17
    hook = "resid_post"
    model = "google/gemma-3-4b-it" # what it was trained on
    apply_b_dec_to_input = false   # whether b_dec is taken from x before encoding
    k = 64                         # topk only
    scale = 0.05                   # if the SAE reads scale * x; folded exactly

    [tensors]                      # name in the file; ".T" behind it: stored transposed
    W_enc = "encoder.weight.T"     # (d_model, d_sae)
    W_dec = "decoder.weight.T"     # (d_sae, d_model)
    b_enc = "encoder.bias"
    b_dec = "b_dec"
    threshold = "threshold"        # one number or (d_sae)
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from torch import Tensor

from core.errors import UserError
from core.sae.sources import header

KEYS = {"architecture": str, "layer": int, "hook": str, "model": str, "apply_b_dec_to_input": bool}
OPTIONAL = {"k": int, "scale": float, "normalize": str}
PER_FEATURE = {
    "standard": ("b_enc",),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "gated": ("b_gate", "b_mag", "r_mag"),
}


def read_config(path: Path) -> dict[str, Any]:
    """What the TOML says, in the form of sae-lens 6 with ``tensors`` and ``scale`` beside it; sizes from the header.

    Raises UserError with all mistakes of the TOML at once.
    """
    note = path.with_suffix(".toml")
    try:
        told = tomllib.loads(note.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{note.name} is not valid TOML.", str(error), "Mend it: see docs/saes.md.") from error
    shapes = header(path, "shape")
    tensors, mistakes = told.pop("tensors", {}), _mistakes(told)
    if not mistakes:
        wanted = ("W_enc", "W_dec", "b_dec", *PER_FEATURE[told["architecture"]])
        mistakes = [f"tensors.{name}: missing" for name in wanted if name not in tensors]
        mistakes += [f"tensors.{name}: unknown" for name in tensors if name not in wanted]
        mistakes += [
            f"tensors.{name}: {path.name} has no tensor {text.removesuffix('.T')}"
            for name, text in tensors.items()
            if text.removesuffix(".T") not in shapes
        ]
    if mistakes:
        raise UserError(
            f"{note.name} does not describe the SAE beside it.",
            "\n".join(f"  - {m}" for m in mistakes),
            "Mend it: see docs/saes.md.",
        )
    d_in, d_sae = _shape(tensors["W_enc"], shapes)
    hook = told["hook"]
    return {
        "architecture": told["architecture"],
        "d_in": d_in,
        "d_sae": d_sae,
        "k": told.get("k", 0),
        "dtype": "float32",
        "apply_b_dec_to_input": told["apply_b_dec_to_input"],
        "normalize_activations": told.get("normalize", "none"),
        "reshape_activations": "none",
        "tensors": tensors,
        "scale": float(told.get("scale", 1.0)),
        "metadata": {"model_name": told["model"], "hook_name": f"blocks.{told['layer']}.hook_{hook}"},
    }


def read_sae(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and float32 tensors, the scale folded in: features and reconstruction of raw x are the same."""
    from safetensors.torch import load_file

    content, stored = read_config(path), load_file(path)
    scale, found = content.pop("scale"), {}
    for name, text in content.pop("tensors").items():
        tensor = stored[text.removesuffix(".T")].float()
        found[name] = tensor.t().contiguous() if text.endswith(".T") else tensor
    if "threshold" in found and found["threshold"].numel() == 1:
        found["threshold"] = found["threshold"].reshape(1).expand(content["d_sae"]).contiguous()
    # z = f((s x - b) W) and x' = (z D + b) / s: the same as z = f((x - b/s) s W) and x' = z D/s + b/s
    found["W_enc"], found["W_dec"] = found["W_enc"] * scale, found["W_dec"] / scale
    found["b_dec"] = found["b_dec"] / scale
    return content, found


def _shape(text: str, shapes: dict[str, list[int]]) -> tuple[int, int]:
    shape = shapes[text.removesuffix(".T")]
    if len(shape) != 2:
        raise UserError(f"The tensor {text} is no W_enc.", f"Its shape is {tuple(shape)}.", "Mend the TOML.")
    return (shape[1], shape[0]) if text.endswith(".T") else (shape[0], shape[1])


def _mistakes(told: dict[str, Any]) -> list[str]:
    known = KEYS | OPTIONAL
    mistakes = [f"{key}: missing" for key in KEYS if key not in told]
    mistakes += [f"{key}: unknown" for key in told if key not in known]
    for key in (k for k in told if k in known):
        value = float(told[key]) if known[key] is float and type(told[key]) is int else told[key]
        if type(value) is not known[key]:
            mistakes.append(f"{key}: expected {known[key].__name__}, got {value!r}")
        elif key == "architecture" and value not in PER_FEATURE:
            mistakes.append(f"architecture: expected one of {', '.join(PER_FEATURE)}, got {value!r}")
        elif key == "scale" and not 0 < value < float("inf"):
            mistakes.append(f"scale: expected a number above 0, got {value!r}")
    return mistakes
