"""The commands, one file each, and here what may be asked of them; run, init, plan and status are those of every day.

Only argparse is imported here, so that help is quick; a command's own file is imported when it is called.
"""

from __future__ import annotations

import argparse
import importlib

WITH_DATA = (
    "run",
    "plan",
    "slurm",
    "init",
    "controls",
    "train_demo_captioner",
    "gate",
    "scoreboard",
)  # which read data/


def parser() -> argparse.ArgumentParser:
    """All commands with their options; each answers in the module ``args.module`` of this package."""
    top = argparse.ArgumentParser(prog="python -m precompute", description="Compute the runs that the app shows.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, help: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help)
        command.set_defaults(module=name.replace("-", "_"))
        return command

    run = add("run", "compute a run, or what is missing of it")
    _add_preset(run)
    part = run.add_mutually_exclusive_group()
    part.add_argument("--only", default="", metavar="STAGE", help="this stage alone")
    part.add_argument("--until", default="", metavar="STAGE", help="up to and with this stage")
    run.add_argument("--layers", default="", metavar="N,M", help="with --only train: these layers, closing nothing")
    run.add_argument("--workers", type=int, default=0, metavar="N", help="processes that share stages; default: cores")
    run.add_argument("--notify-cmd", default="", metavar="CMD", help="run this at the end, also of a failed run")
    _add_limits(run)
    run.add_argument("--wandb", action="store_true", help="log to Weights & Biases (offline unless logged in)")

    init = add("init", "look at your own images and captions and write a preset for them")
    init.add_argument("name", metavar="MYRUN", help="MYRUN.toml is written in the current folder")
    init.add_argument("--images", default="", metavar="PATH", help="folder, zip or tar; none where a table holds them")
    init.add_argument("--captions", default="", metavar="FILE", help="CSV, TSV, JSON lines, Parquet, COCO ...")
    init.add_argument("--captions-ar", default="", metavar="FILE", help="a second file, for Arabic")
    init.add_argument("--dataset", default="", metavar="NAME", help="of Hugging Face: a saved directory, or a hub name")
    init.add_argument("--revision", default="", metavar="COMMIT", help="of the hub name")
    init.add_argument("--model", required=True, metavar="NAME", help="hub id, or a folder")
    init.add_argument("--force", action="store_true", help="write over a preset of that name")

    plan = add("plan", "what a run would do, and what it would take on this machine")
    _add_preset(plan)
    _add_limits(plan)
    plan.add_argument("--probe", action="store_true", help="measure this device first, a minute or two")

    slurm = add("slurm", "print a job script for a run: python -m precompute slurm demo > job.sh")
    _add_preset(slurm)
    slurm.add_argument("--partition", default="", metavar="NAME")
    slurm.add_argument("--account", default="", metavar="NAME")
    slurm.add_argument("--gpus", type=int, default=1, metavar="N", help="default: 1; 0 = CPU nodes")
    slurm.add_argument("--cpus", type=int, default=4, metavar="N", help="cores a job; default: 4")
    slurm.add_argument("--time", default="", metavar="H:MM:SS", help="of the longest job; default: twice the plan's")
    slurm.add_argument("--mem", default="", metavar="SIZE", help="of each job, such as 32G; default: the plan's")
    slurm.add_argument("--array", action="store_true", help="train the layers side by side, one job each")
    slurm.add_argument("--notify-cmd", default="", metavar="CMD", help="as of run; told of every job")

    status = add("status", "how far a run is")
    status.add_argument("run", nargs="?", default="", metavar="RUN", help="default: the one worked on last")
    status.add_argument("--watch", action="store_true", help="keep showing until the run is over")

    add("doctor", "what this machine has")

    add("list", "runs and presets")

    audit = add("audit", "gendered words of captions before and after, from any model")
    audit.add_argument("file", metavar="FILE", help="CSV, JSONL or Parquet: image_id, before, after, and maybe lang")
    audit.add_argument("--lexicon", default="", metavar="FILE.tsv", help="in the place of the project's own")
    audit.add_argument("--terms", default="", metavar="A,B,C", help="count these words as well, each by itself")
    audit.add_argument("--out", default="", metavar="DIR", help="default: FILE's name with -audit, beside it")
    audit.add_argument("--lang", default="", metavar="LANG", help="en or ar; without a column lang: en")
    audit.add_argument(
        "--generic-masculine",
        default="unmarked",
        choices=("unmarked", "male", "left out"),
        help="what the Arabic generic masculine counts as (docs/gender-counting.md); default: unmarked",
    )

    controls = add("controls", "what is found where there is nothing: negative controls")
    controls.add_argument("run", nargs="?", default="demo", metavar="RUN", help="default: demo")
    controls.add_argument("--seeds", type=int, default=20, metavar="N", help="default: 20")
    controls.add_argument("--twin", default="", metavar="DIR", help="default: data/demo-captioner-control")
    controls.add_argument("--out", default="", metavar="FILE.json", help="default: controls.json in the run's folder")

    scoreboard = add(
        "scoreboard", "how often each sentence of the app is wrong, over simulated worlds (a quarter hour)"
    )
    scoreboard.add_argument("--quick", action="store_true", help="a quarter of the worlds")
    scoreboard.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    scoreboard.add_argument("--only", default="", metavar="A,B", help="these topics or claims alone; others keep rows")
    scoreboard.add_argument("--dry", action="store_true", help="print, and write neither the rates nor the page")

    planted = add("planted", "a captioner whose mechanism of gender is known, made from the demo's by editing weights")
    planted.add_argument("kind", choices=("head", "shared", "disjoint", "blind"), metavar="KIND")
    planted.add_argument("--layer", type=int, default=7, metavar="N", help="of the planted head; default: 7, the last")
    planted.add_argument("--head", type=int, default=0, metavar="N", help="default: 0")
    planted.add_argument("--out", default="", metavar="DIR", help="write the captioner there; else it is only measured")

    check = add("check-model", "whether the adapter computes what a checkpoint computes")
    check.add_argument("model", metavar="NAME_OR_DIR", help="hub id or directory of a model")
    check.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="default: float32")
    check.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="default: auto")
    check.add_argument("--image-side", type=int, default=0, metavar="PIXELS", help="as model.image_side")

    export = add("export-saes", "a run's own SAEs in sae-lens format, with a card")
    export.add_argument("run", metavar="RUN")
    export.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    export.add_argument("--licence", default="", metavar="NAME", help="for the card, such as cc-by-4.0")

    train = add("train-demo-captioner", "train the demo world's captioner (about an hour)")
    train.add_argument("--control", action="store_true", help="the twin with nothing planted (p = 0.5 everywhere)")
    train.add_argument("--out", default="", metavar="DIR", help="default: data/demo-captioner[-control]")
    train.add_argument("--work", default="", metavar="DIR", help="checkpoints; default: .work/demo-captioner[-control]")
    train.add_argument(
        "--from", dest="start", default="", metavar="DIR", help="an earlier demo captioner to start from"
    )

    gate = add("gate", "measure a demo captioner against its gate and write its card")
    gate.add_argument("dir", nargs="?", default="", metavar="DIR", help="default: data/demo-captioner[-control]")
    gate.add_argument("--control", action="store_true", help="it is the twin with nothing planted")
    return top


def _add_preset(parser: argparse.ArgumentParser) -> None:
    """Preset, name and changed settings of a run."""
    parser.add_argument("preset", nargs="?", default="demo", metavar="PRESET", help="name or .toml file; default: demo")
    parser.add_argument("--run", default="", metavar="NAME", help="name of the run folder; default: the preset's name")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting: train.k=32")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """What a run may take at most."""
    for name, what in (("disk", "the run's folder"), ("vram", "the GPU's memory"), ("ram", "memory")):
        parser.add_argument(f"--max-{name}", default="", metavar="SIZE", help=f"keep within this much of {what}: 24GB")


def call(args: argparse.Namespace) -> int:
    """Run the command that was asked for; UserError where it needs the project's data and they are not here."""
    from core.config import PROJECT_ROOT
    from core.errors import UserError

    if args.module in WITH_DATA and not (PROJECT_ROOT / "data" / "demo-world").is_dir():
        raise UserError(
            "The demo world and its captioner are not here.",
            f"This is an installed copy, which has no data/, and {PROJECT_ROOT} is no checkout of the project.",
            "Call it in the folder of a checkout, or install that: pip install -e FOLDER",
        )
    return importlib.import_module(f"{__name__}.{args.module}").command(args)
