"""``run``: its options, and what is done around the engine: limits before, a command of the user's after."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from core.errors import UserError

if TYPE_CHECKING:
    from core.config import Config
    from core.runs import Run
    from precompute.forecast.limits import Limits


def add_parser(commands: Any) -> None:
    """The command and its options."""
    parser = commands.add_parser("run", help="compute a run, or what is missing of it")
    add_preset(parser)
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--only", default="", metavar="STAGE", help="this stage alone")
    part.add_argument("--until", default="", metavar="STAGE", help="up to and with this stage")
    parser.add_argument("--layers", default="", metavar="N,M", help="with --only train: these layers, closing nothing")
    parser.add_argument("--notify-cmd", default="", metavar="CMD", help="run this at the end, also of a failed run")
    add_limits(parser)
    parser.add_argument("--wandb", action="store_true", help="log to Weights & Biases (offline unless logged in)")
    parser.set_defaults(command=compute)


def add_preset(parser: argparse.ArgumentParser) -> None:
    """Preset, name and changed settings of a run."""
    parser.add_argument("preset", nargs="?", default="demo", metavar="PRESET", help="name or .toml file; default: demo")
    parser.add_argument("--run", default="", metavar="NAME", help="name of the run folder; default: the preset's name")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting: train.k=32")


def add_limits(parser: argparse.ArgumentParser) -> None:
    """What a run may take at most."""
    for name, what in (("disk", "the run's folder"), ("vram", "the GPU's memory"), ("ram", "memory")):
        parser.add_argument(f"--max-{name}", default="", metavar="SIZE", help=f"keep within this much of {what}: 24GB")


def limits_of(args: argparse.Namespace) -> Limits:
    """What ``add_limits`` read; UserError for what is no size."""
    from precompute.forecast.limits import Limits, parse_size

    disk, gpu, memory = (parse_size(s) if s else None for s in (args.max_disk, args.max_vram, args.max_ram))
    return Limits(disk, gpu, memory)


def compute(args: argparse.Namespace) -> int:
    """Check the limits, compute, and tell the user's command how it ended."""
    from core.config import load_config
    from core.runs import Run, check_run_name, runs_dir
    from precompute.notify import notifying, parse_command

    def terminate(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    signal.signal(signal.SIGTERM, terminate)
    config = load_config(args.preset, args.set)
    run = Run(runs_dir() / check_run_name(args.run or config.name))
    command = parse_command(args.notify_cmd) if args.notify_cmd else []
    limits = limits_of(args)
    with notifying(command, run):
        if limits:
            from precompute.forecast.forecast import forecast, refuse_above
            from precompute.plan import make_plan

            plan = make_plan(config, run, missing=[])  # the engine says what is missing
            refuse_above(forecast(config, run), plan, limits)
        ran = _layers(args, config, run) if args.layers else _whole(args, config, run)
    state = "Nothing was left to do" if not ran else "Done"
    print(f"{state}: {run.dir}\nSee it: streamlit run app.py")
    return 0


def _whole(args: argparse.Namespace, config: Config, run: Run) -> Sequence[object]:
    from precompute.engines.local import LocalEngine
    from precompute.tracking import WandbTracker, check_wandb

    if args.wandb:
        check_wandb()
    tracker = WandbTracker(run, config) if args.wandb else None
    exit_code = 1
    try:
        ran = LocalEngine(run, config, tracker=tracker).run_all(args.only, args.until)
        exit_code = 0
    finally:
        if tracker:
            tracker.close(exit_code)
    return ran


def _layers(args: argparse.Namespace, config: Config, run: Run) -> Sequence[object]:
    from precompute.engines.layers import LayersEngine

    if args.wandb:
        raise UserError("--layers and --wandb do not go together.", "", "Log the run that closes the stage.")
    try:
        layers = [int(part) for part in args.layers.split(",")]
    except ValueError:
        raise UserError("--layers expects numbers.", f"It got {args.layers!r}.", "Such as --layers 5,9.") from None
    return LayersEngine(run, config).run_layers(args.only, layers)
