"""Where SAEs that others trained lie: sae-lens' registry, hub repositories, folders, files; and what identifies them.

Nothing here imports torch or sae_lens; of the registry only its list is read.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.config import PROJECT_ROOT, Config
from core.errors import UserError
from core.sae.refused import SCOPE_FILE, pickled, refuse_transcoders
from core.vlm.checkpoint import tensor_headers
from core.vlm.identity import file_digest

SAE_LENS_FILES = ("cfg.json", "sae_weights.safetensors")
SPARSIFY, AE = "sae.safetensors", "ae.safetensors"  # of sparsify; of dictionary_learning, once converted
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".ckpt")
READ = (".safetensors", ".json", ".npz", ".yaml", ".toml")  # what identifies an SAE; never a pickle
# sae-lens reads what these loaders are for from pickles, which can run code
PICKLED = ("connor_rob_hook_z", "deepseek_r1", "dictionary_learning_1", "goodfire", "qwen_scope")
TEMPLATE = re.compile(r"\{layer(:\d*d)?\}")


class NotHere(UserError):
    """The files of an SAE are not on this machine."""


@dataclass(frozen=True)
class Source:
    """The SAE for one layer: what kind of place, and where.

    ``name`` goes into tables and holds no path. ``repo`` and ``folder`` are of a hub repository, ``path`` is local.
    ``loader`` names sae-lens' own loader of such files, and ``release`` and ``sae_id`` the registry's entry.
    """

    form: Literal["hub", "scope", "sae-lens", "tensors", "folder"]
    layer: int
    name: str
    path: Path | None = None
    repo: str = ""
    folder: str = ""
    loader: str = ""
    release: str = ""
    sae_id: str = ""
    trained_on: str = ""  # what the registry says; the files may say it too


def sources(config: Config) -> list[Source]:
    """The source of each of activations.layers, in order; none where the SAEs are trained here.

    Raises UserError for a place that cannot be one: no such folder, release or entry.
    """
    given, layers = config.sae.source, config.activations.layers
    texts = given * len(layers) if len(given) == 1 else given
    return [_source(fill_in(text, layer), layer) for text, layer in zip(texts, layers, strict=True)] if given else []


def fill_in(text: str, layer: int) -> str:
    """The text with the layer's number in the place of {layer} or {layer:02d}."""
    return TEMPLATE.sub(lambda m: format(layer, (m[1] or ":d")[1:]), text)


def folder_of(source: Source, fetch: bool = False) -> Path:
    """The local folder (or file) that holds the SAE; NotHere where it was not downloaded and ``fetch`` is not set.

    With ``fetch`` it is downloaded if need be; what is here already is not asked for again.
    """
    if source.path:
        return source.path
    folder = _snapshot(source, local=True)
    if folder is None and fetch:
        folder = _snapshot(source, local=False)
        if folder is None:
            raise _no_download(source, f"The hub was not reached, or has no weights in {source.folder}.")
    if folder is None:
        raise NotHere(
            f"The SAE {source.name} is not on this machine.",
            "",
            f"The run downloads {source.repo}/{source.folder} when it starts.",
        )
    return folder


def digest(config: Config) -> str:
    """Content identity of the SAEs that sae.source names, "" where they are trained here; no path has a part in it."""
    found = sources(config)
    if not found:
        return ""
    total = hashlib.sha256()
    for source in found:
        place = folder_of(source)
        files = [place, place.with_suffix(".toml")] if place.is_file() else sorted(place.rglob("*"))
        for path in (f for f in files if f.suffix in READ and f.is_file()):
            name = path.suffix if place.is_file() else path.relative_to(place).as_posix()
            total.update(f"{source.layer} {name} {file_digest(path)}\n".encode())
    return total.hexdigest()


def header(path: Path, key: str) -> dict[str, Any]:
    """``shape`` or ``dtype`` of each tensor of a safetensors file, from its header alone."""
    return {name: entry[key] for name, entry in tensor_headers(path).items()}


