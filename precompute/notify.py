"""``run --notify-cmd``: a command of the user's that is told how a run ended.

It is started without a shell, unless it is one, and may take a minute; whatever becomes of it, the run's own end stays
what it was. A process that is killed (kill -9, or by the system for memory) can tell nobody.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from core.errors import UserError
from core.runs import Run

TIMEOUT = 60.0  # seconds
LONGEST_MESSAGE = 2000  # characters


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
