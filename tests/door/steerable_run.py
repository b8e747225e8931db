"""A toy run whose autoencoders fit the demo captioner, so that its captions can be steered; made in a second."""

from __future__ import annotations

from pathlib import Path

import torch

from core.run import Run
from core.sae.files import save_sae
from core.sae.modules import SAE, SAEConfig, tensor_shapes
from tests.toy_run import make_toy_run

D_MODEL, D_SAE, K = 192, 32, 4


def make_steerable_run(folder: Path) -> Run:
    """The toy run with random dictionaries as wide as the demo captioner's residual stream."""
    run = make_toy_run(folder, n_samples=4, d_sae=D_SAE)
    for layer in run.config().activations.layers:
        config = SAEConfig("topk", D_MODEL, D_SAE, K, layer)
        generator = torch.Generator().manual_seed(layer)
        tensors = {name: torch.randn(shape, generator=generator) for name, shape in tensor_shapes(config).items()}
        save_sae(SAE(config, tensors), run.path("saes", f"layer_{layer:02d}"))
    return run
