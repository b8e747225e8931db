"""SAEs with random weights in the file layout in which Gemma Scope 2 is published, and a hub cache that holds them."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

REPO, RELEASE = "google/gemma-scope-2-4b-it", "gemma-scope-2-4b-it-res-all"
LAYER, WIDTH = 5, "width_16k_l0_small"
ENTRY = f"{RELEASE}/layer_{LAYER}_{WIDTH}"
TEMPLATE = f"{RELEASE}/layer_{{layer}}_{WIDTH}"


def scope_tensors(d_model: int, d_sae: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Decoder rows of norm 1, the encoder their transpose, thresholds that about a tenth of the features pass."""
    random = torch.Generator().manual_seed(seed)
    w_dec = torch.nn.functional.normalize(torch.randn(d_sae, d_model, generator=random), dim=1)
    return {
        "w_enc": w_dec.T.contiguous(),
        "w_dec": w_dec,
        "b_enc": 0.1 * torch.randn(d_sae, generator=random),
        "b_dec": 0.1 * torch.randn(d_model, generator=random),
        "threshold": torch.full((d_sae,), 1.5),
    }


def write_scope(
    folder: Path, d_model: int, d_sae: int, layer: int = LAYER, model: str = "gemma-v3-4b-it", **changes: torch.Tensor
) -> Path:
    """params.safetensors and config.json as published; ``changes`` are tensors in the place of the random ones."""
    folder.mkdir(parents=True)
    save_file(scope_tensors(d_model, d_sae, layer) | changes, folder / "params.safetensors")
    config = {
        "architecture": "jump_relu",
        "model_name": model,
        "hf_hook_point_in": f"model.layers.{layer}.output",
        "width": d_sae,
        "l0": 10,
        "affine_connection": False,
        "type": "sae",
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def hub_cache(cache: Path, d_model: int, d_sae: int, layers: tuple[int, ...] = (LAYER,)) -> Path:
    """A cache folder of huggingface_hub in which these layers of the release have been downloaded."""
    repository = cache / f"models--{REPO.replace('/', '--')}"
    revision = "0" * 40
    for layer in layers:
        write_scope(
            repository / "snapshots" / revision / "resid_post_all" / f"layer_{layer}_{WIDTH}", d_model, d_sae, layer
        )
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    return cache
