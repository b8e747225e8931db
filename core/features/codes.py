"""The one pass over the activations: sparse codes, written to disk so that any block of features can be read back.

A part holds the triplets (feature, row, value) of ROWS_PER_PART activation rows, sorted by feature and then row, with
the offset of each feature. Parts have fixed borders, so a pass that was killed goes on at the first part that is
missing. What is in memory at once is one batch of rows, or one block of features; never tokens x features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor
from torch.nn.functional import embedding_bag

from core.features.token_codes import BATCH_ROWS, Coder, TokenCodes
from core.features.tokens import CAPTION, TokenIndex
from core.run import atomic_path

ROWS_PER_PART = 65_536
BLOCK_TRIPLETS = 4_000_000  # what is read back at once (about 60 bytes each while it is worked on)
BLOCK_FEATURES = 1_024
BLOCK_CELLS = 64_000_000  # features x images of a block: an upper bound on its (feature, image) pairs


class SparseEncoder(Protocol):
    """The part of core.sae.modules.SAE that is used here."""

    W_dec: Any

    def sparse_code(self, x: Tensor) -> Any: ...

    def decode_sparse(self, code: Any, n_rows: int) -> Tensor: ...


class RowReader(Protocol):
    """The part of core.activations' ActivationReader that is used here."""

    n_rows: int

    def read(self, rows: Any) -> Tensor: ...


@dataclass(frozen=True)
class Codes:
    """Triplets of the features first .. first + n_features - 1, sorted by feature and then row; value > 0.

    ``feature`` counts from ``first``; ``row`` is the activation row; BOS rows are left out.
    """

    first: int
    n_features: int
    feature: np.ndarray
    row: np.ndarray
    value: np.ndarray


@dataclass(frozen=True)
class Fit:
    """How well the SAE does on the rows that count, and what each feature has to do with it.

    ``total_variance`` = sum over tokens of |x - mean(x)|^2; ``error`` = sum of |x - x_hat|^2; ``loss_increase`` (d_sae)
    = the rise of ``error`` when one feature is left out: sum of |x - x_hat + z d|^2 - |x - x_hat|^2; ``caption_rms`` =
    root of the mean square of the residuals' entries on caption tokens (NaN without any).
    """

    n: int
    caption_rms: float
    total_variance: float
    error: float
    loss_increase: np.ndarray

    @property
    def explained_variance(self) -> float:
        return 1.0 - self.error / self.total_variance if self.total_variance > 0 else float("nan")

    @property
    def explained_share(self) -> np.ndarray:
        """Share of the residuals' variance that goes when this feature alone is left out (d_sae); 0 if never active."""
        if self.total_variance <= 0:
            return np.zeros_like(self.loss_increase)
        return self.loss_increase / self.total_variance


def write_codes(
    sae: SparseEncoder,
    reader: RowReader,
    tokens: TokenIndex,
    dir: Path,
    progress: Callable[[int, int], None] | None = None,
    rows_per_part: int = ROWS_PER_PART,
    device: str = "cpu",
    kept: TokenCodes | None = None,
) -> CodeStore:
    """Sort the codes of all rows but BOS by feature into ``dir`` and open the result; parts that are there are kept.

    They are read from ``kept``, else encoded. ``progress(done, total)`` counts rows. ``explained_share`` needs
    <x - x_hat, d_f> wherever f fires; it is gathered here, while the residuals are in memory, as W_dec . (Z^T E) with
    Z^T E from one weighted sum per feature.
    """
    paths, coder = [], Coder(sae, tokens.group, kept, device)
    for number, start in enumerate(range(0, reader.n_rows, rows_per_part)):
        stop = min(start + rows_per_part, reader.n_rows)
        paths.append(dir / f"part_{number:05d}.safetensors")
        if not paths[-1].exists():
            tick = (lambda done, start=start: progress(start + done, reader.n_rows)) if progress else None
            part = _encode(coder, reader, tokens, start, stop, tick)
            with atomic_path(paths[-1]) as temporary:
                save_file(part, temporary)
        if progress:
            progress(stop, reader.n_rows)
    return CodeStore(paths, len(sae.W_dec), tokens.n_samples)


@torch.no_grad()
def _encode(
    coder: Coder,
    reader: RowReader,
    tokens: TokenIndex,
    start: int,
    stop: int,
    tick: Callable[[int], None] | None,
) -> dict[str, np.ndarray]:
    sae, device = coder.sae, coder.device
    d_sae, d_model = sae.W_dec.shape
    W_dec = sae.W_dec.float()
    norms = W_dec.square().sum(1).double()
    moments = _Moments(d_model)
    error, energy, n_energy = 0.0, 0.0, 0
    increase = torch.zeros(d_sae, dtype=torch.float64, device=device)
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for first in range(start, stop, BATCH_ROWS):
        last = min(first + BATCH_ROWS, stop)
        rows = coder.rows(first, last)
        if len(rows):
            x = reader.read(slice(first, last)).to(device)[torch.from_numpy(rows - first).to(device)].float()
            code = coder.code(first, last, x)
            residual = x - sae.decode_sparse(code, len(x)).float()
            moments.add(x)
            of_captions = x[torch.from_numpy(tokens.group[rows] >= CAPTION).to(device)]
            energy, n_energy = energy + float(of_captions.double().square().sum()), n_energy + of_captions.numel()
            error += float(residual.double().square().sum())
            order = torch.argsort(code.feature, stable=True)  # rows rise within a feature
            row, feature, value = code.row[order], code.feature[order], code.value[order].float()
            increase += _loss_increase(W_dec, norms, residual, row, feature, value)
            pieces.append((feature.cpu().numpy(), rows[row.cpu().numpy()] - start, value.cpu().numpy()))
        if tick:
            tick(last - start)
    feature, row, value = (np.concatenate(c) for c in zip(*pieces, strict=True)) if pieces else [np.zeros(0)] * 3
    order = np.argsort(feature, kind="stable")
    counts = np.bincount(feature.astype(np.int64), minlength=d_sae)
    return {
        "offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        "row": row[order].astype(np.int32),  # from the part's first row
        "value": value[order].astype(np.float32),
        "loss_increase": increase.cpu().numpy(),
        "start": np.array([start], np.int64),
        "error": np.array([error]),
        "caption_energy": np.array([energy, n_energy]),
        **moments.arrays(),
    }


