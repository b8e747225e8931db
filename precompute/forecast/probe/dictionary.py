"""What sparse autoencoders cost: a step of training and a token encoded, in seconds and bytes."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from core.config import Config, TrainConfig
from core.sae.modules import SAEConfig
from core.sae.trainer import Trainer
from precompute.forecast.probe.stopwatch import Clock, Peak

WINDOW = 16_384  # tokens of which batches are drawn
ENCODED = 4_096
WARM, STEPS = 1, 5


class _Tokens:
    """Random tokens where training expects those of a layer; a batch is gathered from a window, as there."""

    def __init__(self, d_model: int, batch_tokens: int):
        self.batch_tokens = batch_tokens
        self.window = torch.randn(WINDOW, d_model, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)

    def __len__(self) -> int:
        return WINDOW

    def __call__(self, step: int) -> Tensor:
        chosen = torch.randint(WINDOW, (self.batch_tokens,), generator=torch.Generator().manual_seed(step))
        return self.window[chosen].float()

    def statistics(self) -> tuple[Tensor, float]:
        return torch.zeros(self.window.shape[1]), 1.0


def measure_dictionaries(config: Config, d_model: int, clock: Clock) -> tuple[dict, dict]:
    """(seconds a unit, bytes a unit) by the names of ``Work``, from the two sizes that a run trains."""
    x = config.crosslingual
    small = replace(config.train, architecture="topk", d_sae=x.d_sae, k=x.k, batch_tokens=x.batch_tokens)
    large, encoded, held = _train(config.train, d_model, clock)
    cells = config.train.d_sae * config.train.batch_tokens
    seconds = {"encoded": encoded}
    if clock.left > 10 and x.d_sae * x.batch_tokens < cells:
        little, _, _ = _train(small, d_model, clock)
        each = max(0.0, (large - little) / (cells - x.d_sae * x.batch_tokens))
        seconds |= {"trained": each, "train_steps": max(0.0, large - each * cells)}
    else:
        seconds |= {"trained": large / cells, "train_steps": 0.0}
    return seconds, held


def _train(config: TrainConfig, d_model: int, clock: Clock) -> tuple[float, float, dict]:
    """Seconds of a step; seconds a token and feature encoded; bytes held."""
    with Peak(clock.device) as fixed:
        place = SAEConfig(config.architecture, d_model, config.d_sae, config.k, 0)
        trainer = Trainer(config, _Tokens(d_model, config.batch_tokens), place, 0, clock.device)  # type: ignore[arg-type]
    found = []
    with Peak(clock.device) as moving:
        for i in range(WARM + STEPS):
            took, _ = clock.time(trainer.advance)
            found.append(took)
            if i >= WARM and time.monotonic() + 2 * took > clock.ends - 0.5 * clock.left:
                break
    sae = trainer.finished_sae().to(clock.device)
    x = trainer.batches(0)[:ENCODED].to(clock.device)
    with torch.no_grad():
        encoded = clock.best(lambda: sae.encode(x)) / (len(x) * config.d_sae)
    held = {"trained_held": fixed.bytes / config.d_sae, "cells_held": moving.bytes / (config.d_sae * len(x))}
    return min(found[WARM:] or found), encoded, held
