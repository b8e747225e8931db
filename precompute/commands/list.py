"""``list``: the runs and the presets that there are."""

from __future__ import annotations

import argparse

from rich.console import Console

from core.config import PRESETS_DIR, preset_names
from core.errors import UserError
from core.run import list_runs, runs_dir
from precompute.engine.progress import show_bytes
from precompute.pipeline import stages


def command(args: argparse.Namespace) -> int:
    """Print all runs and all presets."""
    console, runs = Console(highlight=False), list_runs()
    console.print(f"[bold]Runs[/bold] in {runs_dir()}")
    names = [s.name for s in stages()]
    for run in runs:
        try:
            manifest = run.manifest()
        except UserError as e:
            console.print(f"  {run.name:<20} {e.what}", markup=False)
            continue
        done = sum(n in manifest.stages for n in names)
        size = sum(r.bytes for r in manifest.stages.values())
        state = (run.progress() or {}).get("state", "")
        stage_words = f"{done}/{len(names)} stages, {show_bytes(size):>7}  {state}"
        console.print(f"  {run.name:<20} preset {manifest.preset:<14} {stage_words}", soft_wrap=True)
    if not runs:
        console.print("  none yet: python -m precompute run demo")
    console.print("[bold]Presets[/bold]")
    for name in preset_names():
        first = (PRESETS_DIR / f"{name}.toml").read_text(encoding="utf-8").splitlines()[0]
        console.print(f"  {name:<20} {first.removeprefix('#').strip()}", markup=False, soft_wrap=True)
    return 0
