"""What the GPUs do: use and memory, asked of nvidia-smi in bounded time, or of torch where it is at work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

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
