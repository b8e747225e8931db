"""Which token comes in which training step: a function of seed and step alone, so that training can go on after any stop."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError

MEMORY_LIMIT = 3 << 30  # bytes; a layer's tokens are kept in memory up to here, else read batch by batch
N_STATISTICS = 1 << 16  # tokens from which mean and scale are taken
ORDER_STREAM, WEIGHT_STREAM = 1, 2  # never the same random numbers for data and for weights


class Reader(Protocol):
    """What is needed of core.activations.ActivationReader."""

    d_model: int

    def read(self, rows: np.ndarray) -> Tensor:
        """Residuals of these rows, float32 (n, d_model)."""
        ...


class TokenBatches:
    """Batches of training tokens: each epoch is one permutation of `rows`, drawn from (seed, epoch)."""

    def __init__(self, reader: Reader, rows: np.ndarray, batch_tokens: int, seed: int) -> None:
        if not len(rows):
            raise UserError(
                "There are no tokens to train on.",
                "The run has no activations of the kinds in train.tokens on training images.",
                "Widen train.tokens or use more samples.",
            )
        self.reader, self.rows, self.batch_tokens, self.seed = reader, np.asarray(rows), batch_tokens, seed
        in_memory = len(rows) * reader.d_model * 4 <= MEMORY_LIMIT
        self.tokens = reader.read(self.rows) if in_memory else None
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, step: int) -> Tensor:
        """The tokens of a step, float32 (batch_tokens, d_model)."""
        return self._take(self.indices(step))

    def indices(self, step: int) -> np.ndarray:
        """Positions in `rows` of a step's tokens; a batch may end one epoch and begin the next."""
        place = np.arange(step * self.batch_tokens, (step + 1) * self.batch_tokens)
        epochs = place // len(self.rows)
        return np.concatenate(
            [self._epoch_order(int(e))[place[epochs == e] % len(self.rows)] for e in np.unique(epochs)]
        )

    def statistics(self) -> tuple[Tensor, float]:
        """Mean (d_model) and the factor that makes the mean squared distance from it d_model, from at most 65,536 tokens."""
        chosen = np.unique(np.linspace(0, len(self.rows) - 1, min(len(self.rows), N_STATISTICS)).astype(np.int64))
        tokens = self._take(chosen).double()
        mean = tokens.mean(0)
        spread = (tokens - mean).square().sum(1).mean()
        if not torch.isfinite(spread) or spread == 0:
            raise UserError(
                "The activations of this layer cannot be trained on.",
                "They are all equal, or not finite.",
                "Check the activations stage and the model's dtype.",
            )
        return mean.float(), float((self.reader.d_model / spread).sqrt())

    def _take(self, positions: np.ndarray) -> Tensor:
        if self.tokens is not None:
            return self.tokens[torch.from_numpy(positions)]
        # sorted, so that a batch is read from front to back of the shards; order within a batch means nothing
        return self.reader.read(np.sort(self.rows[positions]))

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if self._order[0] != epoch:
            order = np.random.default_rng([self.seed, ORDER_STREAM, epoch]).permutation(len(self.rows))
            self._order = (epoch, order)
        return self._order[1]
