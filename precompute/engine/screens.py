"""What a person sees while a run goes on: one live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from typing import Protocol

from precompute.engine.progress import Meter, show_time

PLAIN_EVERY = 15.0  # seconds


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