@functools.cache
def registry() -> dict[str, dict[str, Any]]:
    """sae-lens' list of releases, read from the installed package without importing it (which takes seconds)."""
    import yaml

    spec = importlib.util.find_spec("sae_lens")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "The registry of SAEs is not here.",
            "The package sae-lens is not installed.",
            "pip install -r requirements.txt",
        )
    path = Path(spec.submodule_search_locations[0]) / "pretrained_saes.yaml"
    with open(path, encoding="utf-8") as file:
        return yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _source(text: str, layer: int) -> Source:
    path = Path(text).expanduser()
    path = path if path.is_absolute() else PROJECT_ROOT / path
    if path.suffix == ".safetensors" or path.is_dir():
        return _local(path, layer)
    if path.suffix in PICKLES and path.is_file():
        raise pickled(path)
    release, _, sae_id = text.partition("/")
    parts = text.split("/")
    meant_as_path = text.startswith((".", "~", os.sep)) or (PROJECT_ROOT / release).is_dir()
    if not meant_as_path and release in registry():
        return _registered(release, sae_id, layer)
    if not meant_as_path and len(parts) > 2:
        folder = "/".join(parts[2:])
        return Source("hub", layer, text, repo="/".join(parts[:2]), folder=folder, loader="sae_lens", sae_id=folder)
    near = [] if meant_as_path else difflib.get_close_matches(release, registry(), n=3)
    raise UserError(
        f"There are no SAEs at {text}.",
        "It is no folder or .safetensors file here" + ("." if meant_as_path else ", and sae-lens has no such release."),
        f"Did you mean {' or '.join(near)}?" if near else "Mend sae.source; docs/saes.md lists what it may be.",
    )


def _local(path: Path, layer: int) -> Source:
    if path.suffix == ".safetensors":
        missing = [p.name for p in (path, path.with_suffix(".toml")) if not p.is_file()]
        if missing:
            if path.is_file():
                refuse_transcoders(path.parent, [path])
            raise UserError(
                f"The SAE {path} is not whole.",
                f"{' and '.join(missing)} is missing in {path.parent}.",
                "A .safetensors needs a TOML of the same name beside it: see docs/saes.md.",
            )
        return Source("tensors", layer, path.name, path=path)
    refuse_transcoders(path, sorted(path.glob("*.safetensors")))
    if (path / SPARSIFY).is_file() or (path / AE).is_file():
        return Source("folder", layer, path.name, path=path)
    if (path / SAE_LENS_FILES[0]).is_file():
        return Source("sae-lens", layer, path.name, path=path, loader="sae_lens")
    if (path / SCOPE_FILE).is_file():
        folder = f"{path.parent.name}/{path.name}"
        return Source(
            "scope", layer, folder, path=path, repo=f"google/{path.parents[1].name}", folder=folder, loader="gemma_3"
        )
    pickles = sorted(file for file in path.iterdir() if file.suffix in PICKLES and file.is_file())
    if pickles:
        raise pickled(next((file for file in pickles if file.name in ("ae.pt", "sae.pt")), pickles[0]))
    raise UserError(
        f"There is no SAE in {path}.",
        f"An SAE's folder holds {' and '.join(SAE_LENS_FILES)} (sae-lens) or {SCOPE_FILE} (Gemma Scope 2).",
        "Name the folder of one layer; {layer} stands for its number.",
    )


def _registered(release: str, sae_id: str, layer: int) -> Source:
    entry = registry()[release]
    if entry.get("conversion_func") in PICKLED:
        raise UserError(
            f"The release {release} is not read.",
            "Its files are pickles, which can run code.",
            "Convert it to a .safetensors with a TOML: see docs/saes.md.",
        )
    found = {str(sae["id"]): sae for sae in entry["saes"]}
    if sae_id not in found:
        near = difflib.get_close_matches(sae_id, found, n=3, cutoff=0.3) or list(found)[:3]
        at = sorted({int(m[1]) for m in (re.search(r"layer_(\d+)", i) for i in found) if m})
        why = f"It has {len(found)} SAEs" + (f", of layers {', '.join(map(str, at))}." if at else ".")
        raise UserError(
            f"The release {release} has no SAE {sae_id or '(none is named)'}.", why, f"The nearest: {', '.join(near)}."
        )
    sae = found[sae_id]
    return Source(
        "hub",
        layer,
        f"{release}/{sae_id}",
        repo=entry["repo_id"],
        folder=str(sae["path"]),
        loader=entry.get("conversion_func") or "sae_lens",
        release=release,
        sae_id=sae_id,
        trained_on=entry.get("model") or "",
    )


def _snapshot(source: Source, local: bool) -> Path | None:
    """The SAE's folder in the hub's cache, or None where it is not there with weights in it."""
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        root = snapshot_download(source.repo, allow_patterns=[f"{source.folder}/*"], local_files_only=local)
    except LocalEntryNotFoundError as error:
        if local:
            return None
        raise _no_download(source, str(error) or type(error).__name__) from error
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise _no_download(source, str(error) or type(error).__name__) from error
    folder = Path(root) / source.folder
    weights = (*folder.rglob("*.safetensors"), *folder.rglob("*.npz"))
    return folder if weights else None


def _no_download(source: Source, why: str) -> UserError:
    do = f"Download {source.repo}/{source.folder} elsewhere and name its folder, or set HF_HOME."
    return UserError(f"The SAE {source.name} could not be downloaded.", why.strip().splitlines()[0], do)
