"""Where features lie to each other: nearest neighbours by the cosine of their decoder directions, and a map of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BLOCK_ELEMENTS = 1 << 24  # cosines at once (64 MiB in float32)
MAP_NEIGHBOURS = 15  # the point itself included, as umap-learn counts
MAP_EPOCHS = 200
FEWEST_FOR_UMAP = 10


class Neighbours(NamedTuple):
    """Nearest other features (n, k) as positions among the given rows, and their cosines, nearest first."""

    index: np.ndarray
    cosine: np.ndarray


@torch.no_grad()
def neighbours(directions: Tensor, k: int, progress: Callable[[int, int], None] | None = None) -> Neighbours:
    """The k other rows of ``directions`` (n, d_model) with the largest cosine to each; fewer where n - 1 < k.

    Works in blocks of rows, so that n x n cosines are never held.
    """
    n = len(directions)
    k = max(0, min(k, n - 1))
    unit = torch.nn.functional.normalize(directions.float(), dim=1)
    block = max(1, BLOCK_ELEMENTS // max(1, n))
    index, cosine = [np.zeros((0, k), np.int64)], [np.zeros((0, k), np.float32)]
    for start in range(0, n, block):
        near = unit[start : start + block] @ unit.T
        rows = torch.arange(len(near), device=near.device)
        near[rows, rows + start] = -torch.inf
        top = near.topk(k, dim=1)
        index.append(top.indices.cpu().numpy())
        cosine.append(top.values.clamp(-1, 1).cpu().numpy())
        if progress:
            progress(min(start + block, n), n)
    return Neighbours(np.concatenate(index), np.concatenate(cosine))


def feature_map(directions: Tensor, near: Neighbours, seed: int) -> np.ndarray:
    """Places (n, 2) of decoder directions in the plane, near ones together; NaN where there are fewer than two.

    UMAP (McInnes, Healy and Melville 2018; umap-learn) on cosine distance, from the exact neighbours found already, so
    that its approximate search is not needed; ``near`` should hold at least MAP_NEIGHBOURS - 1 of each row (or all).
    Fixed seed and one thread: the same input gives the same map. With fewer than FEWEST_FOR_UMAP rows it is the two
    first principal components of the unit vectors.
    """
    n = len(directions)
    if n < 2:
        return np.full((n, 2), np.nan, np.float32)
    unit = torch.nn.functional.normalize(directions.float(), dim=1).cpu().numpy()
    if n < FEWEST_FOR_UMAP:
        return _principal(unit)
    import umap  # takes seconds, and its first use compiles for seconds more

    k = min(MAP_NEIGHBOURS - 1, near.index.shape[1], n - 2)
    index = np.concatenate([np.arange(n)[:, None], near.index[:, :k]], axis=1).astype(np.int32)
    distance = np.concatenate([np.zeros((n, 1)), 1 - near.cosine[:, :k]], axis=1).astype(np.float32)
    # the neighbours of n < 4096 rows are taken from us only if it is told to approximate
    reducer = umap.UMAP(
        n_neighbors=k + 1,
        min_dist=0.1,
        metric="cosine",
        n_epochs=MAP_EPOCHS,
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(index, distance, None),
        force_approximation_algorithm=True,
    )
    n_threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="precomputed_knn", category=UserWarning)  # no rows come later
            return np.asarray(reducer.fit_transform(unit), np.float32)
    finally:
        torch.set_num_threads(n_threads)  # numba sets them to all cores, and sums in another order end in other bits


def _principal(unit: np.ndarray) -> np.ndarray:
    centred = unit - unit.mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    left = left[:, :2] * size[:2]
    left *= np.where(left[np.abs(left).argmax(0), np.arange(left.shape[1])] < 0, -1, 1)  # a fixed sign
    return np.pad(left, ((0, 0), (0, 2 - left.shape[1]))).astype(np.float32)
