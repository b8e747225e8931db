"""How well an SAE fits tokens that it was not trained on: explained variance, sparsity, dead features, cosine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from core.activations.store import ActivationReader
from core.sae.modules import SAE

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


@torch.no_grad()
def held_out_metrics(
    sae: SAE, reader: ActivationReader, rows: np.ndarray, kinds: np.ndarray, device: str = "cpu"
) -> dict[str, float]:
    """Metrics of an SAE on rows of its layer, kinds[i] being the kind of rows[i].

    explained_variance (also explained_variance_<kind>, each against the kind's own mean, which is stricter), l0 (mean
    number of active features a token), dead_share (share of features active on none of these tokens), cosine (mean over
    tokens between x and x_hat), n_test_tokens.
    """
    sae = sae.to(device)
    overall = VarianceSums(reader.d_model)
    by_kind = {kind: VarianceSums(reader.d_model) for kind in sorted(set(kinds.tolist()))}
    n_active, cosine = 0, 0.0
    fired = torch.zeros(sae.cfg.d_sae, dtype=torch.bool, device=device)
    for start in range(0, len(rows), BATCH_ROWS):
        x = reader.read(rows[start : start + BATCH_ROWS]).to(device)
        code = sae.sparse_code(x)
        reconstruction = sae.decode_sparse(code, len(x))
        n_active += len(code.row)
        fired[code.feature] = True
        cosine += float(cosine_similarity(x, reconstruction, dim=1).double().sum())
        overall.add(x, reconstruction)
        for kind, sums in by_kind.items():
            chosen = torch.from_numpy(kinds[start : start + BATCH_ROWS] == kind).to(device)
            sums.add(x[chosen], reconstruction[chosen])
    n = max(overall.n, 1)
    return {
        "n_test_tokens": overall.n,
        "explained_variance": overall.explained_variance,
        **{f"explained_variance_{kind}": sums.explained_variance for kind, sums in by_kind.items()},
        "l0": n_active / n,
        "dead_share": 1.0 - float(fired.float().mean()),
        "cosine": cosine / n,
    }
