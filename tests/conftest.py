"""What the whole suite shares: a small run of the real pipeline, made once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.fixture(scope="session")
def small_cache(tmp_path_factory) -> Path:
    """A cache folder for runs of this session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def small_run(small_cache) -> Path:
    """The folder of a run of the shipped captioner at small size, through the command line."""
    environment = {**os.environ, "CAPTIONSCOPE_CACHE": str(small_cache)}
    done = subprocess.run(small_command("small"), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return small_cache / "small"
