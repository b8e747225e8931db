"""SAEs that others trained: checked against the model from their configuration alone, and loaded in our own form.

What is refused, with the reason: another place than a layer's residual stream (MLP or attention output, transcoders),
another layer or width, a normalisation that cannot be folded exactly, an architecture that is not read, numbers that
are not floats or not finite. What is only said: that an SAE was trained on another model of the same shape.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config import Config
from core.errors import UserError
from core.sae import folders
from core.sae.sources import NotHere, Source, folder_of, header, sources

if TYPE_CHECKING:
    from core.sae.modules import SAE

FLOATS = ("F64", "F32", "F16", "BF16")
OTHER_PLACES = {
    "mlp_out": "what the MLP adds",
    "mlp_in": "what the MLP reads",
    "attn_out": "what attention adds",
    "hook_z": "what attention heads gather",
    "resid_mid": "the stream between attention and MLP",
    "embed": "the embeddings",
    ".mlp": "what the MLP adds",
    "attn": "what attention adds",
    "attention": "what attention adds",
}  # the first that is found in a hook's name


@dataclass(frozen=True)
class Facts:
    """What is known of an SAE before its weights are read; d_model and d_sae are 0 where its files are not here."""

    source: Source
    layer: int
    d_model: int
    d_sae: int
    architecture: str
    trained_on: str
    notes: tuple[str, ...] = ()


def check_sources(config: Config, d_model: int | None, fetch: bool = False) -> tuple[list[Facts], list[str]]:
    """Facts of every SAE that sae.source names, each held against the model; and what should be said of them.

    ``d_model`` is the model's, None where it is not known. ``fetch`` downloads what is not here; without it such an
    SAE is checked as far as can be. Raises UserError for the first SAE that does not fit.
    """
    found = [_facts(source, d_model, fetch) for source in sources(config)]
    said = [f"{facts.source.name}: {note}" for facts in found for note in facts.notes]
    others = sorted({f.trained_on or "an unnamed model" for f in found if not same_model(f.trained_on, config)})
    if others:
        said.insert(
            0,
            f"The SAEs were trained on {', '.join(others)} and are used on {config.model.name}; "
            "the stage train measures how well they fit.",
        )
    return found, said


def same_model(trained_on: str, config: Config) -> bool:
    """Whether the names end alike: a folder of the model is called as the model is, or cannot be told from another."""
    return trained_on.rstrip("/").rpartition("/")[2].lower() == Path(config.model.name).name.lower()


def load_pretrained(source: Source, d_model: int) -> SAE:
    """The SAE of a source, checked again with its weights; raises UserError where they do not fit or are not finite."""
    import torch

    from core.sae.files import build_sae

    facts, folder = _facts(source, d_model, fetch=False), folder_of(source)
    with _understood(source):
        if source.form == "tensors":
            from core.sae import tensor_files

            content, tensors = tensor_files.read_sae(folder)
        elif kind := folder_kind(source, folder):
            content, tensors = folders.read_sae(kind, folder)
        else:
            from core.sae import sae_lens_files

            content, tensors = sae_lens_files.read_sae(source, folder)
    bad = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if bad:
        raise UserError(
            f"The SAE {source.name} has numbers that are not finite.",
            f"They are in {', '.join(bad)}.",
            "Download or convert it again.",
        )
    sae = build_sae(content, tensors, source.name)
    sae.cfg = replace(
        sae.cfg, layer=facts.layer, hook_name=f"blocks.{facts.layer}.hook_resid_post", model_name=facts.trained_on
    )
    return sae


def residual_layer(hook_name: str) -> int | None:
    """The layer whose resid_post a hook name means, None where it means anything else.

    ``blocks.8.hook_resid_pre`` is what layer 7 leaves behind; ``model.layers.7.output`` is how transformers names it.
    """
    if found := re.fullmatch(r"blocks\.(\d+)\.hook_resid_(post|pre)", hook_name):
        layer = int(found[1]) - (found[2] == "pre")
        return layer if layer >= 0 else None
    found = re.fullmatch(r"(?:[\w.]+\.)?layers\.(\d+)(?:\.output)?", hook_name)
    return int(found[1]) if found else None


def _facts(source: Source, d_model: int | None, fetch: bool) -> Facts:
    from core.sae.files import config_from

    notes: tuple[str, ...] = ()
    try:
        folder = folder_of(source, fetch)
        content = _content(source, folder)
        _check_dtype(source, folder)
    except NotHere as error:
        from core.sae.sae_lens_files import expected_config

        content = expected_config(source)
        notes = (
            error.do[0].lower()
            + error.do[1:].rstrip(".")
            + (", and is checked then." if content is None else "; sizes and weights are checked then."),
        )
    trained_on = _trained_on(source, content)
    if content is None:
        return Facts(source, source.layer, 0, 0, "", trained_on, notes)
    _check_hook(source, content)
    config_from(content, source.name)
    if d_model and content["d_in"] not in (0, d_model):
        raise UserError(
            f"The SAE {source.name} does not fit the model.",
            f"It reads {content['d_in']} dimensions; the model's residual stream has {d_model}.",
            "Take the SAEs of this model's size.",
        )
    processing = (content.get("metadata") or {}).get("model_from_pretrained_kwargs")
    if processing:
        notes += (f"it was trained on a model that was loaded with {processing}, which is not done here.",)
    return Facts(source, source.layer, content["d_in"], content["d_sae"], content["architecture"], trained_on, notes)


def _content(source: Source, folder: Path) -> dict[str, Any]:
    with _understood(source):
        if source.form == "tensors":
            from core.sae import tensor_files

            content = tensor_files.read_config(folder)
        elif kind := folder_kind(source, folder):
            content = folders.read_config(kind, folder)
        else:
            from core.sae import sae_lens_files

            content = sae_lens_files.read_config(source, folder)
        missing = [name for name in ("d_in", "d_sae", "architecture") if name not in content]
        if missing:
            raise KeyError(f"{', '.join(missing)} is not given")
        return content


def folder_kind(source: Source, folder: Path) -> str:
    """Which other trainer wrote the folder, "" where sae-lens' own loaders read it."""
    return folders.kind_of(folder) if source.form in ("folder", "sae-lens") or not source.release else ""


