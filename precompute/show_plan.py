"""``plan``: what a run would do, why, and what it would take on this machine."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from core.config import Config
from core.errors import UserError
from core.interventions.designs import planned
from core.runs import Run, list_runs
from precompute.estimate import GUESS, Estimate, count_samples, estimate, measured, model_shape
from precompute.machine import describe_device, free_disk, resolve_device
from precompute.plan import Planned, make_plan
from precompute.progress import show_bytes, show_time

WORDS = {"fresh": "[green]up to date[/green]", "new": "to do", "stale": "[yellow]to do again[/yellow]"}


def show_plan(config: Config, run: Run, console: Console | None = None) -> None:
    """Print the plan of a run; nothing is written."""
    console = console or Console(highlight=False)
    missing: list[UserError] = []
    plan = make_plan(config, run, missing=missing)
    device = resolve_device(config.model.device)
    n, shape = count_samples(config), model_shape(config)
    known_runs = [run] if run.path("manifest.json").exists() else []
    known_runs += [r for r in list_runs() if r.dir != run.dir]
    guesses = measured(estimate(config, device, n or 1, shape), device, config.name, known_runs)
    todo = [p for p in plan if p.state != "fresh"]
    console.print(f"[bold]{run.name}[/bold]: preset {config.name}, {run.dir}")
    console.print(f"{'an unknown number of' if n is None else f'{n:,}'} images, model {config.model.name}, "
                  f"on {describe_device(device)} ({device})")  # fmt: skip
    console.print(_table(plan, guesses if n else {}, wide=console.width >= 130))
    for error in missing:
        console.print(f"Before it can run: {error.what} {error.do}", style="yellow", markup=False, soft_wrap=True)
    if n and any(p.stage.name == "interventions" for p in todo):
        console.print(_interventions(config, n, guesses, device), soft_wrap=True)
    for line in _closing(todo, guesses, n, run, shape.known):
        console.print(line, soft_wrap=True)


def _table(plan: list[Planned], guesses: dict[str, Estimate], wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("Stage", *(["What it does"] if wide else []), "State"):
        table.add_column(name, no_wrap=name == "Stage")
    for name in ("Time", "Disk", "Memory"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Time from", no_wrap=True)
    for p in plan:
        guess = guesses.get(p.stage.name)
        state = WORDS[p.state] + (f": {p.why}" if p.state == "stale" else "")
        if p.state == "fresh" and p.record:
            r = p.record
            sizes = [show_bytes(r.bytes), show_bytes(r.peak_memory)]
            cells = [show_time(r.seconds), *sizes, "as measured"]
        elif guess:
            about = "~" if guess.basis == GUESS else ""
            sizes = ["~" + show_bytes(guess.disk), "~" + show_bytes(guess.memory)]
            cells = [about + show_time(_round(guess.seconds)), *sizes, guess.basis]
        else:
            cells = ["", "", "", ""]
        table.add_row(p.stage.name, *([p.stage.says] if wide else []), state, *cells)
    return table


def _closing(todo: list[Planned], guesses: dict[str, Estimate], n: int | None, run: Run, known: bool) -> list[str]:
    free = free_disk(run.dir)
    if not todo:
        return ["Everything is up to date."]
    if not n:
        return ["The images cannot be counted from here, so there is no estimate."]
    chosen = [guesses[p.stage.name] for p in todo if p.stage.name in guesses]
    seconds, disk = sum(g.seconds for g in chosen), sum(g.disk for g in chosen)
    memory = max(g.memory for g in chosen)
    n_stages = "1 stage" if len(todo) == 1 else f"{len(todo)} stages"
    time_and_disk = f"about {show_time(_round(seconds))}, {show_bytes(disk)} of disk ({show_bytes(free)} free)"
    lines = [f"To do: {n_stages}, {time_and_disk}, {show_bytes(memory)} of memory at most."]
    if any(g.basis == GUESS for g in chosen):
        lines.append("Figures with ~ are rough guesses from the settings: they may be off by two or three times.")
    if not known:
        lines.append("The model's config.json is not on this machine: its size is taken to be that of Gemma 3 4B.")
    if disk > free:
        lines.append("[red]That is more than the disk has.[/red] Fewer layers or images need less.")
    return lines


def _interventions(config: Config, n: int, guesses: dict[str, Estimate], device: str) -> str:
    """What the longest stage will write, and in how many hours of the device."""
    amount, seconds = planned(config, n), guesses["interventions"].seconds
    hours = "GPU hours" if device == "cuda" else f"hours on {device}"
    return (f"interventions: {amount.n_captions:,} captions under {amount.n_arms} changes of the model, of "
            f"{amount.n_development} images to choose on and {amount.n_confirming} to confirm on, about "
            f"{seconds / 3600:.2g} {hours}, {show_bytes(guesses['interventions'].disk)} of disk.")  # fmt: skip


def _round(seconds: float) -> float:
    """Two figures are as many as a guess holds."""
    return float(f"{seconds:.2g}") if seconds >= 10 else seconds
