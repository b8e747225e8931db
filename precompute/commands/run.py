"""``run``: limits are checked, stages computed, and a command of the user's is told how it ended.

That command (--notify-cmd) is started without a shell, unless it is one, and may take a minute; whatever becomes of it,
the run's own end stays what it was. A process that is killed (kill -9, or by the system for memory) can tell nobody.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from core.config import Config, load_config
from core.errors import UserError
from core.run import Run, check_run_name, runs_dir
from precompute.engine.local import LayersEngine, LocalEngine
from precompute.engine.plan import make_plan
from precompute.engine.tracking import WandbTracker, check_wandb
from precompute.forecast.forecast import forecast, refuse_above
from precompute.forecast.limits import Limits, parse_size

TIMEOUT = 60.0  # seconds
LONGEST_MESSAGE = 2000  # characters


def command(args: argparse.Namespace) -> int:
    """Check the limits, compute, and tell the user's command how it ended."""

    def terminate(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    signal.signal(signal.SIGTERM, terminate)
    config = load_config(args.preset, args.set)
    run = Run(runs_dir() / check_run_name(args.run or config.name))
    told = parse_command(args.notify_cmd) if args.notify_cmd else []
    limits = limits_of(args)
    with notifying(told, run):
        if limits:
            plan = make_plan(config, run, missing=[])  # the engine says what is missing
            refuse_above(forecast(config, run), plan, limits)
        ran = _layers(args, config, run) if args.layers else _whole(args, config, run)
    state = "Nothing was left to do" if not ran else "Done"
    print(f"{state}: {run.dir}\nSee it: streamlit run app.py")
    return 0


def _whole(args: argparse.Namespace, config: Config, run: Run) -> Sequence[object]:
    if args.wandb:
        check_wandb()
    tracker = WandbTracker(run, config) if args.wandb else None
    exit_code = 1
    try:
        ran = LocalEngine(run, config, tracker=tracker, workers=args.workers).run_all(args.only, args.until)
        exit_code = 0
    finally:
        if tracker:
            tracker.close(exit_code)
    return ran


def _layers(args: argparse.Namespace, config: Config, run: Run) -> Sequence[object]:
    if args.wandb:
        raise UserError("--layers and --wandb do not go together.", "", "Log the run that closes the stage.")
    try:
        layers = [int(part) for part in args.layers.split(",")]
    except ValueError:
        raise UserError("--layers expects numbers.", f"It got {args.layers!r}.", "Such as --layers 5,9.") from None
    return LayersEngine(run, config).run_layers(args.only, layers)


def limits_of(args: argparse.Namespace) -> Limits:
    """What the parser read; UserError for what is no size."""
    disk, gpu, memory = (parse_size(s) if s else None for s in (args.max_disk, args.max_vram, args.max_ram))
    return Limits(disk, gpu, memory)


def parse_command(text: str) -> list[str]:
    """The program and its arguments; UserError where they cannot be told apart or there is no such program."""
    try:
        command = shlex.split(text)
    except ValueError as e:
        raise UserError("The command of --notify-cmd cannot be read.", f"{e}: {text}", "Mend its quotes.") from e
    if not command or shutil.which(command[0]) is None:
        raise UserError(
            f"There is no program {command[0] if command else ''!r} for --notify-cmd.",
            "It is started without a shell.",
            "Give a program, or a shell: --notify-cmd \"sh -c 'echo $CAPTIONSCOPE_STATE'\"",
        )
    return command


@contextmanager
def notifying(command: Sequence[str], run: Run) -> Iterator[None]:
    """Tell the command how the block ended: "done", "failed", or "stopped" by hand or by a signal."""
    began = time.monotonic()
    try:
        yield
    except BaseException as e:
        by_hand = isinstance(e, KeyboardInterrupt | SystemExit)
        message = "Stopped by the user." if by_hand else str(e) or type(e).__name__
        _tell(command, run, "stopped" if by_hand else "failed", time.monotonic() - began, message)
        raise
    _tell(command, run, "done", time.monotonic() - began, "")


def _tell(command: Sequence[str], run: Run, state: str, seconds: float, message: str) -> None:
    """Start the command and wait for it; what goes wrong is a line in logs/notify.log and on the screen."""
    if not command:
        return
    told = {
        "RUN": run.name,
        "STATE": state,
        "STAGE": str((run.progress() or {}).get("stage") or ""),
        "SECONDS": f"{seconds:.0f}",
        "MESSAGE": message[:LONGEST_MESSAGE].replace("\0", " "),
    }
    environment = {**os.environ, **{f"CAPTIONSCOPE_{name}": value for name, value in told.items()}}
    log = run.path("logs", "notify.log")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as out:
            trouble = _run(command, environment, out)
            if trouble:
                out.write(f"{trouble}\n".encode())
    except OSError as e:  # a full disk, for one, which may be what there is to tell
        trouble = f"the command of --notify-cmd could not be started: {e}"
    if trouble:
        print(f"notify: {trouble}", file=sys.stderr)


def _run(command: Sequence[str], environment: dict[str, str], out) -> str:
    """What went wrong with the command, or ""."""
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        code = process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
        process.wait()
        return f"{command[0]} took longer than {TIMEOUT:.0f} s and was ended"
    return f"{command[0]} ended with {code}" if code else ""
