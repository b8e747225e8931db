"""Matching the features of two dictionaries: candidates block by block, mutual nearest neighbours, optimal assignment.

Dictionaries trained apart share no numbering, so that features are matched by what they do (correlation over the same
images) or by where they point (decoder cosine). Dense features x features is held for blocks of rows only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array, csc_array, csr_array, diags_array, hstack
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

N_CANDIDATES = 16  # kept for each feature of either side
BLOCK_ROWS = 512
EXACT = 2048 * 2048  # up to so many pairs the assignment is solved over all of them
Block = tuple[int, NDArray]  # first row, similarities (rows, n_b)


class Candidates(NamedTuple):
    """Similarities kept, (n_a, n_b) sparse: the best few of each row and column, or all. Best of every row, column."""

    kept: csr_array
    row_best: NDArray
    column_best: NDArray


class Pairs(NamedTuple):
    """Matched features: positions in either list and their similarity."""

    a: NDArray
    b: NDArray
    similarity: NDArray


def correlation_blocks(a: csc_array, b: csc_array) -> Iterator[Block]:
    """Pearson correlations over images of all columns of a (n_images, n_a) with all of b; constant columns give 0."""
    n, rows = a.shape[0], csr_array(b)
    mean_a, scale_a = _mean_and_scale(a)
    mean_b, scale_b = _mean_and_scale(b)
    for first in range(0, a.shape[1], BLOCK_ROWS):
        last = min(first + BLOCK_ROWS, a.shape[1])
        block = (csr_array(a[:, first:last].T) @ rows).toarray().astype(np.float32)
        block -= np.outer(n * mean_a[first:last], mean_b).astype(np.float32)
        block *= scale_a[first:last, None]
        block *= scale_b[None, :]
        yield first, block


def cosine_blocks(a: NDArray, b: NDArray) -> Iterator[Block]:
    """Cosines of the rows of a (n_a, d_model) with those of b."""
    a, b = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in (a, b))
    for first in range(0, len(a), BLOCK_ROWS):
        yield first, np.asarray(a[first : first + BLOCK_ROWS] @ b.T, np.float32)


def candidates(blocks: Iterator[Block], n_a: int, n_b: int) -> Candidates:
    """The best of each row and column; all pairs where there are few."""
    everything = n_a * n_b <= EXACT
    row_best, column_best = np.full(n_a, -np.inf, np.float32), np.full(n_b, -np.inf, np.float32)
    parts: list[tuple[NDArray, NDArray, NDArray]] = []
    best_rows = np.zeros((0, n_b), np.int32)
    best_values = np.zeros((0, n_b), np.float32)
    for first, block in blocks:
        rows = np.arange(first, first + len(block), dtype=np.int32)
        row_best[rows], column_best = block.max(1), np.maximum(column_best, block.max(0))
        width = n_b if everything else min(N_CANDIDATES, n_b)
        chosen = np.argpartition(-block, width - 1, axis=1)[:, :width]
        parts.append((np.repeat(rows, width), chosen.ravel(), np.take_along_axis(block, chosen, 1).ravel()))
        if not everything:
            best_values, best_rows = _best_of_columns(best_values, best_rows, block, rows)
    if not everything:
        columns = np.broadcast_to(np.arange(n_b), best_rows.shape)
        parts.append((best_rows.ravel(), columns.ravel(), best_values.ravel()))
    row, column, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    _, first_seen = np.unique(row.astype(np.int64) * n_b + column, return_index=True)
    positive = first_seen[value[first_seen] > 0]
    kept = coo_array((value[positive], (row[positive], column[positive])), shape=(n_a, n_b)).tocsr()
    return Candidates(kept, row_best, column_best)


def mutual_nearest(found: Candidates) -> Pairs:
    """Pairs of which each is the other's best, the best being above 0."""
    kept = found.kept.tocoo()
    row, column = kept.coords
    both = (kept.data >= found.row_best[row]) & (kept.data >= found.column_best[column])
    order = np.lexsort((column[both], row[both]))
    row, column, value = row[both][order], column[both][order], kept.data[both][order]
    _, first = np.unique(row, return_index=True)  # ties: the lowest number
    row, column, value = row[first], column[first], value[first]
    _, first = np.unique(column, return_index=True)
    first = np.sort(first)
    return Pairs(row[first], column[first], value[first])


