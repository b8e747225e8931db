"""Bias amplification: whether captions tie gender to a role (or another attribute) more than the references do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.bias.agreement import Measured, not_enough
from core.intervals import percentile_interval, resampled_counts

GENDERS = ("male", "female")
METRICS = ("amplification_zhao", "amplification_directional")


@dataclass(frozen=True)
class Corpus:
    """What the training side says: for each group and gender its share (n_groups, 2), and the shares overall (2,)."""

    groups: tuple[str, ...]
    given_group: np.ndarray
    overall: np.ndarray


def corpus(counts: pd.DataFrame, value: pd.Series) -> Corpus:
    """Shares of male and female among the references of each group; groups without any are left out."""
    value = value.reindex(counts.index).dropna()
    sums = counts.loc[value.index, list(GENDERS)].groupby(value).sum()
    sums = sums[sums.sum(axis=1) > 0]
    given = sums.to_numpy(float)
    overall = given.sum(0) / max(1.0, given.sum())
    return Corpus(tuple(sums.index), given / given.sum(1, keepdims=True), overall)


def zhao(own: np.ndarray, reference: np.ndarray, known: Corpus) -> np.ndarray:
    """Mean over groups of the rise of P(g | group) for the gender that the corpus favours there (its share > 1/2).

    ``own`` and ``reference`` (..., n_groups, 2) shares of captions and references on the same images; (...) back. A
    group that the corpus splits evenly adds 0. Zhao et al. (2017), arXiv 1707.09457.
    """
    favoured = known.given_group > 1 / len(GENDERS)
    rise = np.where(favoured, own - reference, 0.0).sum(-1)
    return np.nanmean(rise, axis=-1)


def directional(own: np.ndarray, reference: np.ndarray, known: Corpus) -> np.ndarray:
    """BiasAmp from task (group) to attribute (gender): mean over both of y d - (1 - y) d, d = rise of P(g | group).

    y is 1 where the corpus joins gender and group more often than independence would. Wang and Russakovsky
    (2021), arXiv 2102.12594.
    """
    joined = known.given_group > known.overall
    rise = np.where(joined, 1.0, -1.0) * (own - reference)
    return np.nanmean(rise.mean(-1), axis=-1)


def amplification(
    own: pd.DataFrame,
    reference: pd.DataFrame,
    value: pd.Series,
    known: Corpus,
    n_draws: int,
    seed: int,
    min_images: int,
) -> dict[str, Measured]:
    """Both metrics, with intervals from a bootstrap over images.

    ``own`` and ``reference`` are image counts of captions that name each gender (columns male and female) on the same
    held-out images; ``known`` comes from other images, so that what is favoured is not chosen on the noise that is
    measured. Control: the captions dealt out anew over the images, as of a model that ignores the group.
    """
    both = own.index.intersection(reference.index)
    value = value.reindex(both).dropna()
    value = value[value.isin(known.groups)]
    mine = own.loc[value.index, list(GENDERS)].to_numpy(float)
    theirs = reference.loc[value.index, list(GENDERS)].to_numpy(float)
    n = int(((mine.sum(1) > 0) & (theirs.sum(1) > 0)).sum())
    if n < min_images or len(known.groups) < 2:
        why = f"{n} images with a gender in caption and reference; {min_images} are needed"
        return dict.fromkeys(METRICS, not_enough(n, why))
    member = (value.to_numpy()[:, None] == np.asarray(known.groups)).astype(float)
    weights = np.vstack([np.ones((1, len(value))), resampled_counts(len(value), n_draws, [seed, 0])])
    rng = np.random.default_rng([seed, 1])
    dealt = mine[rng.permuted(np.tile(np.arange(len(mine)), (n_draws, 1)), axis=1)]
    flat, by_chance = (
        _shares(weights[:1], theirs, member),
        _normalised(np.stack([dealt[:, :, g] @ member for g in range(len(GENDERS))], axis=-1)),
    )
    result = {}
    for name, metric in zip(METRICS, (zhao, directional), strict=True):
        drawn = metric(_shares(weights, mine, member), _shares(weights, theirs, member), known)
        chance = metric(by_chance, flat, known)
        low, high = percentile_interval(drawn[1:])
        control_low, control_high = percentile_interval(chance)
        result[name] = Measured(
            float(drawn[0]), float(low), float(high), n, float(chance.mean()), float(control_low), float(control_high)
        )
    return result


def _shares(weights: np.ndarray, counts: np.ndarray, member: np.ndarray) -> np.ndarray:
    """P(gender | group) (n_draws, n_groups, 2) of weighted images; NaN where a group names none in a draw."""
    return _normalised(np.stack([weights @ (counts[:, [g]] * member) for g in range(len(GENDERS))], axis=-1))


def _normalised(sums: np.ndarray) -> np.ndarray:
    total = sums.sum(-1, keepdims=True)
    return np.divide(sums, total, out=np.full_like(sums, np.nan), where=total > 0)
