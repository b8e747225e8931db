"""Areas of a picture's map of patches: whole kinds, windows of one size in each kind, and random places for an area."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import product

import numpy as np
from numpy.typing import NDArray

MOSTLY = 0.5  # of a patch, to count as the person's or the object's
BARE = 0.9  # of a patch, to count as background: what is hidden there must not be a rim of the person
Area = tuple[int, ...]
"""Row-major numbers of patches, ascending."""
Shares = Mapping[str, NDArray[np.float64]]
"""By kind (person, object, background) its share of each patch, as of core.samples.areas.by_kind."""


def area_of(shares: Shares, kind: str) -> Area:
    """The patches that are of a kind; () where none is, or the kind is not known."""
    if kind not in shares:
        return ()
    return tuple(np.flatnonzero(shares[kind] >= (BARE if kind == "background" else MOSTLY)).tolist())


def windows(shares: Shares, grid: tuple[int, int], seed: int | list[int]) -> dict[str, Area]:
    """A rectangle of one shape in each of person, object and background: the largest that all three have room for.

    Where a kind has room for it at several places, one of these is drawn. {} where not all kinds are known, or one has
    not a single patch.
    """
    kinds = ("person", "object", "background")
    masks = {kind: np.isin(np.arange(grid[0] * grid[1]), area_of(shares, kind)).reshape(grid) for kind in kinds}
    rng = np.random.default_rng(seed)
    shapes = sorted(
        product(range(1, grid[0] + 1), range(1, grid[1] + 1)), key=lambda s: (-s[0] * s[1], abs(s[0] - s[1]))
    )
    for shape in shapes:
        places = {kind: _places(mask, shape) for kind, mask in masks.items()}
        if all(map(len, places.values())):
            drawn = {kind: found[rng.integers(len(found))] for kind, found in places.items()}
            return {kind: _rectangle(at, shape, grid[1]) for kind, at in drawn.items()}
    return {}


def _places(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Upper left corners (n, 2) of the rectangles of a shape that lie wholly in the mask."""
    total = np.pad(mask.astype(int), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    h, w = shape
    inside = total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w]
    return np.argwhere(inside == h * w)


def _rectangle(at: NDArray[np.int64], shape: tuple[int, int], columns: int) -> Area:
    rows, cols = np.arange(at[0], at[0] + shape[0]), np.arange(at[1], at[1] + shape[1])
    return tuple((rows[:, None] * columns + cols).ravel().tolist())


def moved(area: Collection[int], grid: tuple[int, int], n: int, seed: int | list[int]) -> list[Area]:
    """Up to ``n`` other places for an area, drawn at random, all different: same size, same shape.

    First those at which it lies whole on the map. Where fewer than ``n`` do, as with one that fills most of the map,
    what is pushed over an edge comes in again at the other (shifts on a torus), so that the size stays the same. The
    list is shorter than ``n`` where there are no more places, and empty for an area of everything or of nothing.
    """
    at = np.array(sorted(area), int)
    if not len(at):
        return []
    row, column = np.divmod(at, grid[1])
    rng, own = np.random.default_rng(seed), tuple(at.tolist())
    whole: dict[Area, None] = {}
    around: dict[Area, None] = {}
    for down, right in product(range(-int(row.min()), grid[0] - int(row.min())), range(grid[1])):
        right -= int(column.min())
        y, x = row + down, column + right
        fits = y.max() < grid[0] and x.max() < grid[1]
        (whole if fits else around).setdefault(tuple(sorted(((y % grid[0]) * grid[1] + x % grid[1]).tolist())))
    drawn: dict[Area, None] = {}
    for places in (whole, around):
        left = [place for place in places if place != own and place not in drawn]
        drawn |= dict.fromkeys(left[i] for i in rng.permutation(len(left))[: n - len(drawn)])
    return list(drawn)
