"""Whether a feature comes back when the dictionary is trained again with another seed.

Paulo and Belrose (2025, arXiv 2501.16615) find that SAEs which differ in their seed alone share a part of their
features. Partners are paired one to one by the correlation of their activations over held-out tokens (the assignment of
the largest sum); a feature *recurs* where its partner fires with it and points where it points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from core.activations.store import ActivationReader
from core.crosslingual.matching import candidates, correlation_blocks, cosine_blocks, optimal_assignment
from core.sae.modules import SAE

CORRELATION = 0.5  # of activations over tokens, from which partners fire together: as in stage crosslingual
COSINE = 0.7  # of decoder rows, from which they point alike
MIN_FIRES = 10  # held-out tokens below which nothing is said of a feature
N_TOKENS = 20_000
BATCH_ROWS = 8_192
STREAM = 0x5EED


@dataclass(frozen=True)
class Recurrence:
    """Of every feature (d_sae,): its partner (-1: none), correlation and cosine with it, and both floors; NaN of none.

    ``correlation_floor`` is the best correlation with any feature over shuffled tokens, ``cosine_floor`` the best
    cosine with as many directions drawn from a Gaussian of the other decoder's covariance.
    """

    n_fires: NDArray[np.int64]
    partner: NDArray[np.int64]
    correlation: NDArray[np.float64]
    correlation_floor: NDArray[np.float64]
    cosine: NDArray[np.float64]
    cosine_floor: NDArray[np.float64]
    shuffled_cosine: NDArray[np.float64]  # with the partner of the shuffled tokens

    @property
    def known(self) -> NDArray[np.bool_]:
        """Features that fire often enough to be asked."""
        return self.n_fires >= MIN_FIRES

    @property
    def recurs(self) -> NDArray[np.bool_]:
        """Where the partner fires with it, beyond the floor, and points where it points."""
        together = self.correlation >= np.maximum(CORRELATION, self.correlation_floor)
        return self.known & together & (self.cosine >= np.maximum(COSINE, self.cosine_floor))

    @property
    def recurs_shuffled(self) -> NDArray[np.bool_]:
        """The same of the best partner over shuffled tokens: what chance gives."""
        return self.known & (self.correlation_floor >= CORRELATION) & (self.shuffled_cosine >= COSINE)


def token_codes(sae: SAE, reader: ActivationReader, rows: NDArray[np.int64], device: str = "cpu") -> csc_array:
    """Activations on these rows (n, d_sae)."""
    parts, model = [], sae.to(device)
    for first in range(0, len(rows), BATCH_ROWS):
        x = reader.read(rows[first : first + BATCH_ROWS]).to(device)
        code = model.sparse_code(x)
        part = code.value.cpu().numpy(), (code.row.cpu().numpy(), code.feature.cpu().numpy())
        parts.append(csr_array(part, shape=(len(x), sae.cfg.d_sae)))
    sae.to("cpu")
    stacked = np.concatenate([part.data for part in parts])
    indptr = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part.indptr) for part in parts]))])
    columns = np.concatenate([part.indices for part in parts])
    return csc_array(csr_array((stacked, columns, indptr), shape=(len(rows), sae.cfg.d_sae)))


def recurrence(own: csc_array, other: csc_array, own_rows: NDArray, other_rows: NDArray, seed: int) -> Recurrence:
    """Compare codes (n_tokens, n) of the same tokens, and decoder rows (n, d_model)."""
    rng, n = np.random.default_rng([seed, STREAM]), own.shape[1]
    pairs, _ = optimal_assignment(candidates(correlation_blocks(own, other), n, other.shape[1]))
    partner = np.full(n, -1, np.int64)
    partner[pairs.a] = pairs.b
    correlation, cosine = np.full((2, n), np.nan)
    correlation[pairs.a] = pairs.similarity
    cosine[pairs.a] = _cosines(own_rows[pairs.a], other_rows[pairs.b])
    mixed = csc_array(csr_array(other)[rng.permutation(other.shape[0])])
    floor, best = np.zeros(n), np.zeros(n, np.int64)
    for first, block in correlation_blocks(own, mixed):
        part = slice(first, first + len(block))
        floor[part], best[part] = block.max(1), block.argmax(1)
    random = rng.standard_normal(other_rows.shape) @ _root(np.cov(other_rows, rowvar=False)) + other_rows.mean(0)
    cosine_floor = np.concatenate([block.max(1) for _, block in cosine_blocks(own_rows, random)])
    shuffled = _cosines(own_rows, other_rows[best])
    fires = np.diff(own.indptr).astype(np.int64)
    return Recurrence(fires, partner, correlation, floor, cosine, cosine_floor, shuffled)


def _root(covariance: NDArray) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T


def _cosines(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.maximum(size, 1e-12)


def held_out_rows(index, n_at_most: int = N_TOKENS) -> NDArray[np.int64]:
    """Rows of held-out images at even distances, without the first token; ``index`` is the reader's."""
    rows = np.flatnonzero(((index["split"] == "test") & (index["kind"] != "bos")).to_numpy())
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), n_at_most)).astype(np.int64))]


def recurrence_rows(told: Recurrence) -> list[dict[str, Any]]:
    """Rows of the table recurrence, without layer, seed and number of tokens."""
    known, numbers = told.known, {"n_fires": told.n_fires, "partner": told.partner}
    numbers |= {n: getattr(told, n) for n in ("correlation", "correlation_floor", "cosine", "cosine_floor")}
    passes = {"recurs": told.recurs, "recurs_shuffled": told.recurs_shuffled}
    columns = {name: values.tolist() for name, values in (numbers | passes).items()}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for feature, row in enumerate(rows):
        alone = {"partner": None, "correlation": None, "cosine": None} if row["partner"] < 0 else {}
        rows[feature] = {"feature": feature, **row, **alone, **({} if known[feature] else dict.fromkeys(passes))}
    return rows


def decoder_rows(sae: SAE) -> NDArray[np.float32]:
    """(d_sae, d_model)."""
    with torch.no_grad():
        return sae.W_dec.detach().float().cpu().numpy()
