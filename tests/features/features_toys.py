"""Small worlds in which every statistic of every feature can be computed densely, and stand-ins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor


class Triplets(NamedTuple):
    row: Tensor
    feature: Tensor
    value: Tensor


class ToySAE:
    """ReLU features with a given encoder and decoder."""

    def __init__(self, W_enc: Tensor, W_dec: Tensor, bias: float = 0.0):
        self.W_enc, self.W_dec, self.bias = W_enc, W_dec, bias

    def encode(self, x: Tensor) -> Tensor:
        return (x @ self.W_enc + self.bias).relu()

    def sparse_code(self, x: Tensor) -> Triplets:
        z = self.encode(x)
        row, feature = z.nonzero(as_tuple=True)
        return Triplets(row, feature, z[row, feature])

    def decode_sparse(self, code: Triplets, n_rows: int) -> Tensor:
        z = torch.zeros(n_rows, len(self.W_dec))
        z[code.row, code.feature] = code.value
        return z @ self.W_dec


class ToyReader:
    def __init__(self, x: Tensor):
        self.x, self.n_rows, self.d_model = x, len(x), x.shape[1]

    def read(self, rows) -> Tensor:
        return self.x[rows].float()


@dataclass
class World:
    """Activations of a few images in both languages, their index, and the dense code of every row."""

    x: Tensor
    table: pa.Table
    sae: ToySAE

    @property
    def z(self) -> np.ndarray:
        return self.sae.encode(self.x).numpy()

    def column(self, name: str) -> np.ndarray:
        return np.array(self.table[name].to_pylist())


def token_table(n_samples: int, n_patches: int = 4, n_words: tuple[int, ...] = (3, 5, 0)) -> pa.Table:
    """bos, prompt, image tokens, prompt, caption for every image and language; languages in alternate batches."""
    rows = []
    for lang in ("en", "ar"):
        for sample in range(n_samples):
            length = n_words[(sample + (lang == "ar")) % len(n_words)]
            kinds = [("bos", -1), ("prompt", -1), *[("image", p) for p in range(n_patches)], ("prompt", -1)]
            kinds += [("caption", -1)] * length
            for position, (kind, patch) in enumerate(kinds):
                token = 1 + (sample * 7 + position * 3) % 11 if kind in ("caption", "prompt") else 0
                rows.append(
                    {
                        "sample_id": sample,
                        "lang": lang,
                        "position": position,
                        "kind": kind,
                        "token_id": token,
                        "patch": patch,
                    }
                )
    table = pa.Table.from_pylist(rows)
    return table.set_column(table.schema.get_field_index("kind"), "kind", table["kind"].dictionary_encode())


def random_world(seed: int = 0, n_samples: int = 9, d_model: int = 6, d_sae: int = 12, grid: float = 0.0) -> World:
    """Random residuals; ``grid`` rounds the code's inputs so that ties occur; the last feature is dead."""
    rng = torch.Generator().manual_seed(seed)
    table = token_table(n_samples)
    x = torch.randn(len(table), d_model, generator=rng)
    W_enc, W_dec = (torch.randn(d_model, d_sae, generator=rng), torch.randn(d_sae, d_model, generator=rng))
    if grid:
        x, W_enc = (x / grid).round() * grid, (W_enc / 0.5).round() * 0.5
    W_enc[:, -1] = 0  # ReLU of 0: never active
    x[torch.from_numpy(np.array(table["kind"].to_pylist()) == "bos")] *= 100  # as in real models
    return World(x, table, ToySAE(W_enc, W_dec))
