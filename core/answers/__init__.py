"""The sentences that pages answer their questions with, written from the tables: one file a topic, as in core.figures.

Each says its n, its interval and what chance or the control gives, and carries a mark for how sure it is.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """A sentence and its mark: "supported", "unclear" or "not enough data"."""

    text: str
    sure: str
