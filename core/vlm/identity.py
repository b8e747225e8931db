"""Where a model's files are and what they contain, without torch.

The digest stands in a stage's fingerprint, so it depends on content alone: never on the path, the host or file times.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from core.config import PROJECT_ROOT
from core.errors import UserError

if TYPE_CHECKING:
    from core.config import Config

WEIGHTS = "*.safetensors"
TEXT_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
WHOLE_FILE_LIMIT = 200 * 2**20  # bytes; larger files are sampled
N_SAMPLED_BLOCKS, BLOCK_BYTES = 64, 2**16


def locate(name: str) -> Path | None:
    """The directory of a local model, or None for a hub id.

    A relative path is looked up from the project root. Raises UserError when ``name`` is meant as a path (it is
    absolute, begins with a dot, or its first part is a folder of the project) and nothing is there.
    """
    path = Path(name).expanduser()
    path = path if path.is_absolute() else PROJECT_ROOT / path
    if (path / "config.json").is_file():
        return path
    first = Path(name).parts[0] if Path(name).parts else ""
    is_path = not name or name.startswith((".", "~", os.sep)) or path.exists() or (PROJECT_ROOT / first).is_dir()
    if is_path:
        raise UserError(
            f"There is no model in {path}.",
            "A model directory holds config.json, the tokenizer and *.safetensors.",
            "Set model.name to such a directory or to a hub id such as google/gemma-3-4b-it.",
        )
    return None


def find_file(config: Config, name: str) -> Path | None:
    """A file of the model on this machine, in its folder or in the hub's cache; never fetched."""
    path = PROJECT_ROOT / config.model.name / name  # an absolute name stays as it is
    if path.is_file():
        return path
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(config.model.name, name, revision=config.model.revision or None)
    except HFValidationError:  # a path that does not exist; the run itself will say so
        return None
    return Path(found) if isinstance(found, str) else None


def digest(config: Config) -> str:
    """Content identity of the model that ``config.model`` names (64 hex digits).

    Local directory: sha256 over config, tokenizer and weights. Files above 200 MB enter with their size, their
    safetensors header and 64 blocks of 64 KiB at even distances, not whole; a change that keeps all of these unseen is
    possible but is no ordinary edit. Hub id: sha256 over name and revision; the hub's content is not at hand here.
    """
    name, revision = config.model.name, config.model.revision
    directory = locate(name)
    total = hashlib.sha256()
    if directory is None:
        total.update(f"hub {name}@{revision}".encode())
        return total.hexdigest()
    files = {path for pattern in (WEIGHTS, *TEXT_FILES) for path in directory.glob(pattern)}
    for path in sorted(files, key=lambda p: p.name):
        total.update(f"{path.name} {file_digest(path)}\n".encode())
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
