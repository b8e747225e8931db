"""A matrix known as the product of two thin ones; the product itself is never formed.

With A = Q_a R_a and B' = Q_b R_b, the singular values of A B are those of the small R_a R_b' (Golub and Van Loan 2013,
8.6); the non-zero eigenvalues of A B are those of B A.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from numpy.typing import ArrayLike
from torch import Tensor

from core.errors import UserError


class Spectrum(NamedTuple):
    """What the singular values s say: entropy in nats of s / sum s; effective_rank, its exponential (Roy and Vetterli
    2007); participation (sum s^2)^2 / sum s^4; norm, the root of sum s^2."""

    entropy: float
    effective_rank: float
    participation: float
    norm: float


class Components(NamedTuple):
    """Principal directions (k, n) of the rows, of length 1 and the strongest first, and the share of the sum of
    squares that each holds (k,)."""

    directions: Tensor
    share: Tensor


class FactoredMatrix:
    """``A`` (.., m, r) times ``B`` (.., r, n), row vectors from the left: x A B; or ``A`` (.., m, n) alone, a whole
    matrix. Arrays are taken as tensors. UserError where r differs, for fewer than two axes and for whole numbers."""

    A: Float[Tensor, "*batch m r"]
    B: Float[Tensor, "*batch r n"]

    def __init__(self, A: Tensor | ArrayLike, B: Tensor | ArrayLike | None = None):
        given = [_matrix(A)] if B is None else [_matrix(A), _matrix(B)]
        self.A, self.B = given if B is not None else _with_identity(given[0])
        if self.A.shape[-1] != self.B.shape[-2] or self.A.shape[:-2] != self.B.shape[:-2]:
            raise UserError(
                f"{tuple(self.A.shape)} times {tuple(self.B.shape)} is no matrix product.",
                "The last axis of the first must be the last but one of the second, and all axes before be the same.",
                "Give A (m, r) and B (r, n), or one whole matrix alone.",
            )

    def __repr__(self) -> str:
        return f"FactoredMatrix({tuple(self.A.shape)} @ {tuple(self.B.shape)})"

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
        if not bool(torch.isfinite(self.A).all() & torch.isfinite(self.B).all()):
            why = "It holds NaN or infinite numbers."
            raise UserError("The matrix has no singular values.", why, "Mend or leave out the rows that hold them.")
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

    @property
    def entropy(self) -> float:
        """Shannon entropy in nats of the singular values over their sum: 0 for one direction, log k for k equal ones;
        NaN for the zero matrix."""
        return self.spectrum().entropy

    def rank(self, share: float = 0.95) -> int:
        """Of one matrix the least number of singular directions that hold ``share`` of the sum of squares (the
        variance about 0); 0 for the zero matrix."""
        if not 0 < share <= 1:
            why = "It is a share of the sum of squares."
            raise UserError(f"No rank holds {share} of a matrix.", why, "Give a number above 0 and up to 1.")
        held = self._shares().cumsum(0)
        return int((held < share * (1 - 1e-12)).sum()) + 1 if bool(held.any()) else 0

    def principal_components(self, n: int | None = None) -> Components:
        """The first ``n`` (None: all) right singular vectors of one matrix: directions in which its rows extend most.

        The rows are taken as they are; centre a whole matrix first to have the components of its covariance.
        """
        shares = self._shares()
        n = len(shares) if n is None else n
        if not 0 < n <= len(shares):
            why, do = f"This one is {tuple(self.shape)}.", f"Ask for 1 to {len(shares)}."
            raise UserError(f"The matrix does not have {n} components.", why, do)
        return Components(self._svd[2][:n], shares[:n])

    def _shares(self) -> Tensor:
        """Share of the sum of squares by singular direction (k,) float64, falling; all 0 for the zero matrix."""
        if self.A.dim() > 2:
            why, do = f"This is a batch of {tuple(self.shape)}.", "Take one of them: FactoredMatrix(A[i], B[i])."
            raise UserError("Only one matrix has a rank and components.", why, do)
        power = self.singular_values.double().square()
        return power / power.sum().clamp_min(torch.finfo(torch.float64).tiny)

    def trace(self) -> Tensor:
        """Trace (..); UserError where the matrix is not square."""
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
            raise UserError(
                "Only a square matrix has a trace and eigenvalues.",
                f"This one is {tuple(self.shape)}.",
                "Use singular_values, or multiply it by its transpose: M @ M.T.",
            )


def _matrix(values: Tensor | ArrayLike) -> Tensor:
    x = values if isinstance(values, Tensor) else torch.as_tensor(values)
    if x.dim() < 2 or not x.is_floating_point() or not x.numel():
        raise UserError(
            f"This is no matrix: shape {tuple(x.shape)}, {str(x.dtype).removeprefix('torch.')}.",
            "A matrix has two axes, neither of them empty, and holds floating-point numbers.",
            "Reshape it, or make it float: x.float().",
        )
    return x


def _with_identity(whole: Tensor) -> tuple[Tensor, Tensor]:
    """A whole matrix (.., m, n) as two factors, exactly: the identity stands on its shorter side."""
    m, n = whole.shape[-2:]
    one = torch.eye(min(m, n), dtype=whole.dtype, device=whole.device).expand(*whole.shape[:-2], -1, -1)
    return (one, whole) if m < n else (whole, one)
