"""Explained variance of any reconstruction of a layer's tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from core.activations.store import ActivationReader

BATCH_ROWS = 8192


@dataclass
class VarianceSums:
    """Sums over tokens in float64, from which explained variance follows without a second pass."""

    d_model: int
    n: int = 0
    squared: float = 0.0
    error: float = 0.0
    total: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.total = torch.zeros(self.d_model, dtype=torch.float64)

    def add(self, x: Tensor, reconstruction: Tensor) -> None:
        """Counts tokens x (n, d_model) in."""
        self.n += len(x)
        self.total += x.double().sum(0).cpu()
        self.squared += float(x.double().square().sum())
        self.error += float((x - reconstruction).double().square().sum())

    @property
    def explained_variance(self) -> float:
        """1 - sum |x - x_hat|^2 / sum |x - mean(x)|^2 over these tokens: 0 for their mean itself, 1 if perfect."""
        variance = self.squared - float(self.total.square().sum()) / max(self.n, 1)
        return 1.0 - self.error / variance if variance > 0 else float("nan")


def explained_variance(reader: ActivationReader, rows: np.ndarray, reconstruct: Callable[[Tensor], Tensor]) -> float:
    """Explained variance of any reconstruction (n, d_model) -> (n, d_model) on these rows; NaN if they do not vary."""
    sums = VarianceSums(reader.d_model)
    for start in range(0, len(rows), BATCH_ROWS):
        x = reader.read(rows[start : start + BATCH_ROWS])
        sums.add(x, reconstruct(x))
    return sums.explained_variance
