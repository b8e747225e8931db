"""SAEs trained beside the run's own, with its settings, each with one thing changed: the seed, or what may be learned.

A *frozen decoder* keeps its directions at random and learns only when to use them (Korznikov et al. 2026, arXiv
2602.14111): whatever it does as well needs no learned directions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.activations.store import ActivationReader
from core.config import Config
from core.sae.files import load_sae, save_sae
from core.sae.losses import Parameters
from core.sae.modules import SAE, SAEConfig
from core.sae.trainer import TokenBatches, Trainer, train_sae


class FrozenDecoder(Trainer):
    """A training in which the decoder's rows stay where they were drawn."""

    def _update(self, gradients: Parameters) -> None:
        gradients["decoder"].zero_()  # Adam without gradients and moments moves nothing
        super()._update(gradients)

    def _identity(self) -> dict[str, object]:
        return super()._identity() | {"frozen": "decoder"}


def train_beside(
    config: Config,
    reader: ActivationReader,
    rows: NDArray[np.int64],
    seed: int,
    folder: Path,
    device: str,
    frozen: bool = False,
    steps: int = 0,
    report: Callable[[int], None] = lambda step: None,
) -> SAE:
    """The SAE of these rows (training images only) as the stage train would make it with ``seed``; ``steps`` 0: all.

    It goes on from a checkpoint in ``folder``, and is read from there where it is done.
    """
    if (folder / "cfg.json").exists():
        return load_sae(folder)
    settings = replace(config.train, steps=steps or config.train.steps)
    place = SAEConfig(
        settings.architecture,
        reader.d_model,
        settings.d_sae,
        settings.k,
        reader.layer,
        hook_name=f"blocks.{reader.layer}.hook_resid_post",
        model_name=Path(config.model.name).name,
    )
    batches = TokenBatches(reader, rows, settings.batch_tokens, seed)
    trainer = (FrozenDecoder if frozen else Trainer)(settings, batches, place, seed, device)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "state.safetensors"
    train_sae(trainer, checkpoint, lambda step, steps, losses: report(step))
    save_sae(trainer.finished_sae(), folder)  # cfg.json comes last
    checkpoint.unlink()
    return load_sae(folder)
