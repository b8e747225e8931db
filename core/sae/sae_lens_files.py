"""SAEs read by sae-lens' own loaders, the ones its registry names, from files on this machine alone.

The import of sae_lens takes seconds, so it happens in here and only when a source needs it. sae-lens reads from the hub
file by file, and asks the network even for the shapes of a file that is in the cache; while a loader runs here, both
are answered from a folder instead. That makes no difference to what it reads, and works without a network.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from core.sae.sources import Source, header

UNKNOWN = {name: [0, 0] for name in ("w_enc", "w_dec")}  # shapes of a file that is not here


def read_config(source: Source, folder: Path) -> dict[str, Any]:
    """The configuration of the SAE in ``folder``, in the form of sae-lens 6; no weights are read."""
    if source.form == "sae-lens":
        return _current(json.loads((folder / "cfg.json").read_text(encoding="utf-8")))
    with _reading(source, _root(source, folder)) as loaders:
        getter = loaders.NAMED_PRETRAINED_SAE_CONFIG_GETTERS[source.loader]
        content = _current(dict(getter(source.repo, source.folder, "cpu", False, _overrides(source))))
    return _scaled(content, source)


def expected_config(source: Source) -> dict[str, Any] | None:
    """What can be said of a Gemma Scope 2 SAE whose files are not here: hook and model; d_in and d_sae are 0.

    None for other releases, whose loaders need a file for it.
    """
    if source.loader != "gemma_3":
        return None
    with _reading(source, None) as loaders:
        getter = loaders.NAMED_PRETRAINED_SAE_CONFIG_GETTERS[source.loader]
        return _current(dict(getter(source.repo, source.folder, "cpu", False, _overrides(source))))


def read_sae(source: Source, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and float32 tensors of the SAE as sae-lens builds it."""
    from sae_lens import SAE

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of them is checked and said by core.sae.pretrained
        if source.form == "sae-lens":
            theirs = SAE.load_from_disk(folder, dtype="float32")
        else:
            with _reading(source, _root(source, folder)) as loaders:
                named = (source.release, source.sae_id) if source.release else (source.repo, source.folder)
                converter = loaders.NAMED_PRETRAINED_SAE_LOADERS[source.loader]
                theirs = SAE.from_pretrained(*named, dtype="float32", converter=converter)
    return theirs.cfg.to_dict(), dict(theirs.state_dict())


def _root(source: Source, folder: Path) -> Path:
    """The repository's folder, given that of the SAE."""
    return Path(str(folder).removesuffix(source.folder)) if source.form == "hub" else folder.parents[1]


def _overrides(source: Source) -> dict[str, Any]:
    from sae_lens.loading.pretrained_saes_directory import get_config_overrides

    return get_config_overrides(source.release, source.sae_id)


def _current(content: dict[str, Any]) -> dict[str, Any]:
    """A configuration of an older sae-lens in the form of version 6; newer ones as they are."""
    from sae_lens.loading.pretrained_sae_loaders import handle_config_defaulting

    return handle_config_defaulting(content)


def _scaled(content: dict[str, Any], source: Source) -> dict[str, Any]:
    """``expected_average_only_in`` is folded exactly by sae-lens where its registry knows the factor."""
    from sae_lens.loading.pretrained_saes_directory import get_norm_scaling_factor

    known = source.release and get_norm_scaling_factor(source.release, source.sae_id) is not None
    if known and content.get("normalize_activations") == "expected_average_only_in":
        return content | {"normalize_activations": "none"}
    return content


@contextlib.contextmanager
def _reading(source: Source, root: Path | None) -> Iterator[Any]:
    """sae-lens' loaders, reading ``root`` (None: nothing) in the place of the hub."""
    from huggingface_hub.errors import LocalEntryNotFoundError
    from sae_lens.loading import pretrained_sae_loaders as loaders

    def file_of(repo_id: str, filename: str, subfolder: str | None = None, **_: Any) -> str:
        name = f"{subfolder}/{filename}" if subfolder else filename
        if root is None or not (root / name).is_file():
            raise LocalEntryNotFoundError(f"{name} is not there")
        return str(root / name)

    def shapes_of(repo_id: str, filename: str) -> dict[str, list[int]]:
        return UNKNOWN if root is None else header(Path(file_of(repo_id, filename)), "shape")

    before = loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes
    loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes = file_of, shapes_of
    try:
        yield loaders
    finally:
        loaders.hf_hub_download, loaders.get_safetensors_tensor_shapes = before
