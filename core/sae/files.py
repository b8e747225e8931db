"""SAEs on disk in the sae-lens format (cfg.json + sae_weights.safetensors), without importing sae_lens.

`sae_lens.SAE.load_from_disk` reads what save_sae writes and computes the same; the tests hold it to that. What the
format has no place for (the layer, the architecture as trained) stands in cfg.json under metadata.captionscope. The
SAEs of a run's layers are loaded as they are asked for: no more of them are held at once than fit into a bound.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.errors import UserError
from core.first_calls import make_first_calls
from core.run import atomic_path, write_json
from core.sae.modules import SAE, SAEConfig

CFG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
FORMAT_VERSION = "6.54.0"  # the sae-lens whose format this is
READABLE = ("topk", "jumprelu", "gated", "standard")
HELD_BYTES = 4 * 2**30


def save_sae(sae: SAE, directory: Path) -> None:
    """Writes cfg.json and sae_weights.safetensors, each atomically; equal SAEs give equal bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: p.detach().float().cpu().contiguous() for name, p in sae.named_parameters()}
    with atomic_path(directory / WEIGHTS_FILE) as temporary:
        save_file(tensors, temporary)
    write_json(directory / CFG_FILE, sae_lens_config(sae.cfg))


def sae_lens_config(cfg: SAEConfig) -> dict[str, Any]:
    """The content of cfg.json for an SAE, with exactly the keys that sae-lens reads."""
    content: dict[str, Any] = {
        "architecture": cfg.saved_architecture,
        "d_in": cfg.d_model,
        "d_sae": cfg.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": cfg.apply_b_dec_to_input,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": FORMAT_VERSION,
            "sae_lens_training_version": None,
            "model_name": cfg.model_name,
            "hook_name": cfg.hook_name,
            "captionscope": {"trained_as": cfg.architecture, "layer": cfg.layer, "k": cfg.k},
        },
    }
    if cfg.saved_architecture == "topk":
        content |= {"k": cfg.k, "rescale_acts_by_decoder_norm": False}
    return content


def load_sae(directory: Path, device: str = "cpu") -> SAE:
    """Reads an SAE that save_sae or sae-lens wrote; UserError if it is absent, damaged or of another kind."""
    make_first_calls()
    directory = Path(directory)
    try:
        content = json.loads((directory / CFG_FILE).read_text(encoding="utf-8"))
        tensors = load_file(directory / WEIGHTS_FILE, device=device)
    except FileNotFoundError as error:
        raise UserError(
            f"There is no SAE in {directory}.", f"{Path(error.filename).name} is missing.", "Run the train stage first."
        ) from error
    except (json.JSONDecodeError, SafetensorError) as error:
        raise UserError(f"The SAE in {directory} cannot be read.", str(error), "Train it again.") from error
    return build_sae(content, tensors, str(directory)).to(device)


def build_sae(content: dict[str, Any], tensors: dict[str, Tensor], where: str) -> SAE:
    """The SAE of a cfg.json's content and its tensors; UserError, naming ``where``, if it is not for here."""
    cfg = config_from(content, where)
    tensors = {name: t.float() for name, t in tensors.items()}
    if content.get("rescale_acts_by_decoder_norm", False):
        tensors = _fold_decoder_norm(tensors)
    return SAE(cfg, tensors)


def sae_id(source: SAE | Path) -> str:
    """First 16 hex digits of SHA-256 over the SAE's float32 tensors: name, shape and bytes, sorted by name."""
    sae = source if isinstance(source, SAE) else load_sae(Path(source))
    digest = hashlib.sha256()
    for name, parameter in sorted(sae.named_parameters()):
        tensor = parameter.detach().float().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def config_from(content: dict[str, Any], where: str) -> SAEConfig:
    """What a cfg.json says the SAE is; UserError for an architecture or a normalisation that is not read here."""
    architecture = content.get("architecture", "standard")
    if architecture not in READABLE:
        raise UserError(
            f"The SAE in {where} is of the kind {architecture!r}, which is not read here.",
            f"Read are: {', '.join(READABLE)}.",
            "Save it for inference with sae-lens (batchtopk and matryoshka become jumprelu).",
        )
    for key in ("normalize_activations", "reshape_activations"):
        if content.get(key, "none") not in ("none", None):
            raise UserError(
                f"The SAE in {where} expects {key} = {content[key]!r}.",
                "Here SAEs act on raw residuals.",
                "Fold it into the weights first; that is exact where it is a constant factor.",
            )
    metadata = content.get("metadata") or {}
    ours = metadata.get("captionscope") or {}
    return SAEConfig(
        architecture=ours.get("trained_as", architecture),
        d_model=content["d_in"],
        d_sae=content["d_sae"],
        k=content.get("k", ours.get("k", 0)),
        layer=ours.get("layer", -1),
        hook_name=metadata.get("hook_name") or "",
        model_name=metadata.get("model_name") or "",
        apply_b_dec_to_input=content.get("apply_b_dec_to_input", True),
    )


def _fold_decoder_norm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Moves decoder norms into the encoder: the same features with the same values, and a plain decoder."""
    norm = tensors["W_dec"].norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    return tensors | {
        "W_enc": tensors["W_enc"] * norm,
        "b_enc": tensors["b_enc"] * norm,
        "W_dec": tensors["W_dec"] / norm[:, None],
    }


class SAEs(Mapping[int, SAE]):
    """layer -> SAE of ``<run>/saes/``; those asked for last are kept on ``device``, up to ``max_bytes`` or one."""

    def __init__(self, run_dir: Path, layers: Sequence[int], device: str, max_bytes: int = HELD_BYTES):
        self.run_dir, self.layers, self.device, self.max_bytes = Path(run_dir), tuple(layers), device, max_bytes
        self._held: OrderedDict[int, SAE] = OrderedDict()

    def __getitem__(self, layer: int) -> SAE:
        if layer not in self.layers:
            raise KeyError(layer)
        if layer not in self._held:
            while self._held and self.held_bytes * (1 + 1 / len(self._held)) > self.max_bytes:  # all are of one size
                self._held.popitem(last=False)
            self._held[layer] = load_sae(self.run_dir / "saes" / f"layer_{layer:02d}", self.device)
        self._held.move_to_end(layer)
        return self._held[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def held_bytes(self) -> int:
        """Bytes of the SAEs that are held now."""
        return sum(p.numel() * p.element_size() for sae in self._held.values() for p in sae.parameters())