@contextlib.contextmanager
def _understood(source: Source) -> Iterator[None]:
    """What a library says of files that are not what they should be, as a UserError."""
    from safetensors import SafetensorError

    try:
        yield
    except (ValueError, KeyError, TypeError, OSError, RuntimeError, SafetensorError) as error:
        why = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        do = "Take the files as they were published; docs/saes.md says what is expected."
        raise UserError(f"The SAE {source.name} cannot be read.", why, do) from error


def _trained_on(source: Source, content: dict[str, Any] | None) -> str:
    """The model that the files name, else the registry's; a loader may make one up where no file names it."""
    made_up = source.form == "scope" and source.path is not None and not (source.path / "config.json").is_file()
    metadata = (content or {}).get("metadata") or {}
    told = "" if made_up and "gemma-scope-2" not in source.repo else metadata.get("model_name")
    return told or source.trained_on


def _check_hook(source: Source, content: dict[str, Any]) -> None:
    """UserError unless the SAE reads and writes the residual stream after its source's layer."""
    metadata = content.get("metadata") or {}
    hook = metadata.get("hook_name") or ""
    out = metadata.get("hook_name_out") or (hook if content["architecture"].endswith("transcoder") else "")
    if out:
        raise UserError(
            f"{source.name} is a transcoder.",
            f"It reads {hook} and writes {out}; an SAE rebuilds what it reads.",
            "Choose an SAE of the residual stream, such as a release with -res.",
        )
    layer = residual_layer(hook)
    if layer is None:
        reads = next((words for part, words in OTHER_PLACES.items() if part in hook), "")
        why = f"It reads {hook or 'an unnamed place'}" + (f", {reads}" if reads else "")
        raise UserError(
            f"The SAE {source.name} is not one of the residual stream.",
            f"{why}; the run stores the residual stream after each layer.",
            "Choose an SAE of hook_resid_post, such as a release with -res.",
        )
    if layer != source.layer:
        raise UserError(
            f"The SAE {source.name} is of layer {layer}, not of layer {source.layer}.",
            f"Its hook is {hook}; sae.source names it for layer {source.layer} of activations.layers.",
            "Name one SAE for each of activations.layers, in their order.",
        )
    told = metadata.get("hf_hook_name")
    if told and residual_layer(told) != layer:
        raise UserError(
            f"The folder of the SAE {source.name} and its config.json disagree.",
            f"By its folder it reads {hook}, by its config.json {told}.",
            "Keep the folders as they were published.",
        )


def _check_dtype(source: Source, folder: Path) -> None:
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.safetensors"))
    for path in files:
        dtypes = {name: dtype for name, dtype in header(path, "dtype").items() if name not in folders.NOT_WEIGHTS}
        odd = {name: dtype for name, dtype in dtypes.items() if dtype not in FLOATS}
        if odd:
            name, dtype = next(iter(odd.items()))
            raise UserError(
                f"The SAE {source.name} is stored in a form that is not read.",
                f"{path.name} holds {name} as {dtype}; known are {', '.join(FLOATS)}.",
                "Take it in float32, bfloat16 or float16.",
            )
