"""Where a model's files are and what they contain, without torch.

The digest stands in a stage's fingerprint, so it depends on content alone: never on the path, the host or file times.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config import PROJECT_ROOT
from core.errors import UserError

if TYPE_CHECKING:
    from core.config import Config
    from core.run import Run

LORA_CONFIG = "adapter_config.json"  # beside a model's weights, or alone: then it names the model that it changes
WEIGHTS = "*.safetensors"
TEXT_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
WHOLE_FILE_LIMIT = 200 * 2**20  # bytes; larger files are sampled
N_SAMPLED_BLOCKS, BLOCK_BYTES = 64, 2**16
PIN_FILE = "model.json"  # of a run: the commit of a hub model that its first stage loaded, which all later ones take
AGAIN = "Download it again, all of its files from one place."


def locate(name: str) -> Path | None:
    """The directory of a local model or LoRA, or None for a hub id.

    A relative path is looked up from the project root. Raises UserError when ``name`` is meant as a path (it is
    absolute, begins with a dot, or its first part is a folder of the project) and nothing is there.
    """
    path = Path(name).expanduser()
    path = path if path.is_absolute() else PROJECT_ROOT / path
    if any((path / file).is_file() for file in ("config.json", LORA_CONFIG)):
        return path
    first = Path(name).parts[0] if Path(name).parts else ""
    is_path = not name or name.startswith((".", "~", os.sep)) or path.exists() or (PROJECT_ROOT / first).is_dir()
    if is_path:
        raise UserError(
            f"There is no model in {path}.",
            ("config.json is missing: a" if path.is_dir() else "A")
            + " model directory holds config.json, the tokenizer and *.safetensors.",
            "Set model.name to such a directory or to a hub id such as google/gemma-3-4b-it.",
        )
    return None


def base_of(name: str) -> str:
    """The model that has the weights: ``name`` itself, or what a folder that holds nothing but a LoRA was trained on.

    A relative path in adapter_config.json is looked up from that folder, then from the project root. Raises UserError
    where the LoRA names no model, or one in a folder that is not here.
    """
    directory = locate(name)
    if directory is None or (directory / "config.json").is_file():
        return name
    base = read_json(directory / LORA_CONFIG).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise _no_base(directory, "It names no model that it was trained on.")
    beside = directory / base
    base = str(beside.resolve()) if (beside / "config.json").is_file() else base
    try:
        found = locate(base)
    except UserError as error:
        raise _no_base(directory, f"It was trained on {base}, which is not here.") from error
    if found is not None and not (found / "config.json").is_file():
        raise _no_base(directory, f"{base}, which it names, is a LoRA itself.")
    return base


def _no_base(directory: Path, why: str) -> UserError:
    do = f"Set base_model_name_or_path in its {LORA_CONFIG} to the model's folder or hub id."
    return UserError(f"The LoRA in {directory} has no model to be applied to.", why, do)


def find_file(config: Config, name: str) -> Path | None:
    """A file of the model on this machine, in its folder or in the hub's cache; never fetched.

    Of a folder that holds nothing but a LoRA, the file is that of the model which the LoRA was trained on.
    """
    model = config.model.name
    path = PROJECT_ROOT / model / name  # an absolute name stays as it is
    if path.is_file():
        return path
    if (path.parent / LORA_CONFIG).is_file():
        model = base_of(model)
        path = PROJECT_ROOT / model / name
        if path.is_file():
            return path
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, name, revision=config.model.revision or None)
    except HFValidationError:  # a path that does not exist; the run itself will say so
        return None
    return Path(found) if isinstance(found, str) else None


def settings(config: Config) -> dict[str, Any] | None:
    """What the model's config.json says, None where it is not on this machine; UserError where it is not valid."""
    path = find_file(config, "config.json")
    return None if path is None else read_json(path)


def read_json(path: Path) -> dict[str, Any]:
    """The settings in a checkpoint's file; UserError where it holds none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON and of UTF-8
        why = "It is empty." if not path.stat().st_size else str(error).splitlines()[0]
        raise UserError(f"{path} is not valid JSON.", why, AGAIN) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings.", "Its content is no JSON object.", AGAIN)
    return content


def digest(config: Config) -> str:
    """Content identity of the model that ``config.model`` names (64 hex digits).

    Local directory: sha256 over config, tokenizer and weights, those of a LoRA among them, and over the model that a
    folder with nothing but a LoRA changes. Files above 200 MB enter with their size, their safetensors header and 64
    blocks of 64 KiB at even distances, not whole; a change that keeps all of these unseen is possible but is no
    ordinary edit. Hub id: sha256 over name and revision; the hub's content is not at hand here.
    """
    return _digest(config.model.name, config.model.revision)


def _digest(name: str, revision: str) -> str:
    directory = locate(name)
    total = hashlib.sha256()
    if directory is None:
        total.update(f"hub {name}@{revision}".encode())
        return total.hexdigest()
    files = {path for pattern in (WEIGHTS, *TEXT_FILES) for path in directory.glob(pattern)}
    for path in sorted(files, key=lambda p: p.name):
        total.update(f"{path.name} {file_digest(path)}\n".encode())
    if (base := base_of(name)) != name:
        total.update(f"changes {_digest(base, revision)}\n".encode())
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """Content identity of one file (hex digits); of files above 200 MB, samples as in ``digest``."""
    size = path.stat().st_size
    if size <= WHOLE_FILE_LIMIT:
        with open(path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    found = hashlib.sha256(f"sampled {size}".encode())
    with open(path, "rb") as f:
        if path.suffix == ".safetensors":
            length = f.read(8)
            found.update(length + f.read(min(int.from_bytes(length, "little"), BLOCK_BYTES * N_SAMPLED_BLOCKS)))
        for i in range(N_SAMPLED_BLOCKS):
            f.seek((size - BLOCK_BYTES) * i // (N_SAMPLED_BLOCKS - 1))
            found.update(f.read(BLOCK_BYTES))
    return found.hexdigest()


def pinned(run: Run, name: str) -> str:
    """The commit of the hub model ``name`` that this run has loaded before, or ""."""
    path = run.path(PIN_FILE)
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return known["commit"] if known.get("name") == name else ""
