"""The settings of the small run of the real pipeline that the suite makes once (see conftest.py)."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "samples.n=150", "caption.batch_size=32", "activations.layers=[3,5]", "activations.shard_tokens=4096",
    "train.d_sae=128", "train.k=8", "train.steps=150", "train.batch_tokens=256", "train.auxk=16",
    "train.dead_after_tokens=8000", "features.n_examples=6", "features.n_per_quantile=2",
)  # fmt: skip


def precompute_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "precompute", *arguments]


def small_command(name: str) -> list[str]:
    sets = [part for setting in SMALL for part in ("--set", setting)]
    return precompute_command("run", "demo", "--run", name, *sets)
