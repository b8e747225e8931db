"""Simulated worlds, one file a topic: tables of which it is known what may be said of them.

A world draws the tables that one function of core.answers reads, as far as it can through the same functions that make
them in a run, and says which claims are false in it and which are true. ``TOPICS`` are imported in ``all_worlds``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

OWN = ("alignment", "audit", "bias", "captions", "coverage", "explain", "feature", "gender", "graph", "hiding")
OWN += ("interventions", "layers", "mechanisms", "nulls", "sae_fit")  # topics that have claims of their own
TOPICS = (*OWN, "dictionary")  # the last puts claims of gender and nulls to the test once more
N = (20, 50, 140, 400, 1000)
LANGS = ("en", "ar")
Tables = Callable[[np.random.Generator, "Size"], tuple[Any, ...]]


@dataclass(frozen=True)
class Size:
    """``n`` units (of each gender, where two are compared), ``d`` dimensions or features, ``layers`` at once."""

    n: int
    d: int = 0
    layers: int = 0


@dataclass(frozen=True)
class World:
    """``tables`` draws the arguments of the function that makes ``claims``; ``kind`` as in core.claims.Row.

    Of kind "interval" the function of the claim is not called: ``tables`` draws (low, high, truth).
    """

    topic: str
    name: str
    claims: tuple[str, ...]
    kind: str
    sizes: tuple[Size, ...]
    worlds: int
    tables: Tables
    thin: bool = False  # fewer worlds where there are many units, each of which takes long

    def n_worlds(self, size: Size) -> int:
        """Simulated worlds of a size."""
        return max(8, self.worlds * 140 // max(140, size.n)) if self.thin else self.worlds


WORLDS: list[World] = []


def world(
    kind: str, name: str, *claims: str, sizes: tuple[Size, ...], worlds: int = 200, thin: bool = False
) -> Callable[[Tables], Tables]:
    """Registers a world: what is so in it (``name``), and the claims that are false or true there."""

    def put(tables: Tables) -> Tables:
        topic = tables.__module__.rpartition(".")[2]
        WORLDS.append(World(topic, name, claims, kind, sizes, worlds, tables, thin))
        return tables

    return put


def along(ns: tuple[int, ...] = N, ds: tuple[int, ...] = (), layers: tuple[int, ...] = (), at: Size | None = None):
    """Sizes along n with the rest as in ``at``, then along d and along layers with the rest as in ``at``."""
    base = at or Size(140)
    found = [Size(n, base.d, base.layers) for n in ns]
    found += [Size(base.n, d, base.layers) for d in ds] + [Size(base.n, base.d, k) for k in layers]
    return tuple(dict.fromkeys(found))


def all_worlds() -> tuple[World, ...]:
    """Every world of every topic."""
    for topic in OWN:
        importlib.import_module(f"core.answers.{topic}")  # which names its claims
    for topic in TOPICS:
        importlib.import_module(f"{__name__}.{topic}")
    return tuple(WORLDS)
