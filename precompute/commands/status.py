"""``status``: how far a run is, once or until it is over."""

from __future__ import annotations

import argparse
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from core.errors import UserError
from core.run import Run, list_runs, open_run, runs_dir
from precompute.engine.progress import show_bytes, show_time
from precompute.pipeline import stages

N_LINES = 6  # of the log
COLOURS = {"done": "green", "running": "cyan", "failed": "red", "stopped": "yellow", "waiting": "dim"}


def command(args: argparse.Namespace) -> int:
    """Print the state of a run (default: the one worked on last)."""
    run, console = open_run(args.run) if args.run else latest_run(), Console(highlight=False)
    if not args.watch:
        console.print(status_view(run))
        return 0
    with Live(status_view(run), console=console, refresh_per_second=4) as live:
        while run.holder() is not None:
            time.sleep(0.5)
            live.update(status_view(run))
        live.update(status_view(run))
    return 0


def latest_run() -> Run:
    """The run whose progress changed last; UserError when there is none."""
    runs = list_runs()
    if not runs:
        raise UserError(f"There is no run in {runs_dir()} yet.", "", "Make one: python -m precompute run demo")

    def changed(run: Run) -> float:
        path = run.path("progress.json")
        return (path if path.exists() else run.path("manifest.json")).stat().st_mtime

    return max(runs, key=changed)


def status_view(run: Run) -> Group:
    """The heading and the table of a run: stage, state, done/total, rate, time, ETA."""
    progress, manifest = run.progress(), run.manifest()
    names = [s.name for s in stages()]
    names += [n for n in manifest.stages if n not in names]
    told = {s["name"]: s for s in (progress or {}).get("stages", [])}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("Stage", "State", "Done", "Rate", "Time", "ETA"):
        table.add_column(column, justify="left" if column in ("Stage", "State") else "right")
    for name in names:
        record = manifest.stages.get(name)
        state = "done" if record else told.get(name, {}).get("state", "waiting")
        if state == "done" and not record:
            state = "waiting"  # it was done under other settings
        done, rate, eta, seconds = "", "", "", told.get(name, {}).get("seconds")
        if record:
            done, seconds = f"{record.rows:,} rows", record.seconds
        elif progress and progress["stage"] == name and state != "waiting":
            done, rate, eta = _count(progress)
        colour = COLOURS.get(state, "")
        table.add_row(name, f"[{colour}]{state}[/{colour}]" if colour else state, done, rate, show_time(seconds), eta)
    told_last = [Text(line, style="dim", overflow="ellipsis", no_wrap=True) for line in _last_lines(progress)]
    return Group(*_heading(run, progress), table, *map(_layer_text, run.layers_at_work()), *told_last)


def _layer_text(layer: dict[str, Any]) -> Text:
    """A process that computes single layers, in one line."""
    parts = (layer["stages"][0]["name"], layer["state"], *_count(layer), f"process {layer['pid']}")
    return Text("  ".join(part for part in parts if part), style="cyan")


def _last_lines(progress: dict[str, Any] | None) -> list[str]:
    """The last lines of the log, while it is of use: of a run that is at work or has ended badly."""
    return (progress or {}).get("log", [])[-N_LINES:] if (progress or {}).get("state") != "done" else []


def _takes(progress: dict[str, Any]) -> list[str]:
    cores = progress.get("cores")
    return [*([f"{cores:.1f} CPU cores"] if cores else []), f"{show_bytes(progress['memory_bytes'])} of memory"]


def gpu_text(gpu: dict[str, Any]) -> str:
    """A GPU in one line, as progress.json tells of it: what is not known is left out."""
    use = "" if gpu.get("use") is None else f", {gpu['use']:.0%} in use"
    memory = ""
    if gpu.get("memory_used") is not None and gpu.get("memory_total"):
        memory = f", {show_bytes(gpu['memory_used'])} of {show_bytes(gpu['memory_total'])} of its memory"
    return f"GPU {gpu['name']}{use}{memory}"


def _count(progress: dict[str, Any]) -> tuple[str, str, str]:
    rate, eta = progress["rate"], progress["eta_seconds"]
    return (
        f"{progress['done']:,}/{progress['total']:,} {progress['unit']}",
        f"{rate:.3g} {progress['unit']}/s" if rate else "",
        show_time(eta),
    )


def _heading(run: Run, progress: dict[str, Any] | None) -> list[str]:
    if progress is None:
        return [f"[bold]{run.name}[/bold]  {run.dir}"]
    state, colour = progress["state"], COLOURS.get(progress["state"], "white")
    lines = [f"[bold]{run.name}[/bold]  [{colour}]{state}[/{colour}]  {run.dir}"]
    if state == "running":
        since = progress["started"]
        lines.append(f"process {progress['pid']}, {progress['device']}, {', '.join(_takes(progress))}, since {since}")
        lines += map(gpu_text, progress.get("gpus", []))
    if progress["message"]:
        lines.append(progress["message"].replace("[", r"\["))
    return lines
