"""How alike two languages' residuals of the same images are: CKA, shared subspaces, prediction of one by the other.

All take two (n_images, d_model) arrays whose rows are the same images, and never form an n_images x n_images table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.agreement import Agreement

N_GROUPS = 20  # of images left out in turn, for the standard error
N_SHUFFLES, MAX_SHUFFLED = 25, 1000  # the floor is measured on at most so many images
RIDGE = 1e-2  # of the mean variance of the predictors, times the number of images


def debiased_cka(x: NDArray, y: NDArray) -> float:
    """Centred linear CKA of two (n, d) arrays by the unbiased HSIC; about 0 for unrelated, 1 for equal up to rotation.

    HSIC_1(K, L) = [tr(K'L') + 1'K'1 1'L'1 / ((n-1)(n-2)) - 2 1'K'L'1 / (n-2)] / (n (n-3)), K' = K without its diagonal
    (Song et al. 2012, eq. 5); CKA: Kornblith et al. 2019, arXiv 1905.00414.
    """
    x, y = _centred(x), _centred(y)
    return _ratio(_hsic(x, y), _hsic(x, x), _hsic(y, y))


def cka(x: NDArray, y: NDArray, seed: int | list[int]) -> Agreement:
    """``debiased_cka`` with a delete-a-group jackknife interval and shuffled pairs as floor; the ceiling is 1."""
    x, y = _centred(x), _centred(y)
    value = debiased_cka(x, y)
    rng = np.random.default_rng(seed)
    group = rng.permutation(len(x)) % N_GROUPS
    left = np.array([debiased_cka(x[group != g], y[group != g]) for g in range(N_GROUPS)])
    error = float(np.sqrt((N_GROUPS - 1) / N_GROUPS * np.square(left - left.mean()).sum()))
    some = rng.permutation(len(x))[:MAX_SHUFFLED]
    floor = _shuffled_cka(_centred(x[some]), _centred(y[some]), rng)
    return Agreement(value, value - 1.96 * error, min(1.0, value + 1.96 * error), *floor, 1.0)


def subspace_share(x: NDArray, y: NDArray, train: NDArray, rank: int) -> NDArray:
    """Held-out squared lengths (n_test, 3) of x: in the ``rank`` leading directions of y, in x's own, and in all.

    S(x <- y) = |X P_y|^2 / |X|^2, P_y projecting on the leading principal components of y's training images and X the
    held-out images of x about x's training mean: the first column's sum over the third's, by chance rank / d_model.
    The second column's over the third's is what x's own directions reach, the ceiling.
    """
    own, other = (_components(part[train], rank) for part in (x, y))
    held_out = x[~train] - x[train].mean(0)
    parts = (held_out @ other.T, held_out @ own.T, held_out)
    return np.stack([np.square(part, dtype=np.float64).sum(1) for part in parts], axis=1)


def predicted_share(x: NDArray, y: NDArray, train: NDArray) -> NDArray:
    """Squared errors (n_test, 2) of held-out x: predicted linearly from y of the same images, and by the mean.

    Ridge regression on the training images; R^2 = 1 - sum of the first / sum of the second.
    """
    mean_x, mean_y = x[train].mean(0), y[train].mean(0)
    a, b = (y[train] - mean_y).astype(np.float64), (x[train] - mean_x).astype(np.float64)
    gram = a.T @ a
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    predicted = (y[~train] - mean_y) @ np.linalg.solve(gram, a.T @ b)
    held_out = x[~train] - mean_x
    return np.stack([np.square(part, dtype=np.float64).sum(1) for part in (held_out - predicted, held_out)], axis=1)


def _components(x: NDArray, rank: int) -> NDArray:
    centred = (x - x.mean(0)).astype(np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return vectors[:, ::-1][:, :rank].T


def _centred(x: NDArray) -> NDArray:
    return (x - x.mean(0, dtype=np.float64)).astype(np.float32)


def _ratio(xy: float, xx: float, yy: float) -> float:
    return float(xy / np.sqrt(xx * yy)) if xx > 0 and yy > 0 else float("nan")


def _hsic(x: NDArray, y: NDArray) -> float:
    """HSIC_1 from the d x d product; sums are taken in double precision."""
    n = len(x)
    k, m = (np.square(part, dtype=np.float64).sum(1) for part in (x, y))
    rows_k, rows_m = (part @ part.sum(0, dtype=np.float64) - own for part, own in ((x, k), (y, m)))
    trace = float(np.square(x.T @ y, dtype=np.float64).sum() - k @ m)
    return (trace + rows_k.sum() * rows_m.sum() / ((n - 1) * (n - 2)) - 2 * rows_k @ rows_m / (n - 2)) / (n * (n - 3))


def _shuffled_cka(x: NDArray, y: NDArray, rng: np.random.Generator) -> tuple[float, float, float]:
    """Mean and 95 % range over shuffled pairs."""
    xx, yy = _hsic(x, x), _hsic(y, y)
    values = [_ratio(_hsic(x, y[rng.permutation(len(y))]), xx, yy) for _ in range(N_SHUFFLES)]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)