def optimal_assignment(found: Candidates) -> tuple[Pairs, float]:
    """One-to-one pairs of the largest sum of similarities among the candidates, and a bound on how good that is.

    The bound: their sum over min(sum of row bests, sum of column bests), which no assignment over all pairs exceeds; 1
    is proven optimal. Features without a positive candidate stay alone.
    """
    n_a, n_b = found.kept.shape
    if n_a * n_b <= EXACT:
        dense = found.kept.toarray()
        row, column = linear_sum_assignment(dense, maximize=True)
        value = dense[row, column]
    else:
        row, column, value = _sparse_assignment(found.kept)
    real = value > 0
    most = min(np.maximum(found.row_best, 0).sum(), np.maximum(found.column_best, 0).sum())
    bound = float(value[real].sum() / most) if most > 0 else float("nan")
    return Pairs(row[real], column[real], value[real]), min(bound, 1.0)


def pair_correlations(a: csc_array, b: csc_array, pairs: Pairs, counts: NDArray | None = None) -> NDArray:
    """Correlation over images of each matched pair, (n_pairs,), or (n_draws, n_pairs) with bootstrap ``counts``."""
    weights = np.ones((1, a.shape[0]), np.float32) if counts is None else counts.astype(np.float32)
    n = weights.sum(1, keepdims=True)
    x, y = a[:, pairs.a], b[:, pairs.b]

    def total(columns: csc_array) -> NDArray:
        return (csr_array(columns.T) @ weights.T).T.astype(np.float64)

    sx, sy = total(x), total(y)
    xy, xx, yy = (total(csc_array(p.multiply(q))) for p, q in ((x, y), (x, x), (y, y)))
    covariance, spread = xy - sx * sy / n, (xx - sx**2 / n) * (yy - sy**2 / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(spread > 1e-12 * xx * yy, covariance / np.sqrt(np.maximum(spread, 0)), 0.0)
    return correlation[0] if counts is None else correlation


def _mean_and_scale(codes: csc_array) -> tuple[NDArray, NDArray]:
    """Mean and 1 / (standard deviation * sqrt(n)) of each column; scale 0 where a column is constant."""
    n = codes.shape[0]
    mean = np.asarray(codes.sum(axis=0), np.float64).ravel() / n
    square = np.asarray(codes.multiply(codes).sum(axis=0), np.float64).ravel()
    spread = square - n * mean**2
    scale = np.zeros(len(mean), np.float32)
    varies = spread > 1e-9 * square
    scale[varies] = 1 / np.sqrt(spread[varies])
    return mean, scale


def _best_of_columns(values: NDArray, rows: NDArray, block: NDArray, numbers: NDArray) -> tuple[NDArray, NDArray]:
    """The best of each column, of those so far and of another block."""
    some = min(N_CANDIDATES, len(block))
    chosen = np.argpartition(-block, some - 1, axis=0)[:some]
    values = np.concatenate([values, np.take_along_axis(block, chosen, 0)])
    rows = np.concatenate([rows, numbers[chosen]])
    if len(values) > N_CANDIDATES:
        chosen = np.argpartition(-values, N_CANDIDATES - 1, axis=0)[:N_CANDIDATES]
        values, rows = np.take_along_axis(values, chosen, 0), np.take_along_axis(rows, chosen, 0)
    return values, rows


def _sparse_assignment(kept: csr_array) -> tuple[NDArray, NDArray, NDArray]:
    """The best assignment on the graph of the candidates; a dummy column of value 0 for each row lets it stay alone."""
    n_a, n_b = kept.shape
    cost = kept.copy()
    cost.data = 2.0 - cost.data.astype(np.float64)  # above 0: an explicit 0 would be no edge
    graph = hstack([cost, diags_array(np.full(n_a, 2.0))], format="csr")
    row, column = min_weight_full_bipartite_matching(graph)
    real = column < n_b
    row, column = row[real], column[real]
    return row, column, np.asarray(kept[row, column]).ravel()
