"""``plan``: what a run would do, why, what it would take on this machine, and what would bring it under a limit."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from rich.console import Console
from rich.table import Table

from core.answers.coverage import coverage_answer, coverage_line
from core.config import LANGUAGE_NAME, Config, load_config
from core.errors import UserError
from core.interventions.designs import planned
from core.run import Run, check_run_name, runs_dir
from core.sae.sources import NotHere
from core.vlm.identity import locate
from precompute.commands.run import limits_of
from precompute.engine.machine import free_disk
from precompute.engine.plan import Planned, check_before, make_plan
from precompute.engine.progress import show_bytes, show_time
from precompute.engine.workers import one_thread, single_threaded
from precompute.forecast.estimate import GUESS, PROBED, Estimate
from precompute.forecast.forecast import Forecast, check_limits, forecast, limits_text
from precompute.forecast.limits import Limits, disk_at_most
from precompute.pipeline import stages

WORDS = {"fresh": "[green]up to date[/green]", "new": "to do", "stale": "[yellow]to do again[/yellow]"}


def command(args: argparse.Namespace) -> int:
    """What ``show_plan`` returns."""
    config = load_config(args.preset, args.set)
    run = Run(runs_dir() / check_run_name(args.run or config.name))
    return show_plan(config, run, limits=limits_of(args), probe=args.probe)


def show_plan(
    config: Config, run: Run, console: Console | None = None, limits: Limits | None = None, probe: bool = False
) -> int:
    """Print the plan of a run, after a probe where asked for; 1 where it would break a limit.

    Nothing is written but the probe.
    """
    console, limits = console or Console(highlight=False), limits or Limits()
    warnings = check_before(config, stages())
    missing: list[UserError] = []
    plan = make_plan(config, run, missing=missing)
    seen = forecast(config, run, for_gpu=limits.gpu is not None)
    if probe:
        seen = _probed(seen, run, console)
    todo = [p for p in plan if p.state != "fresh"]
    n = "an unknown number of" if seen.n is None else f"{seen.n:,}"
    where = f"on {seen.device_name} ({seen.device})" if seen.device_name else "for a CUDA GPU, which is not here"
    console.print(f"[bold]{run.name}[/bold]: preset {config.name}, {run.dir}")
    console.print(f"{n} images, model {config.model.name}, {where}")
    guesses = seen.estimates
    console.print(_table(plan, guesses, gpu=seen.device == "cuda", wide=console.width >= 140))
    for error in (e for e in missing if not isinstance(e, NotHere)):  # the run fetches those itself: see the notes
        console.print(f"Before it can run: {error.what} {error.do}", style="yellow", markup=False, soft_wrap=True)
    for line in warnings:
        console.print(f"Note: {line}", style="yellow", markup=False, soft_wrap=True)
    if guesses and any(p.stage.name == "interventions" for p in todo):
        console.print(_interventions(config, seen, guesses), soft_wrap=True)
    for line in _words(config, run):
        console.print(line, soft_wrap=True)
    for line in _closing(todo, seen, guesses, run):
        console.print(line, soft_wrap=True)
    return _limits(seen, plan, limits, console)


def _probed(seen: Forecast, run: Run, console: Console) -> Forecast:
    from precompute.forecast.probe import run_probe

    if not seen.device_name:
        raise UserError(
            "There is nothing to measure on.",
            "This machine has no CUDA device.",
            "Run plan --probe on the machine that will compute.",
        )
    with one_thread() if single_threaded(seen.config, seen.device, seen.workers) else nullcontext():
        run_probe(seen.config, seen.device, lambda text: console.print(text, markup=False, soft_wrap=True))
    return forecast(seen.config, run)


def _limits(seen: Forecast, plan: Sequence[Planned], limits: Limits, console: Console) -> int:
    """Say which limits break and what brings the run under them."""
    found, options = check_limits(seen, plan, limits)
    for b in found:
        console.print(limits_text(b), style="red", markup=False, soft_wrap=True)
    if found:
        console.print("What brings it under:" if options else "No setting that is known brings it under.")
    for way in options:
        console.print(f"  {way.text}", markup=False, soft_wrap=True)
    if limits and not found:
        console.print("It keeps the limits given.")
    return 1 if found else 0


def _table(plan: list[Planned], guesses: Mapping[str, Estimate], gpu: bool, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("Stage", *(["What it does"] if wide else []), "State"):
        table.add_column(name, no_wrap=name == "Stage")
    for name in ("Time", "Disk", "Memory", *(["GPU memory"] if gpu else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Time from", no_wrap=True)
    for p in plan:
        guess = guesses.get(p.stage.name)
        state = WORDS[p.state] + (f": {p.why}" if p.state == "stale" else "")
        if p.state == "fresh" and p.record:
            r = p.record
            cells = [show_time(r.seconds), show_bytes(r.bytes), show_bytes(r.peak_memory)]
            cells += [show_bytes(r.notes.get("peak_device_memory"))] if gpu else []
            cells.append("as measured")
        elif guess:
            about = "~" if guess.basis == GUESS else ""
            sizes = (guess.disk, guess.memory, guess.gpu) if gpu else (guess.disk, guess.memory)
            cells = [about + show_time(_round(guess.seconds)), *(about_bytes(s) for s in sizes), guess.basis]
        else:
            cells = [""] * (5 if gpu else 4)
        table.add_row(p.stage.name, *([p.stage.says] if wide else []), state, *cells)
    return table


def about_bytes(n: float) -> str:
    """A size that is an estimate; "" for nothing."""
    return f"~{show_bytes(n)}" if n else ""


def _closing(todo: list[Planned], seen: Forecast, guesses: Mapping[str, Estimate], run: Run) -> list[str]:
    free = free_disk(run.dir)
    if not todo:
        return ["Everything is up to date."]
    if not guesses:
        return ["The images cannot be counted from here, so there is no estimate."]
    chosen = {p.stage.name: guesses[p.stage.name] for p in todo if p.stage.name in guesses}
    seconds, disk = sum(g.seconds for g in chosen.values()), disk_at_most(chosen)
    memory, gpu = (max(getattr(g, name) for g in chosen.values()) for name in ("memory", "gpu"))
    n_stages = "1 stage" if len(todo) == 1 else f"{len(todo)} stages"
    time_and_disk = f"about {show_time(_round(seconds))}, {show_bytes(disk)} of disk ({show_bytes(free)} free)"
    on_gpu = f" and {show_bytes(gpu)} of GPU memory" if gpu else ""
    lines = [f"To do: {n_stages}, {time_and_disk}, {show_bytes(memory)} of memory{on_gpu} at most."]
    if any(g.basis == PROBED for g in chosen.values()) and seen.probe:
        lines += [f"Times from the probe: {seen.probe.says}.", *seen.probe.notes]
    if any(g.basis == GUESS for g in chosen.values()):
        lines.append(
            "Figures with ~ are rough guesses from the settings: they may be off by two or three times. "
            "A probe of a minute or two makes times surer: add --probe."
        )
    if not seen.shape.known:
        lines.append("The model's config.json is not on this machine: its size is taken to be that of Gemma 3 4B.")
    if disk > free:
        lines.append("[red]That is more than the disk has.[/red] See what helps: add --max-disk.")
    return lines


def _interventions(config: Config, seen: Forecast, guesses: Mapping[str, Estimate]) -> str:
    """What the longest stage will write, and in how many hours of the device."""
    amount, seconds = planned(config, seen.n or 0), guesses["interventions"].seconds
    hours = "GPU hours" if seen.device == "cuda" else f"hours on {seen.device}"
    return (
        f"interventions: {amount.n_captions:,} captions under {amount.n_arms} changes of the model, of "
        f"{amount.n_development} images to choose on and {amount.n_confirming} to confirm on, about "
        f"{seconds / 3600:.2g} {hours}, {show_bytes(guesses['interventions'].disk)} of disk."
    )


def _words(config: Config, run: Run) -> list[str]:
    """For what share of gendered words this model's tokenizer lets both spellings be compared, by language: of the
    run's own captions where they are there, else of the lexicon's forms; nothing of a model that is not here."""
    if run.has("contrasts") and run.has("captions"):
        spoken = Counter(run.table("captions", ["lang"])["lang"].to_pylist())
        counts = {lang: spoken[lang] for lang in config.samples.languages}
        return [coverage_line(coverage_answer(run.table("contrasts").to_pandas(), counts))]
    if locate(config.model.name) is None:
        return []
    from core.gender.tokenized_forms import forms, says
    from core.vlm.tokenizer import load_tokenizer

    try:
        tokenizer = load_tokenizer(run, config.model)
    except UserError as error:
        return [f"Before it can run: {error.what} {error.do}"]
    by_lang = {lang: getattr(config.words, f"lexicon_{lang}") for lang in config.samples.languages}
    return [f"{LANGUAGE_NAME[lang]}: {says(forms(tokenizer, lang, file))}." for lang, file in by_lang.items()]


def _round(seconds: float) -> float:
    """Two figures are as many as a guess holds."""
    return float(f"{seconds:.2g}") if seconds >= 10 else seconds
