"""How far a run is and what it takes: ``progress.json`` for ``status`` and the app, screens, the stages' logs."""

from __future__ import annotations

import datetime
import logging
import os
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psutil

from core.run import Run, write_json
from precompute.engine.machine import gpus

FILE_EVERY, WATCH_EVERY, GPU_EVERY = 0.5, 0.25, 5.0  # seconds
N_LINES, LINE_LENGTH = 12, 300  # of the log, kept for who looks on
WINDOW = 20.0  # seconds over which the rate is taken
PLAIN_EVERY = 15.0  # seconds between two plain lines


def now() -> str:
    """The time in UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def show_time(seconds: float | None) -> str:
    """A duration in words that fit a table: 48 s, 3 min 20 s, 2 h 05 min, 12 days."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60:02d} s"
    if s < 36_000:
        return f"{s // 3600} h {s % 3600 // 60:02d} min"
    return f"{s / 3600:.0f} h" if s < 3 * 86_400 else f"{s / 86_400:.0f} days"


def show_bytes(n: float | None) -> str:
    """A size in decimal units: 512 B, 3.4 MB, 51 GB."""
    if n is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if n >= 10 or unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


class Meter:
    """Rate and time left of one count, over the last 20 seconds; what was there before a resume does not count."""

    def __init__(self) -> None:
        self.done, self.total, self.unit = 0, 0, ""
        self._points: deque[tuple[float, int]] = deque()

    def update(self, done: int, total: int, unit: str, at: float | None = None) -> None:
        at = time.monotonic() if at is None else at
        if total != self.total or unit != self.unit or done < self.done:
            self._points.clear()
        self.done, self.total, self.unit = done, total, unit
        self._points.append((at, done))
        while len(self._points) > 2 and self._points[1][0] < at - WINDOW:
            self._points.popleft()
        if len(self._points) > 2000:  # a stage that reports every step; keep every second point
            self._points = deque(p for i, p in enumerate(self._points) if i % 2 == 0 or i == len(self._points) - 1)

    @property
    def rate(self) -> float | None:
        (t0, n0), (t1, n1) = (self._points[0], self._points[-1]) if self._points else ((0.0, 0), (0.0, 0))
        return (n1 - n0) / (t1 - t0) if t1 > t0 and n1 > n0 else None

    @property
    def eta(self) -> float | None:
        return (self.total - self.done) / self.rate if self.rate else None


class Screen(Protocol):
    """Where a person sees the progress."""

    def start(self, stage: str, resumed: bool) -> None: ...
    def update(self, meter: Meter, message: str) -> None: ...
    def end(self, text: str) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self) -> None: ...


class PlainScreen:
    """A line at the start, now and then, and at the end: for logs and CI."""

    def __init__(self, every: float = PLAIN_EVERY):
        self.every, self.stage, self._last, self._reader_left = every, "", 0.0, False

    def start(self, stage: str, resumed: bool) -> None:
        self.stage, self._last = stage, time.monotonic()
        self.say(f"{stage}: goes on where it stopped" if resumed else f"{stage}: starts")

    def update(self, meter: Meter, message: str) -> None:
        if time.monotonic() - self._last < self.every:
            return
        self._last = time.monotonic()
        share = f" ({meter.done / meter.total:.0%})" if meter.total else ""
        rate = f", {meter.rate:.3g} {meter.unit}/s" if meter.rate else ""
        eta = f", {show_time(meter.eta)} left" if meter.eta is not None else ""
        note = f", {message}" if message else ""
        self.say(f"{self.stage}: {meter.done}/{meter.total} {meter.unit}{share}{rate}{eta}{note}")

    def end(self, text: str) -> None:
        self.say(f"{self.stage}: {text}")

    def say(self, text: str) -> None:
        if self._reader_left:
            return
        try:
            print(text, flush=True)
        except BrokenPipeError:  # whoever read the output is gone; the work goes on, progress.json tells of it
            self._reader_left = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end

    def close(self) -> None:
        """Nothing is held open."""


