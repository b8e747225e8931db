"""Toy layers for the SAE tests: a planted sparse dictionary, stored as a run's activations are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.activations.store import ActivationReader
from core.config import TrainConfig
from core.sae.modules import SAE, SAEConfig, tensor_shapes
from core.sae.trainer import TokenBatches, Trainer

N_TRUE, D_MODEL, N_ACTIVE, N_TOKENS = 32, 16, 3, 6000
LAYER = 1
TRAIN_ROWS, TEST_ROWS = np.split(np.arange(N_TOKENS), [N_TOKENS - 1000])


@dataclass
class Planted:
    """Tokens that are sums of a few of N_TRUE directions of length 1, and those directions."""

    reader: ActivationReader
    directions: Tensor


def planted_tokens(directions: Tensor, n: int, n_active: int, seed: int) -> Tensor:
    """Each token: n_active directions with lengths between 1 and 2, and an offset that all tokens share."""
    random = torch.Generator().manual_seed(seed)
    chosen = torch.rand(n, len(directions), generator=random).topk(n_active, dim=1).indices
    code = torch.zeros(n, len(directions)).scatter(1, chosen, 1 + torch.rand(n, n_active, generator=random))
    return 5 * code @ directions + 3 * torch.randn(directions.shape[1], generator=random)


def write_layer(run_dir: Path, tokens: Tensor, layer: int = LAYER) -> ActivationReader:
    folder = run_dir / "activations" / f"layer_{layer:02d}"
    folder.mkdir(parents=True)
    for shard, part in enumerate(tokens.split(2500)):
        save_file({"resid_post": part.contiguous()}, folder / f"shard_{shard:05d}.safetensors")
    return ActivationReader(run_dir, layer)


def plant(run_dir: Path) -> Planted:
    random = torch.Generator().manual_seed(7)
    directions = torch.randn(N_TRUE, D_MODEL, generator=random)
    directions /= directions.norm(dim=1, keepdim=True)
    return Planted(write_layer(run_dir, planted_tokens(directions, N_TOKENS, N_ACTIVE, seed=8)), directions)


def toy_config(**changes) -> TrainConfig:
    settings = {"d_sae": 64, "k": N_ACTIVE, "steps": 400, "batch_tokens": 256, "lr": 5e-3, "auxk": 16}
    return TrainConfig(**settings | {"dead_after_tokens": 5000} | changes)


def toy_trainer(reader: ActivationReader, config: TrainConfig, seed: int = 0, rows: np.ndarray = TRAIN_ROWS) -> Trainer:
    batches = TokenBatches(reader, rows, config.batch_tokens, seed)
    return Trainer(config, batches, SAEConfig(config.architecture, reader.d_model, config.d_sae, config.k, LAYER), seed)


WIDTH, D_SAE, K = 12, 40, 4  # of the random SAEs


def random_sae(architecture: str, seed: int = 0) -> SAE:
    cfg = SAEConfig(architecture, WIDTH, D_SAE, K, layer=3, hook_name="blocks.3.hook_resid_post", model_name="toy")
    random = torch.Generator().manual_seed(seed)
    tensors = {name: 0.5 * torch.randn(shape, generator=random) for name, shape in tensor_shapes(cfg).items()}
    if "threshold" in tensors:
        tensors["threshold"].abs_()
    return SAE(cfg, tensors)


def random_tokens(n: int = 64, seed: int = 5) -> Tensor:
    """Residuals that such an SAE takes."""
    return 2 * torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed))
