"""The sentences that pages answer their questions with, written from the tables: one file a topic, as in core.figures.

Each says its n, its interval and what chance or the control gives, and carries a mark for how sure it is. What it
claims is named by ids (``says``), and a claim that simulated worlds have shown to be made too often where it is false
is not marked "supported" (core.claims).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from core.claims import AT_MOST, MIN_WORLDS, RATES, Rate
from core.intervals import told

NEARLY_SAME = 0.8  # an agreement over its ceiling whose whole interval lies above is called the same
CLAIMS: dict[str, Callable[..., Answer]] = {}
"""Claim -> the function that makes it, unweighed, for the scoreboard; filled as the topics are imported."""


@dataclass(frozen=True)
class Answer:
    """A sentence and its mark: "supported", "unclear", "one example" (a description of it) or "not enough data".

    ``claims``: ids of what it asserts. ``note``: how often such a sentence is wrong where there is nothing.
    """

    text: str
    sure: str
    claims: tuple[str, ...] = ()
    note: str = ""


def says(*claims: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Names what a function may claim. One claim is made whenever the answer is "supported"; a function that may make
    several puts those it makes into ``Answer.claims``."""

    def named(write: Callable[..., Answer]) -> Callable[..., Answer]:
        @functools.wraps(write)
        def weighed(*args: Any, **kwargs: Any) -> Answer:
            return weigh(made(write(*args, **kwargs), claims), RATES)

        CLAIMS.update(dict.fromkeys(claims, functools.wraps(write)(lambda *a, **k: made(write(*a, **k), claims))))
        return weighed

    return named


def made(answer: Answer, claims: tuple[str, ...]) -> Answer:
    """With the claims that it makes, of those that its function may make; ValueError for one that is not among them."""
    if unknown := set(answer.claims) - set(claims):
        raise ValueError(f"{sorted(unknown)} is claimed and not named by the function, which may claim {claims}.")
    if len(claims) == 1 and not answer.claims and answer.sure == "supported":
        return replace(answer, claims=claims)
    return answer


def weigh(answer: Answer, rates: dict[str, Rate]) -> Answer:
    """With the rate of the worst of its claims as its note; no longer "supported" where that is above AT_MOST, nor
    where it rests on fewer than MIN_WORLDS worlds or was not measured."""
    known = [rates[claim] for claim in answer.claims if claim in rates]
    few = len(known) < len(answer.claims) or any(rate.worlds < MIN_WORLDS for rate in known)
    worst = max(known, key=lambda rate: (rate.too_high, rate.share), default=None)
    if answer.sure == "supported" and few and not (worst and worst.too_high):
        seen = f"{worst.told()}: too few" if worst else "How often such a sentence is wrong was not measured: none"
        return replace(answer, sure="unclear", note=f"{seen} to call it supported.")
    if worst is None:
        return answer
    if answer.sure == "supported" and worst.too_high:
        return replace(
            answer,
            sure="unclear",
            note=f"{worst.told()}, more than the {AT_MOST:.0%} up to which it is called supported.",
        )
    return replace(answer, note=f"{worst.told()}.")


def within(row: Mapping[Any, Any], name: str = "value", null: float = 0.0, form: str = ".2f") -> str:
    """A number of a row with its interval: the columns value, low and high, or name, name_low and name_high."""
    low, high = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    return told(float(row[name]), float(row[low]), float(row[high]), null, form)
