"""Which token comes in which training step: a function of seed and step alone, so that training survives any stop."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from core.activations.store import ActivationReader
from core.errors import UserError

N_STATISTICS = 1 << 16  # tokens from which mean and scale are taken


class TokenBatches:
    """Batches of the tokens `rows` of a layer, in the order that ActivationReader.batches draws from the seed."""

    def __init__(self, reader: ActivationReader, rows: np.ndarray, batch_tokens: int, seed: int) -> None:
        if not len(rows):
            raise UserError(
                "There are no tokens to train on.",
                "The run has no activations of the kinds in train.tokens on training images.",
                "Widen train.tokens or use more samples.",
            )
        self.reader, self.rows, self.batch_tokens, self.seed = reader, np.sort(rows), batch_tokens, seed
        self._next_step = -1
        self._stream: Iterator[Tensor] = iter(())

    def __len__(self) -> int:
        return len(self.rows)

    def __call__(self, step: int) -> Tensor:
        """The tokens of a step, float32 (batch_tokens, d_model); steps in order are quick, a jump is not."""
        if step != self._next_step:
            self._stream = self.reader.batches(self.rows, self.batch_tokens, self.seed, start=step)
        self._next_step = step + 1
        return next(self._stream)

    def statistics(self) -> tuple[Tensor, float]:
        """Mean (d_model) and the factor that makes the mean squared distance from it d_model; from 65,536 tokens.

        Raises UserError where the tokens are all equal or not finite.
        """
        chosen = np.unique(np.linspace(0, len(self.rows) - 1, min(len(self.rows), N_STATISTICS)).astype(np.int64))
        tokens = self.reader.read(self.rows[chosen])
        mean = tokens.mean(0, dtype=torch.float64)
        spread = (tokens - mean.float()).square().sum(1).mean(dtype=torch.float64)
        if not torch.isfinite(spread) or spread == 0:
            raise UserError(
                f"The activations of layer {self.reader.layer} cannot be trained on.",
                "They are all equal, or not finite.",
                "Check the activations stage and model.dtype.",
            )
        return mean.float(), float((self.reader.d_model / spread).sqrt())