def _loss_increase(
    W_dec: Tensor, norms: Tensor, residual: Tensor, row: Tensor, feature: Tensor, value: Tensor
) -> Tensor:
    """sum of |e + z d|^2 - |e|^2 = 2 <d, sum z e> + |d|^2 sum z^2 for every feature; triplets sorted by feature."""
    first = torch.searchsorted(feature, torch.arange(len(W_dec), device=feature.device))
    weighted = embedding_bag(row, residual, first, per_sample_weights=value, mode="sum")
    squares = torch.zeros_like(norms).index_add_(0, feature, value.double().square())
    return 2 * (W_dec * weighted).sum(1).double() + norms * squares


class _Moments:
    """Mean and summed squared deviation of rows, batch by batch (Chan, Golub and LeVeque 1983): no cancellation."""

    def __init__(self, d_model: int):
        self.n, self.mean, self.squares = 0, np.zeros(d_model), np.zeros(d_model)

    def add(self, x: Tensor) -> None:
        x = x.double()
        mean = x.mean(0)
        self.merge(len(x), mean.cpu().numpy(), (x - mean).square().sum(0).cpu().numpy())

    def merge(self, n: int, mean: np.ndarray, squares: np.ndarray) -> None:
        if n:
            total = self.n + n
            step = mean - self.mean
            self.squares = self.squares + squares + step**2 * (self.n * n / total)
            self.mean = self.mean + step * (n / total)
            self.n = total

    def arrays(self) -> dict[str, np.ndarray]:
        return {"n": np.array([self.n], np.int64), "mean": self.mean, "squares": self.squares}


class CodeStore:
    """The codes that ``write_codes`` left: counts and the fit at once, triplets block by block."""

    def __init__(self, paths: list[Path], d_sae: int, n_samples: int):
        self.paths, self.d_sae, self.n_samples = paths, d_sae, n_samples
        self.offsets, self.starts = [], []
        self.loss_increase = np.zeros(d_sae)
        self.moments, self.error, self.energy = _Moments(0), 0.0, np.zeros(2)
        for path in paths:
            with safe_open(path, framework="np") as part:
                get = part.get_tensor
                self.offsets.append(get("offsets"))
                self.starts.append(int(get("start")[0]))
                self.loss_increase += get("loss_increase")
                self.error += float(get("error")[0])
                self.energy += get("caption_energy")
                if not self.moments.n:
                    self.moments = _Moments(len(get("mean")))
                self.moments.merge(int(get("n")[0]), get("mean"), get("squares"))

    @property
    def counts(self) -> np.ndarray:
        """Rows on which each feature fires (d_sae)."""
        return sum((np.diff(o) for o in self.offsets), np.zeros(self.d_sae, np.int64))

    def fit(self) -> Fit:
        rms = float(np.sqrt(self.energy[0] / self.energy[1])) if self.energy[1] else float("nan")
        return Fit(self.moments.n, rms, float(self.moments.squares.sum()), self.error, self.loss_increase)

    def blocks(
        self, max_triplets: int = BLOCK_TRIPLETS, max_features: int = BLOCK_FEATURES, max_cells: int = BLOCK_CELLS
    ) -> list[tuple[int, int]]:
        """Ranges [first, last) of features, each within the bounds; a feature that exceeds them stands alone."""
        width = max(1, min(max_features, max_cells // max(1, self.n_samples)))
        ranges, first, held = [], 0, 0
        for feature, n in enumerate(self.counts.tolist()):
            if feature > first and (held + n > max_triplets or feature - first >= width):
                ranges.append((first, feature))
                first, held = feature, 0
            held += n
        return [*ranges, (first, self.d_sae)] if self.d_sae else []

    def read(self, first: int, last: int) -> Codes:
        """The triplets of the features first .. last - 1 from all parts."""
        features, rows, values = [], [], []
        for path, offsets, start in zip(self.paths, self.offsets, self.starts, strict=True):
            low, high = int(offsets[first]), int(offsets[last])
            if low == high:
                continue
            with safe_open(path, framework="np") as part:
                rows.append(part.get_slice("row")[low:high].astype(np.int64) + start)
                values.append(part.get_slice("value")[low:high])
            features.append(np.repeat(np.arange(last - first, dtype=np.int64), np.diff(offsets[first : last + 1])))
        if not features:
            return Codes(first, last - first, np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        feature = np.concatenate(features)
        order = np.argsort(feature, kind="stable")  # parts come in the order of rows
        return Codes(first, last - first, feature[order], np.concatenate(rows)[order], np.concatenate(values)[order])