class BarScreen:
    """One live bar with rate and time left; finished stages stay as lines above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = [
            TextColumn("[bold]{task.description:<12}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[count]}"),
            TextColumn("[cyan]{task.fields[rate]}"),
            TextColumn("[green]{task.fields[eta]}"),
            TextColumn("[dim]{task.fields[message]}"),
        ]
        self.console = Console(highlight=False)
        self.bars = Progress(*columns, console=self.console, transient=True, refresh_per_second=5)
        self.stage, self._task = "", None
        self.bars.start()

    def start(self, stage: str, resumed: bool) -> None:
        self.stage = stage
        message = "goes on where it stopped" if resumed else ""
        self._task = self.bars.add_task(stage, total=None, count="", rate="", eta="", message=message)

    def update(self, meter: Meter, message: str) -> None:
        if self._task is None:
            return
        rate = f"{meter.rate:.3g} {meter.unit}/s" if meter.rate else ""
        eta = f"{show_time(meter.eta)} left" if meter.eta is not None else ""
        count = f"{meter.done:,}/{meter.total:,} {meter.unit}"
        self.bars.update(
            self._task,
            total=meter.total or None,
            completed=meter.done,
            count=count,
            rate=rate,
            eta=eta,
            message=message,
        )

    def end(self, text: str) -> None:
        if self._task is not None:
            self.bars.remove_task(self._task)
            self._task = None
        self.console.print(f"[bold]{self.stage:<12}[/bold] {text}")

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def close(self) -> None:
        self.bars.stop()


def screen() -> Screen:
    """Bars on a terminal, plain lines elsewhere."""
    return BarScreen() if sys.stdout.isatty() else PlainScreen()


class LastLines(logging.Handler):
    """Keeps the last lines of a log, for who looks on."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=N_LINES)
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        at, stage = time.strftime("%H:%M:%S", time.localtime(record.created)), record.name.rpartition(".")[2]
        level = f"{record.levelname} " if record.levelno > logging.INFO else ""
        lines = self.format(record).splitlines()
        self.lines.extend(f"{at} {stage}: {level}{line}"[:LINE_LENGTH] for line in lines)


