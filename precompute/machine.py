"""What this machine has: the torch device, memory, disk, package versions."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import shutil
from pathlib import Path

from core.errors import UserError

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "scikit-learn",
    "umap-learn",
    "pyarrow",
    "pandas",
    "duckdb",
    "pillow",
    "matplotlib",
    "plotly",
    "streamlit",
)
STAGE_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "scikit-learn",
    "umap-learn",
    "pyarrow",
    "pandas",
    "pillow",
)


def resolve_device(wanted: str) -> str:
    """The device to use: "auto" takes the best there is; UserError where the wanted one is missing."""
    if wanted == "cpu":
        return "cpu"
    import torch

    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, there in have.items() if there)
    if not have[wanted]:
        raise UserError(
            f"This machine has no {wanted} device that torch can use.",
            f"torch {torch.__version__}.",
            "Run with --set model.device=auto, or install a torch build for your device.",
        )
    return wanted


def describe_device(device: str) -> str:
    """The device in words, such as "NVIDIA L4, 24 GB" or "2 CPU cores"."""
    if device == "cuda":
        import torch

        properties = torch.cuda.get_device_properties(0)
        return f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"
    cores = n_cores()
    return f"{platform.machine()} GPU (mps)" if device == "mps" else f"{cores} CPU core{'s' if cores != 1 else ''}"


def device_peak(device: str, reset: bool = False) -> int:
    """Most bytes allocated on a CUDA device since the last reset; 0 for other devices."""
    if device != "cuda":
        return 0
    import torch

    if reset:
        torch.cuda.reset_peak_memory_stats()
    return torch.cuda.max_memory_allocated()


def n_cores() -> int:
    """Cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@functools.cache
def versions(packages: tuple[str, ...] = STAGE_PACKAGES) -> dict[str, str]:
    """Installed versions; packages that are missing are left out."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def free_disk(path: Path) -> int:
    """Free bytes where ``path`` lies or will lie."""
    path = path.resolve()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
