"""Ranks of sparse columns with their many equal zeros, and what follows from them: AUC, interval, Mann-Whitney's p."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.stats import norm

from core.intervals import wilson

Floats = NDArray[np.float64]


class SparseRanks(NamedTuple):
    """Average ranks (from 1) within each column, the zeros that are not stored included."""

    above: csc_array  # rank of each stored value less that of a zero, float64, in the structure of the values
    zero: Floats  # (n_columns,) rank of a zero
    ties: Floats  # (n_columns,) sum of t^3 - t over groups of t equal values


class Groups(NamedTuple):
    """Which rows are women and which men; the others count for nothing."""

    female: NDArray[np.bool_]
    male: NDArray[np.bool_]


def take_rows(x: csc_array, place: NDArray[np.integer], n_rows: int) -> csc_array:
    """Row i of ``x`` becomes row ``place[i]`` of the result (n_rows, n_columns), or is left out where that is -1."""
    rows = place[x.indices]
    kept = rows >= 0
    indptr = np.concatenate([[0], np.cumsum(kept)])[x.indptr]
    return csc_array((x.data[kept], rows[kept], indptr), shape=(n_rows, x.shape[1]))


def select_rows(x: csc_array, chosen: NDArray[np.bool_]) -> csc_array:
    """The rows where ``chosen`` (n_rows,) holds, in their order."""
    place = np.where(chosen, np.cumsum(chosen) - 1, -1).astype(np.int32)
    return take_rows(x, place, int(chosen.sum()))


def sparse_ranks(x: csc_array) -> SparseRanks:
    """Ranks of every column of ``x`` (n, n_columns) float32; stored values must be positive, else ValueError."""
    if x.data.size and not x.data.min() > 0:
        raise ValueError("Ranks are taken of columns whose stored values are all positive.")
    n_columns, stored = x.shape[1], np.diff(x.indptr)
    column = np.repeat(np.arange(n_columns), stored)
    # positive floats are in the order of their bits: one sort by column, then value
    key = (column.astype(np.uint64) << np.uint64(32)) | x.data.astype(np.float32).view(np.uint32)
    order = np.argsort(key)
    key = key[order]
    first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else np.zeros(0, np.int64)
    size = np.diff(np.concatenate([first, [len(key)]]))
    zeros = (x.shape[0] - stored).astype(float)
    zero = (zeros + 1) / 2
    # the place in the whole sorted list, less the places of the columns before, plus this column's zeros
    rank = np.empty(len(key))
    rank[order] = np.repeat(first + (size + 1) / 2, size)
    rank += np.repeat(zeros - x.indptr[:-1] - zero, stored)
    ties = np.bincount(column[order[first]], weights=size.astype(float) ** 3 - size, minlength=n_columns)
    return SparseRanks(csc_array((rank, x.indices, x.indptr), shape=x.shape), zero, ties + zeros**3 - zeros)


def auc_and_p(ranks: SparseRanks, female: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Chance that a woman's value is above a man's (n_columns,), ties counting half, and Mann-Whitney's two-sided p.

    All rows are one or the other. Normal approximation with corrections for ties and continuity, as in
    ``scipy.stats.mannwhitneyu(method="asymptotic")``; NaN p where all values are equal.
    """
    n, n_female = len(female), int(female.sum())
    n_male = n - n_female
    auc = auc_of_weights(ranks, female[None].astype(float))[0]
    u = auc * n_female * n_male
    excess = np.maximum(u, n_female * n_male - u) - n_female * n_male / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(n_female * n_male / 12 * (n + 1 - ranks.ties / (n * (n - 1))))
        p = 2 * norm.sf((excess - 0.5) / spread)
    return auc, np.where(spread > 0, np.minimum(p, 1.0), np.nan)


def auc_of_weights(ranks: SparseRanks, female: Floats) -> Floats:
    """AUC (n_draws, n_columns) of several divisions of the rows at once; ``female`` (n_draws, n) is 1 for women."""
    n_female = female.sum(1)
    n_male = female.shape[1] - n_female
    rank_sum = n_female[:, None] * ranks.zero + (ranks.above.T @ female.T).T
    return (rank_sum - (n_female * (n_female + 1) / 2)[:, None]) / (n_female * n_male)[:, None]


def auc_interval(x: csc_array, female: NDArray[np.bool_], auc: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Interval of the AUC (n_columns,) with rows as the units (DeLong, DeLong and Clarke-Pearson 1988, eq. 5).

    Where women and men are perfectly apart that variance is 0; the interval then is Wilson's of a share of all in as
    many images as the smaller group has.
    """
    ranks = sparse_ranks(x)
    is_female = female[x.indices]
    variance = np.zeros(x.shape[1])
    groups = ((female, is_female), (~female, ~is_female))
    for (own, stored), (other, _) in (groups, groups[::-1]):
        n_own, n_other = int(own.sum()), int(other.sum())
        within = sparse_ranks(select_rows(x, own))
        # share of the others that each value of this group is above
        base = (ranks.zero - within.zero) / n_other
        over = ((ranks.above.data[stored] - within.above.data) / n_other) + _spread(base, within.above)
        column = np.repeat(np.arange(x.shape[1]), np.diff(within.above.indptr))
        n_zeros = n_own - np.diff(within.above.indptr)
        mean = (np.bincount(column, over, x.shape[1]) + n_zeros * base) / n_own
        squares = np.bincount(column, (over - mean[column]) ** 2, x.shape[1]) + n_zeros * (base - mean) ** 2
        variance += squares / (n_own - 1) / n_own
    half = norm.ppf(0.5 + level / 2) * np.sqrt(variance)
    low, high = np.clip(auc - half, 0, 1), np.clip(auc + half, 0, 1)
    n_least = min(int(female.sum()), int((~female).sum()))
    sure = float(wilson(n_least, n_least, level)[0])
    return np.where(auc == 1, sure, low), np.where(auc == 0, 1 - sure, high)


def _spread(by_column: Floats, x: csc_array) -> Floats:
    """A value of each column, for each stored entry."""
    return np.repeat(by_column, np.diff(x.indptr))
