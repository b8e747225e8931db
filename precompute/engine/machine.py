"""What this machine has: the torch device, GPUs and their use, memory, disk, package versions."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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


# GPUs, asked of nvidia-smi in bounded time, or of torch where it is at work

ASKED = ("index", "uuid", "name", "utilization.gpu", "memory.used", "memory.total")
TIMEOUT = 4.0  # seconds
MIB = 2**20


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name, the share of its time in which it worked (None: not told), bytes in use and in all."""

    name: str
    use: float | None
    memory_used: int | None
    memory_total: int | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def gpus() -> list[Gpu]:
    """The GPUs that this process may use, now; [] where there is none, or none that answers in time."""
    return _by_nvidia_smi() or _by_torch()


def _by_nvidia_smi() -> list[Gpu]:
    program = shutil.which("nvidia-smi")
    if not program:
        return []
    command = [program, f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader,nounits"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):  # a driver that hangs; the run goes on without this line
        return []
    rows = [[part.strip() for part in line.split(",")] for line in asked.stdout.splitlines()]
    return [
        Gpu(name, _number(use, 0.01), _bytes(used), _bytes(total))
        for index, uuid, name, use, used, total in (row for row in rows if len(row) == len(ASKED))
        if _visible(index, uuid)
    ]


def _visible(index: str, uuid: str) -> bool:
    """Whether CUDA_VISIBLE_DEVICES lets this process see it; names may be cut short."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return True
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    return any(name == index or (name.startswith("GPU-") and uuid.startswith(name)) for name in names)


def _number(text: str, scale: float = 1.0) -> float | None:
    """A number, or None for "[N/A]" and the like."""
    try:
        return float(text) * scale
    except ValueError:
        return None


def _bytes(text: str) -> int | None:
    number = _number(text, MIB)
    return None if number is None else int(number)


def _by_torch() -> list[Gpu]:
    """Memory alone, and only where this process has begun to use a CUDA device."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    found = []
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        found.append(Gpu(torch.cuda.get_device_name(i), None, total - free, total))
    return found
