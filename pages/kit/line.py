"""The line before the one model: whoever came first writes first, and everybody sees how far the line has moved."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WAIT = 0.15  # seconds between two looks


class Line:
    """A lock that is fair and says who is where; number 1 has the model."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._tickets: list[object] = []

    def __len__(self) -> int:
        """How many have the model or wait for it."""
        with self._moved:
            return len(self._tickets)

    @contextmanager
    def turn(self, waiting: Callable[[int, float], None]) -> Iterator[None]:
        """Hold the model; until it is free ``waiting(place, seconds)`` is called again and again, place 2 being next.

        It may raise to leave the line, which then closes up.
        """
        ticket, waited = object(), 0.0
        with self._moved:
            self._tickets.append(ticket)
        try:
            while (place := self._look(ticket)) > 1:
                waited += WAIT
                waiting(place, waited)
            yield
        finally:
            with self._moved:
                self._tickets.remove(ticket)
                self._moved.notify_all()

    def _look(self, ticket: object) -> int:
        """The place in line, after at most WAIT seconds, at once where it is the first."""
        with self._moved:
            self._moved.wait_for(lambda: self._tickets[0] is ticket, timeout=WAIT)
            return self._tickets.index(ticket) + 1
