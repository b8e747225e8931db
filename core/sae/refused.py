"""Files that are no SAE to be read here: pickles, told with the command that converts them, and transcoders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.vlm.checkpoint import tensor_headers

SAEV_LINE = 2**16  # bytes that the first line of a file of saev has at most
SCOPE_FILE = "params.safetensors"  # Gemma Scope 2: <repository>/resid_post_all/layer_17_width_16k_l0_small/
TRANSCODERS = ("transcoder", "clt", "cross_layer_transcoder", "crosscoder")  # types in Gemma Scope 2's config.json


def pickled(path: Path) -> UserError:
    """What to say of a pickle: whose form it is, and the command that makes a safetensors file of it."""
    told = saev_header(path)
    place = f"'{path.name}'" if told is None else f"io.BytesIO(open('{path.name}', 'rb').read().split(b'\\n', 1)[1])"
    new = path.with_suffix(".safetensors").name
    command = (
        f'cd {path.parent} && python -c "import io, torch; from safetensors.torch import save_file; '
        f"held = torch.load({place}, weights_only=True, map_location='cpu'); "
        f"save_file({{k: v.contiguous() for k, v in held.items()}}, '{new}')\""
    )
    if told is not None:
        whose, then = "is a pickle behind a line of JSON (saev)", f"Then write {path.stem}.toml:\n{_saev_toml(told)}"
    elif path.name == "ae.pt" and (path.parent / "config.json").is_file():
        whose, then = "is a pickle (dictionary_learning)", "Then name the folder again: config.json says the rest."
    else:
        whose, then = "is a pickle", f"Then write {path.stem}.toml beside it: see docs/saes.md."
    return UserError(
        f"{path} {whose}, which is not read.",
        "A pickle can run code when it is opened; weights_only=True opens it without.",
        f"Convert it: {command}\n{then}",
    )


def _saev_toml(told: dict[str, Any]) -> str:
    """The description of an SAE of saev by its line of JSON; layer and model stand nowhere in the file."""
    cfg = told.get("cfg") or told
    activation = cfg.get("activation") or {}
    kind = str(activation.get("cls") or told.get("cls") or "Relu")
    kept = (activation.get("params") or cfg).get("top_k", 32)
    rule = {"TopK": "topk", "BatchTopK": "jumprelu"}.get(kind, "standard")
    lines = [f'architecture = "{rule}"', "layer = 17  # which it reads", 'hook = "resid_post"', 'model = "its model"']
    centred = "true" if "schema" not in told else "false" + "  # true before August 2025" * (told["schema"] == 1)
    lines += [f"apply_b_dec_to_input = {centred}", *([f"k = {kept}"] if rule == "topk" else []), "[tensors]"]
    lines += [f'{name} = "{name}"' for name in ("W_enc", "W_dec", "b_enc", "b_dec")]
    return "\n".join(lines + (['threshold = "activation.threshold"'] if rule == "jumprelu" else []))


def refuse_transcoders(folder: Path, files: list[Path]) -> None:
    """UserError, by name, for what rebuilds another place than the one it reads."""
    names = {path.name for path in files}
    if any(re.fullmatch(r"W_(enc|dec)_\d+\.safetensors", name) for name in names):
        raise _transcoder(
            f"{folder} holds a cross-layer transcoder (circuit-tracer).", "W_enc_N and W_dec_N of a layer"
        )
    if any(re.fullmatch(r"layer_\d+\.safetensors", name) for name in names) and (folder / "config.yaml").is_file():
        raise _transcoder(f"{folder} holds transcoders (circuit-tracer).", "layer_N.safetensors and config.yaml")
    note = folder / "config.json"
    if (folder / SCOPE_FILE).is_file() and note.is_file():
        told = json.loads(note.read_text(encoding="utf-8"))
        kind = told.get("type", "sae") if isinstance(told, dict) else "sae"
        if kind in TRANSCODERS:
            raise _transcoder(
                f"{folder} is a transcoder: a {kind} (Gemma Scope 2).", f'"type": "{kind}" in config.json'
            )
    for path in files:
        shapes = {name: entry["shape"] for name, entry in tensor_headers(path).items()}
        wide = [name for name, shape in shapes.items() if name.lower() == "w_dec" and len(shape) == 3]
        skips = [name for name in shapes if name.lower() in ("w_skip", "affine_skip_connection")]
        if wide:
            raise _transcoder(f"{path} is a cross-layer transcoder.", f"{wide[0]} for several layers")
        if skips:
            raise _transcoder(f"{path} is a transcoder with a skip connection.", skips[0])


def _transcoder(what: str, told_by: str) -> UserError:
    why = f"It has {told_by}: it predicts what other places hold. An SAE rebuilds what it reads."
    return UserError(what, why, "Choose an SAE of the residual stream, such as a release with -res.")


def saev_header(path: Path) -> dict[str, Any] | None:
    """The line of JSON before the pickle in a file of saev; None for a file of another kind. The pickle stays shut."""
    with open(path, "rb") as file:
        line = file.readline(SAEV_LINE)
    if not line.startswith(b"{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:  # of JSON and of UTF-8: another kind of file that begins with a brace
        return None
    return found if isinstance(found, dict) and ("cfg" in found or "d_vit" in found) else None
