"""Counts in how many worlds each claim is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from zlib import crc32

import numpy as np

from core.answers import CLAIMS
from core.claims import Row
from core.scoreboard.worlds import Size, World

QUICK = 4  # times fewer worlds


def measure(
    worlds: Iterable[World], seed: int = 0, quick: bool = False, progress: Callable[[str], None] = lambda _: None
) -> Iterator[Row]:
    """Rows of all worlds and sizes. A cell has its own stream of numbers, so that it does not depend on the others."""
    for world in worlds:
        progress(f"{world.topic}: {world.name}")
        for size in world.sizes:
            n_worlds = world.n_worlds(size)
            n_worlds = max(8, n_worlds // QUICK) if quick else n_worlds
            hits = count(world, size, n_worlds, seed)
            for claim in world.claims:
                cell = (world.topic, claim, world.kind, world.name, size.n, size.d, size.layers)
                yield Row(*cell, n_worlds, hits[claim])


def count(world: World, size: Size, n_worlds: int, seed: int) -> dict[str, int]:
    """In how many of ``n_worlds`` each claim of the world is made, or holds the truth."""
    hits = dict.fromkeys(world.claims, 0)
    stream = [seed, crc32(f"{world.topic} {world.name}".encode()), size.n, size.d, size.layers]
    for number in range(n_worlds):
        drawn = world.tables(np.random.default_rng([*stream, number]), size)
        if world.kind == "interval":
            low, high, truth = drawn
            hits[world.claims[0]] += bool(low <= truth <= high)
            continue
        said = CLAIMS[world.claims[0]](*drawn).claims
        for claim in world.claims:
            hits[claim] += claim in said
    return hits
