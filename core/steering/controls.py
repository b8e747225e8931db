"""Matched controls: live features that fire as often and write as much as those that are edited, one for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.steering.request import FeatureEdit

if TYPE_CHECKING:
    from core.sae.modules import SAE

N_NEAREST = 12  # candidates among which each partner is drawn, as long as so many are free


@dataclass(frozen=True)
class Candidates:
    """What features are matched on, each (d_sae,): share of tokens on which it fires, length of its decoder row, its
    mean activation where it fires (what it writes is that times the row), and whether it is alive."""

    density: NDArray[np.float64]
    norm: NDArray[np.float64]
    mean: NDArray[np.float64]
    alive: NDArray[np.bool_]

    @classmethod
    def of_layer(cls, features: pd.DataFrame, layer: int, norm: NDArray[np.float64]) -> Candidates:
        """All features of a layer: ``features`` has columns layer, feature, density, mean and alive; ``norm``
        (d_sae,)."""
        mine = features.loc[features["layer"] == layer].sort_values("feature")
        density, mean = (mine[name].to_numpy().astype(float) for name in ("density", "mean"))
        return cls(density, norm, mean, mine["alive"].to_numpy().astype(bool))

    @property
    def places(self) -> NDArray[np.float64]:
        """(d_sae, 3): log firing rate, log norm and log mean activation in units of their spread over live features."""
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(np.column_stack([self.density, self.norm, self.mean]))
        spread = np.nanstd(np.where(self.alive[:, None], values, np.nan), axis=0)
        return values / np.where(spread > 1e-6, spread, np.inf)  # where all are alike there is nothing to match

    def outside(self, features: Sequence[int]) -> NDArray[np.int64]:
        """The living features that can be matched, but ``features``."""
        free = self.alive & np.isfinite(self.places).all(1)
        free[list(features)] = False
        return np.flatnonzero(free)


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
    places, pool = candidates.places, candidates.outside([*target, *avoid])
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


def uniform_sets(
    target: Sequence[int], candidates: Candidates, n_sets: int, seed: int | list[int], avoid: Sequence[int] = ()
) -> Matched:
    """The same with nothing matched: each partner is any other live feature, all alike likely, as in published work.

    They avoid what ``matched_sets`` avoids, so that the two differ in the matching alone. Raises ValueError likewise.
    """
    places, pool = candidates.places, candidates.outside([*target, *avoid])
    if len(pool) < len(target):
        raise ValueError(f"{len(target)} features need as many others to be drawn beside them; there are {len(pool)}")
    wanted = np.nan_to_num(places[list(target)], posinf=0.0, neginf=0.0)
    start = np.atleast_1d(seed).tolist()
    features = np.stack([_drawn([*start, n], pool, len(target)) for n in range(n_sets)])
    return Matched(features, np.sqrt(((wanted[None] - places[features]) ** 2).sum(-1)))


def _drawn(seed: list[int], pool: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(pool)[:n]  # the first k of it are a draw of k


def decoder_norm(sae: SAE) -> NDArray[np.float64]:
    """The length of each feature's decoder row (d_sae,)."""
    return sae.W_dec.detach().float().norm(dim=1).cpu().numpy().astype(float)


def matched_controls(
    features: pd.DataFrame,
    edits: Sequence[FeatureEdit],
    norms: Callable[[int], NDArray[np.float64]],
    seed: int,
    mode: str = "add",
) -> tuple[FeatureEdit, ...]:
    """For each edited feature a control of its layer, pushed by the same amount; what is multiplied gets the factor.

    ``features`` has columns layer, feature, alive, density, mean and p999, a row for every feature of these layers;
    ``norms`` gives the length of each decoder row (d_sae,) of a layer. The same seed gives the same controls; a layer
    without as many others as are edited gives none.
    """
    found = []
    for layer in dict.fromkeys(edit.layer for edit in edits):
        own = [edit for edit in edits if edit.layer == layer]
        candidates = Candidates.of_layer(features, layer, norms(layer))
        if len(candidates.outside([edit.feature for edit in own])) < len(own):
            continue
        drawn = matched_sets([edit.feature for edit in own], candidates, 1, [seed, layer]).features[0]
        here = features.loc[features["layer"] == layer]
        p999 = dict(zip(here["feature"].tolist(), here["p999"].tolist(), strict=True))
        for edit, feature in zip(own, drawn.tolist(), strict=True):
            scale = p999[feature]
            strength = edit.strength if mode == "scale" else edit.push / scale if scale else 0.0
            found.append(FeatureEdit(layer, feature, strength, scale))
    return tuple(found)