class Progress:
    """Keeps ``progress.json`` true while a run goes on, and measures each stage's peak memory.

    A thread beats every quarter of a second, so that memory and "updated" stay true during long silent steps. A write
    that fails there (a full disk) is raised at the next report of the stage. Another looks at the GPUs now and then:
    whoever reads the file needs neither torch nor nvidia-smi.
    """

    def __init__(self, run: Run, names: list[str], device: str, screen: Screen, path: Path | None = None):
        self.path = path or run.path("progress.json")
        self.run, self.screen, self.meter, self.message = run, screen, Meter(), ""
        self.state, self.stage, self.device, self.started = "running", "", device, now()
        self.stages: dict[str, dict[str, Any]] = {n: {"name": n, "state": "waiting", "seconds": None} for n in names}
        self.peak, self._began, self._written, self._failure = 0, 0.0, 0.0, None
        self._max_at_start = 0
        self._lock, self._over = threading.Lock(), threading.Event()
        self.log, self.gpus, self.cores = LastLines(), [], 0.0
        self._process = psutil.Process()
        self._threads = [
            threading.Thread(target=f, name=f"progress {f.__name__}", daemon=True)
            for f in (self._beat, self._look_at_gpus)
        ]

    def __enter__(self) -> Progress:
        self.write()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self.screen.close()

    def _beat(self) -> None:
        while not self._over.wait(WATCH_EVERY):
            self.peak = max(self.peak, self.memory())
            if time.monotonic() - self._written > 2 * FILE_EVERY:
                try:
                    self.write()
                except OSError as e:
                    self._failure = e

    def _look_at_gpus(self) -> None:
        spent, at = self._spent(), time.monotonic()
        while True:
            self.gpus = [gpu.as_json() for gpu in gpus()]
            if self._over.wait(GPU_EVERY):
                return
            before, since = spent, at
            spent, at = self._spent(), time.monotonic()
            self.cores = max(0.0, spent - before) / (at - since)  # less than none where a helper has ended

    def memory(self) -> int:
        """Bytes resident, of this process and those that share its stages."""
        return sum(_asked(lambda p=p: p.memory_info().rss) for p in self._all())

    def _spent(self) -> float:
        """Processor time in seconds, of this process and those that share its stages."""
        return sum(_asked(lambda p=p: sum(p.cpu_times()[:2])) for p in self._all())

    def _all(self) -> list[psutil.Process]:
        return [self._process, *self._process.children()]

    def mark(self, stage: str, state: str, seconds: float | None = None) -> None:
        self.stages[stage].update(state=state, seconds=None if seconds is None else round(seconds, 2))

    def begin(self, stage: str, resumed: bool) -> None:
        self.stage, self.meter, self.message = stage, Meter(), ""
        self._began = time.monotonic()
        self.peak, self._max_at_start = self.memory(), _max_rss()
        self.mark(stage, "running")
        self.screen.start(stage, resumed)
        self.write()

    def report(self, done: int, total: int, unit: str, message: str) -> None:
        """Called by the stage; writes the file at most twice a second."""
        if self._failure:
            failure, self._failure = self._failure, None
            raise failure
        self.meter.update(done, total, unit)
        self.message = message
        self.screen.update(self.meter, message)
        if time.monotonic() - self._written >= FILE_EVERY or done >= total:
            self.write()

    def peak_memory(self) -> int:
        """Most bytes resident during the stage: exact where one process set its record, else by samples."""
        peak = _max_rss()
        sampled = max(self.peak, self.memory())
        return max(peak, sampled) if peak > self._max_at_start else sampled

    def end(self, state: str, message: str) -> None:
        """The whole run is over: "done", "failed" or "stopped"."""
        self.state, self.message = state, message
        for stage in self.stages.values():
            if stage["state"] == "running":
                stage["state"] = state
        self.write()

    def write(self) -> None:
        with self._lock:
            self._written = time.monotonic()
            for stage in self.stages.values():
                if stage["state"] == "running":
                    stage["seconds"] = round(time.monotonic() - self._began, 2)
            write_json(
                self.path,
                {
                    "run": self.run.name,
                    "stage": self.stage,
                    "state": self.state,
                    "done": self.meter.done,
                    "total": self.meter.total,
                    "unit": self.meter.unit,
                    "rate": self.meter.rate,
                    "eta_seconds": self.meter.eta if self.state == "running" else None,
                    "started": self.started,
                    "updated": now(),
                    "pid": os.getpid(),
                    "device": self.device,
                    "memory_bytes": self.memory(),
                    "cores": round(self.cores, 2),
                    "gpus": self.gpus,
                    "message": self.message,
                    "log": list(self.log.lines),
                    "stages": list(self.stages.values()),
                },
            )


def _asked(ask: Callable[[], float]) -> Any:
    """The answer, 0 of a process that has just ended."""
    try:
        return ask()
    except psutil.Error:
        return 0


def _max_rss() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _StrictFileHandler(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        raise  # a full disk while logging ends the stage like any other


@contextmanager
def stage_log(run: Run, stage: str, *more: logging.Handler):
    """The logger of a stage, writing to ``<run>/logs/<stage>.log`` and to ``more`` handlers."""
    run.path("logs").mkdir(parents=True, exist_ok=True)
    log = logging.getLogger(f"captionscope.{stage}")
    log.setLevel(logging.INFO)
    log.propagate = False
    model_log = logging.getLogger("captionscope.model")  # what core.vlm says of itself
    handler = _StrictFileHandler(run.path("logs", f"{stage}.log"), encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    both = [(each, h) for each in (log, model_log) for h in (handler, *more)]
    for each, h in both:
        each.addHandler(h)
    try:
        yield log
    finally:
        for each, h in both:
            each.removeHandler(h)
        handler.close()
