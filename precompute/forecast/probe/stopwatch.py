"""Time and peak memory of a piece of work on a device, measured a few times within a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch

LOOK_EVERY = 0.005  # seconds between two looks at the memory of the process
MOST = 3  # times that a piece of work is done, of which the quickest counts
T = TypeVar("T")


@dataclass
class Clock:
    """Knows the device and when the whole probe has to be over."""

    device: str
    ends: float  # time.monotonic()
    timer: Callable[[], float] = time.perf_counter  # time.process_time on one thread tells nothing of who else computes

    @property
    def left(self) -> float:
        """Seconds that are left, 0 at least."""
        return max(0.0, self.ends - time.monotonic())

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        elif self.device == "mps":
            torch.mps.synchronize()

    def time(self, work: Callable[[], T]) -> tuple[float, T]:
        """Seconds of one go, and what came of it."""
        self.wait()
        began = self.timer()
        found = work()
        self.wait()
        return self.timer() - began, found

    def best(self, work: Callable[[], object], share: float = 0.1) -> float:
        """Seconds of the quickest of a few goes, the first of which warms up; fewer where they take long.

        ``share`` is what part of the time left the further goes may take.
        """
        until = time.monotonic() + share * self.left
        first, _ = self.time(work)
        found = [first]
        while len(found) <= MOST and time.monotonic() + min(found) < until:
            found.append(self.time(work)[0])
        return min(found[1:] or found)


class Peak:
    """The most memory that is taken within the block, beyond what was taken before: ``bytes``.

    That of the device where it is CUDA, else of the process, looked at every 5 ms.
    """

    def __init__(self, device: str):
        self.device, self.bytes = device, 0

    def __enter__(self) -> Peak:
        if self.device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
            return self
        self._process, self._over = psutil.Process(), threading.Event()
        self._before = self._most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            self._most = max(self._most, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
            self.bytes = torch.cuda.max_memory_allocated() - self._before
            return
        self._over.set()
        self._thread.join()
        self.bytes = max(self._most, self._process.memory_info().rss) - self._before


def halve_until_it_fits(work: Callable[[int], T], n: int) -> tuple[int, T]:
    """``work(n)`` of the largest of n, n/2, ... that the device's memory holds; its error where 1 is too many."""
    while True:
        try:
            return n, work(n)
        except torch.OutOfMemoryError:
            if n <= 1:
                raise
            n //= 2
            torch.cuda.empty_cache()
