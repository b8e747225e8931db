"""Control sets: live features that fire as often and write as much as those of the target set, matched one to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_NEAREST = 12  # candidates among which each partner is drawn, as long as so many are free


@dataclass(frozen=True)
class Candidates:
    """What features are matched on, each (d_sae,): share of tokens on which it fires, length of its decoder row, its
    mean activation where it fires (what it writes is that times the row), and whether it is alive."""

    density: NDArray[np.float64]
    norm: NDArray[np.float64]
    mean: NDArray[np.float64]
    alive: NDArray[np.bool_]

    @property
    def places(self) -> NDArray[np.float64]:
        """(d_sae, 3): log firing rate, log norm and log mean activation in units of their spread over live features."""
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(np.column_stack([self.density, self.norm, self.mean]))
        spread = np.nanstd(np.where(self.alive[:, None], values, np.nan), axis=0)
        return values / np.where(spread > 1e-6, spread, np.inf)  # where all are alike there is nothing to match


@dataclass(frozen=True)
class Matched:
    """Control sets (n_sets, k): partner i belongs to target feature i, so that the first k' partners match the first
    k' features. ``distance`` (n_sets, k) between partners, in spreads."""

    features: NDArray[np.int64]
    distance: NDArray[np.float64]


def matched_sets(
    target: Sequence[int], candidates: Candidates, n_sets: int, seed: int | list[int], avoid: Sequence[int] = ()
) -> Matched:
    """Draw ``n_sets`` control sets; within a set no feature stands twice, and none is in ``target`` or ``avoid``.

    Each feature, in order, gets one of its N_NEAREST free neighbours at random. Raises ValueError where there are fewer
    free live features than target features.
    """
    places = candidates.places
    outside = candidates.alive & np.isfinite(places).all(1)
    outside[list(target)] = False
    outside[list(avoid)] = False
    pool = np.flatnonzero(outside)
    if len(pool) < len(target):
        raise ValueError(f"{len(target)} features need as many others to be matched with; there are {len(pool)}")
    wanted = np.nan_to_num(places[list(target)], posinf=0.0, neginf=0.0)
    distance = np.sqrt(((wanted[:, None] - places[pool][None]) ** 2).sum(-1))
    order = np.argsort(distance, axis=1, kind="stable")
    features = np.empty((n_sets, len(target)), np.int64)
    apart = np.empty((n_sets, len(target)))
    for number in range(n_sets):
        rng = np.random.default_rng([*np.atleast_1d(seed).tolist(), number])
        free = np.ones(len(pool), bool)
        for i in range(len(target)):
            near = order[i][free[order[i]]][:N_NEAREST]
            chosen = int(near[rng.integers(len(near))])
            free[chosen] = False
            features[number, i], apart[number, i] = pool[chosen], distance[i, chosen]
    return Matched(features, apart)
