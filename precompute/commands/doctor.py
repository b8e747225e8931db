"""``doctor``: what this machine has, and what is missing for what."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from core.config import PROJECT_ROOT, load_config, preset_names
from core.run import runs_dir
from precompute.engine.machine import PACKAGES, describe_device, free_disk, gpus, resolve_device, versions
from precompute.engine.progress import show_bytes, show_time
from precompute.engine.tracking import logged_in
from precompute.forecast.estimate import estimate
from precompute.forecast.limits import NAMES, needs
from precompute.forecast.shape import model_shape

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NEEDED_DISK, NEEDED_MEMORY = 3e9, 4e9  # bytes, for the demo run
UNKNOWN_IMAGES = 2000  # of presets that take all there are


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and whether that will do (None: it is optional and missing)."""

    what: str
    found: str
    good: bool | None


def examine() -> list[Finding]:
    """Look at everything; imports torch."""
    return [_python(), *_torch(), _memory(), _disk(), _fonts(), _chromium(), _wandb(), *_packages(), *_presets()]


def _python() -> Finding:
    return Finding(
        "Python",
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        sys.version_info[:2] >= (3, 11),
    )


def _torch() -> list[Finding]:
    try:
        import torch
    except ImportError:
        return [Finding("torch", "not installed: runs can be looked at, not computed", None)]
    device = resolve_device("auto")
    return [
        Finding("torch", f"{torch.__version__}, {torch.get_num_threads()} threads", True),
        Finding("device", f"{device}: {describe_device(device)}", True),
        *_gpu_memory(device),
    ]


def _gpu_memory(device: str) -> list[Finding]:
    """One line a GPU; a GPU that nvidia-smi knows and torch does not use is worth a word."""
    if device != "cuda":
        names = ", ".join(gpu.name for gpu in gpus())
        text = f"torch does not use {names}: a CUDA build of torch would"
        return [Finding("GPU memory", text, None)] if names else []
    import torch

    found = []
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        text = f"{show_bytes(free)} free of {show_bytes(total)} on {torch.cuda.get_device_name(i)}"
        found.append(Finding("GPU memory", text, True))
    return found


def _presets() -> list[Finding]:
    """Whether each preset would find room here, by rough estimates."""
    try:
        device = resolve_device("auto")
    except ImportError:
        return []
    return [_preset(name, device) for name in preset_names()]


def _preset(name: str, device: str) -> Finding:
    """A preset's needs beside what there is; those that are too large come first in the line."""
    config = load_config(name)
    if config.model.name.startswith("data/") and not (PROJECT_ROOT / config.model.name).is_dir():
        return Finding(f"preset {name}", f"{config.model.name} is not in {PROJECT_ROOT}: run it in a checkout", None)
    found = estimate(config, device, config.samples.n or UNKNOWN_IMAGES, model_shape(config))
    there = {"disk": free_disk(runs_dir()), "memory": psutil.virtual_memory().total}
    if device == "cuda":
        import torch

        there["gpu"] = torch.cuda.mem_get_info()[1]
    wanted = {what: needs(found, what) for what in there}
    short = [what for what in there if wanted[what] > there[what]]
    had = {what: f" ({show_bytes(there[what])} there)" if what in short else "" for what in there}
    order = sorted(there, key=lambda what: what not in short)
    words = [f"~{show_bytes(wanted[what])} of {NAMES[what]}{had[what]}" for what in order]
    time = show_time(float(f"{sum(e.seconds for e in found.values()):.1g}"))
    verdict = "too large" if short else "fits"
    return Finding(f"preset {name}", f"{verdict}: {'; '.join(words)}; ~{time}", None if short else True)


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    text = f"{show_bytes(memory.available)} free of {show_bytes(memory.total)}"
    return Finding("memory", text, memory.available > NEEDED_MEMORY)


def _disk() -> Finding:
    free = free_disk(runs_dir())
    return Finding("disk", f"{show_bytes(free)} free in {runs_dir()}", free > NEEDED_DISK)


def _fonts() -> Finding:
    fonts = sorted(p.name for p in (PROJECT_ROOT / "static").rglob("*") if p.suffix in (".ttf", ".woff2", ".otf"))
    if not (PROJECT_ROOT / "static").is_dir():
        return Finding("fonts", f"no static/ in {PROJECT_ROOT}: app, demo and fonts belong to a checkout", None)
    arabic = [f for f in fonts if "arabic" in f.lower()]
    if not arabic:
        return Finding("fonts", "no Arabic font in static/: figures fall back to the system's", False)
    return Finding("fonts", f"{len(fonts)} files in static/, Arabic among them", True)


def _chromium() -> Finding:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        cached = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
        found = next((str(p) for p in sorted(cached.glob("chromium*"))), None)
    if found is None:
        return Finding("Chromium", "none: the app works; browser tests are skipped", None)
    return Finding("Chromium", found, True)


def _wandb() -> Finding:
    version = versions(("wandb",)).get("wandb")
    if version is None:
        return Finding("wandb", "not installed; needed for --wandb alone", None)
    state = "logged in" if logged_in() else "not logged in: --wandb writes offline"
    return Finding("wandb", f"{version}, {state}", True)


def _packages() -> list[Finding]:
    found = versions(PACKAGES)
    return [Finding(name, found.get(name, "not installed"), name in found) for name in PACKAGES if name != "torch"]


def command(args: argparse.Namespace) -> int:
    """Print the findings; 1 when something is missing that a run needs."""
    console = Console(highlight=False)
    findings = examine()
    for f in findings:
        mark = {True: "[green]ok[/green]", False: "[red]no[/red]", None: "[yellow]--[/yellow]"}[f.good]
        console.print(f"{mark}  {f.what:<18} ", end="")
        console.print(f.found, markup=False, soft_wrap=True)
    bad = [f.what for f in findings if f.good is False]
    console.print(f"Missing or too little: {', '.join(bad)}." if bad else "This machine can compute and show runs.")
    return 1 if bad else 0
