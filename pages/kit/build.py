"""Building the demo from the app: a child process in a session of its own, and what it says of itself.

Nothing here is remembered by the browser. Whether it works is read from the run's lock, how far it is from
`progress.json`, and its last words from `logs/app.log`; so a reload, or another visitor, sees the same.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from core.config import PROJECT_ROOT
from core.run import Run, runs_dir
from pages.kit.runs import command, run_names

DEMO = "demo"
ENOUGH = "features"  # the stage after which there is something to look at
_children: dict[str, subprocess.Popen[bytes]] = {}
_door = threading.Lock()


def demo_run() -> Run:
    """The folder of the demo run, whether it is there or not."""
    return Run(runs_dir() / DEMO)


def wants_welcome() -> bool:
    """Whether a visitor should see the welcome page: no run at all, or only a demo that is still being built."""
    names = run_names()
    if not names:
        return True
    return names == [DEMO] and not demo_run().is_done(ENOUGH) and state(demo_run()) != "done"


def start(run: Run) -> None:
    """Build the demo, or go on with it, unless somebody does so already."""
    with _door:
        if state(run) in ("starting", "running"):
            return
        log = run.path("logs", "app.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "wb") as out:
            _children[str(run.dir)] = subprocess.Popen(
                [sys.executable, "-m", "precompute", "run", DEMO, "--run", run.name],
                cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def state(run: Run) -> str:
    """ "absent", "starting", "running", "done", "failed" or "stopped"."""
    child = _children.get(str(run.dir))
    code = child.poll() if child else None
    if run.holder() is not None:
        return "running"
    progress = run.progress()
    if child and code is None:
        return "done" if progress and progress["state"] == "done" else "starting"  # done, and about to end
    if child and code and (progress is None or progress["state"] in ("done", "running")):
        return "failed"
    return progress["state"] if progress else "absent"


def last_words(run: Run, n: int = 8) -> list[str]:
    """The last lines of the newest log of a run; [] where there is none."""
    logs = sorted(run.path("logs").glob("*.log"), key=lambda p: p.stat().st_mtime_ns)
    return _tail(logs[-1], n) if logs else []


def failure(run: Run) -> tuple[str, str, str]:
    """What, why and what to do, for a build that has failed."""
    progress = run.progress() or {}
    lines = [line for line in str(progress.get("message", "")).splitlines() if line.strip()]
    lines = lines or _tail(run.path("logs", "app.log"), 3)
    what = lines[0] if lines else "The build ended without a word."
    where = f"Logs: {run.path('logs')}"
    why = lines[1] if len(lines) > 1 else f"It was at the stage {progress.get('stage') or 'before the first'}."
    by_hand = f"Go on with it here, or in a terminal: {command(DEMO, run.name)}"
    do = lines[2] if len(lines) > 2 else by_hand
    return what, why, f"{do} · {where}"


def _tail(path: Path, n: int, most: int = 20_000) -> list[str]:
    """The last lines of a file, whatever its size."""
    if not path.is_file():
        return []
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - most))
        return file.read().decode("utf-8", "replace").splitlines()[-n:]
