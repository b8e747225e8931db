"""A matrix known as the product of two thin ones; the product itself is never formed.

With A = Q_a R_a and B' = Q_b R_b, the singular values of A B are those of the small R_a R_b' (Golub and Van Loan 2013,
8.6); the non-zero eigenvalues of A B are those of B A.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor


class Spectrum(NamedTuple):
    """What the singular values s say: entropy in nats of s / sum s; effective_rank, its exponential (Roy and Vetterli
    2007); participation (sum s^2)^2 / sum s^4; norm, the root of sum s^2."""

    entropy: float
    effective_rank: float
    participation: float
    norm: float


@dataclass(frozen=True)
class FactoredMatrix:
    """``A`` (.., m, r) times ``B`` (.., r, n), row vectors from the left: x A B. Raises ValueError where r differs."""

    A: Float[Tensor, "*batch m r"]
    B: Float[Tensor, "*batch r n"]

    def __post_init__(self) -> None:
        if self.A.shape[-1] != self.B.shape[-2] or self.A.shape[:-2] != self.B.shape[:-2]:
            raise ValueError(f"{tuple(self.A.shape)} times {tuple(self.B.shape)} is no matrix product.")

    @property
    def shape(self) -> torch.Size:
        return torch.Size((*self.A.shape[:-1], self.B.shape[-1]))

    @property
    def T(self) -> FactoredMatrix:
        return FactoredMatrix(self.B.mT, self.A.mT)

    def __rmatmul__(self, x: Tensor) -> Tensor:
        """x (.., k, m) times the matrix."""
        return (x @ self.A) @ self.B

    def __matmul__(self, other: Tensor | FactoredMatrix) -> Tensor | FactoredMatrix:
        """The matrix times x (.., n, k), or times another factored matrix, by the thinner of the two middles."""
        if isinstance(other, Tensor):
            return self.A @ (self.B @ other)
        middle = self.B @ other.A
        if middle.shape[-2] <= middle.shape[-1]:
            return FactoredMatrix(self.A, middle @ other.B)
        return FactoredMatrix(self.A @ middle, other.B)

    @cached_property
    def _svd(self) -> tuple[Tensor, Tensor, Tensor]:
        q_a, r_a = torch.linalg.qr(self.A)
        q_b, r_b = torch.linalg.qr(self.B.mT)
        u, s, vh = torch.linalg.svd(r_a @ r_b.mT, full_matrices=False)
        return q_a @ u, s, vh @ q_b.mT

    def svd(self) -> tuple[Tensor, Tensor, Tensor]:
        """U (.., m, k), singular values (.., k) falling, V' (.., k, n), k = min(m, r, n)."""
        return self._svd

    @property
    def singular_values(self) -> Tensor:
        return self._svd[1]

    def spectrum(self) -> Spectrum:
        """Entropy, effective rank, participation ratio and norm of one matrix; NaN (norm 0) for the zero matrix."""
        s = self.singular_values.double()
        if not float(s.sum()):
            return Spectrum(float("nan"), float("nan"), float("nan"), 0.0)
        p, power = s / s.sum(), s.square()
        entropy = float(-torch.xlogy(p, p).sum())
        participation = float(power.sum() ** 2 / power.square().sum())
        return Spectrum(entropy, math.exp(entropy), participation, float(power.sum().sqrt()))

    def trace(self) -> Tensor:
        """Trace (..); ValueError where the matrix is not square."""
        self._square()
        return (self.A * self.B.mT).sum((-2, -1))

    def eigenvalues(self) -> Complex[Tensor, "*batch k"]:
        """Eigenvalues by falling size, of the smaller of A B and B A: the rest of a wide matrix's are 0."""
        self._square()
        small = self.B @ self.A if self.A.shape[-1] <= self.A.shape[-2] else self.A @ self.B
        found = torch.linalg.eigvals(small)
        return found.gather(-1, found.abs().argsort(-1, descending=True))

    def copying(self) -> float:
        """Sum of the eigenvalues over the sum of their sizes, -1 to 1: 1 where all are real and positive, so that the
        matrix gives back what it gets (Elhage et al. 2021, "copying"); NaN for the zero matrix."""
        values = self.eigenvalues()
        size = float(values.abs().sum())
        return float(values.real.sum()) / size if size else float("nan")

    def _square(self) -> None:
        if self.shape[-1] != self.shape[-2]:
            raise ValueError(f"Only a square matrix has a trace and eigenvalues; this one is {tuple(self.shape)}.")
