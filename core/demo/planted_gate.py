"""Whether a planted captioner does what was planted: gender in its words follows the planted head, and nothing else."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch

from core.demo.gate import forced_choice
from core.demo.planted import Planted
from core.demo.world import LANGUAGES, DemoWorld
from core.vlm.adapter import VLM
from core.vlm.blocks import Block

SEEDS = (301,)
LEAST = 4.0  # log-odds between images of women and men that a planted head must give
MOST = 0.5  # that may be left where it is taken away, or where nothing was planted


@dataclass(frozen=True)
class Gap:
    """Log-odds of a woman's caption at images of women less those at images of men, by language, with its sd."""

    en: float
    ar: float
    error: float  # standard error, the larger of both


def gap(vlm: VLM, n: int = 60, seed: int = 301) -> Gap:
    """Forced choice on ``n`` fresh scenes, half of women and half of men."""
    world, rng = DemoWorld(), random.Random(f"planted-{seed}")
    scenes = [world.scene(rng, held_out=True, gender=("female", "male")[i % 2]) for i in range(n)]
    female, found, error = np.arange(n) % 2 == 0, [], 0.0
    for lang in LANGUAGES:
        odds = -forced_choice(vlm, world, scenes, lang)
        found.append(float(odds[female].mean() - odds[~female].mean()))
        error = max(error, float(np.sqrt(odds[female].var(ddof=1) * 2 / n + odds[~female].var(ddof=1) * 2 / n)))
    return Gap(found[0], found[1], error)


@torch.no_grad()
def without(vlm: VLM, planted: Planted, n: int = 60) -> Gap:
    """The gap with the planted heads taken away; the weights are as before afterwards."""
    if not planted.heads:
        return gap(vlm, n)
    weight = Block(vlm, planted.layer).part("o").weight
    kept, d = weight.data.clone(), Block(vlm, planted.layer).d_head
    for head in planted.heads.values():
        weight[:, head * d : (head + 1) * d] = 0
    try:
        return gap(vlm, n)
    finally:
        weight.data = kept


def failures(planted: Planted, whole: Gap, left: Gap) -> list[str]:
    """What is not as planted, in words."""
    said = []
    for lang in LANGUAGES:
        there, gone = getattr(whole, lang), getattr(left, lang)
        if planted.heads and there < LEAST:
            said.append(f"{lang}: the planted head gives {there:.2f} log-odds, less than {LEAST}")
        if abs(gone) > MOST + 2 * left.error:
            said.append(f"{lang}: {gone:.2f} log-odds are left without it, more than {MOST}")
    return said
