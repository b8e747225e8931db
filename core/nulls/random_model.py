"""The run's model with weights drawn at random: what a probe or an SAE finds in it, no training has put there.

After Heap et al. 2025 (arXiv 2501.17727), who find SAEs of such models as interpretable as others. What images and
words say of gender passes through any network; how easily it is read off tells how much of a figure is the input's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from core.activations.passes import Passes
from core.activations.store import ActivationReader
from core.nulls.codes import BATCH_ROWS, TextRows

if TYPE_CHECKING:
    from core.vlm.adapter import VLM


@torch.no_grad()
def randomise(vlm: VLM, seed: int) -> None:
    """Every matrix is drawn anew from a Gaussian of its own mean and spread, embeddings too; in place.

    Vectors (gains of norms, biases) stay: they are what keeps the residual's size where the next layer reads it.
    Raises ValueError for a quantised model, whose matrices are no numbers that could be drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in vlm.model.named_parameters():
        if parameter.ndim < 2:
            continue
        if not parameter.is_floating_point():
            raise ValueError(f"{name} is quantised")
        known = parameter.float()
        drawn = torch.randn(parameter.shape, generator=generator) * known.std().cpu() + known.mean().cpu()
        parameter.copy_(drawn)


def spread_blocks(passes: Passes, n_images: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of whole blocks at even distances that hold ``n_images`` (0: all), and their sample ids."""
    n_blocks = len(passes.blocks)
    per_block = max(passes.n_images)
    wanted = n_blocks if not n_images else min(n_blocks, -(-n_images // per_block))
    chosen = np.unique(np.linspace(0, n_blocks - 1, wanted).round().astype(int))
    block = np.repeat(np.arange(n_blocks), passes.block_rows)
    rows = np.flatnonzero(np.isin(block, chosen))
    samples = {row.sample_id for number in chosen.tolist() for batch in passes.blocks[number] for row in batch}
    return rows, np.array(sorted(samples), np.int64)


def mean_residuals(
    reader: ActivationReader, text: TextRows, tick: Callable[[int, int], None] = lambda *_: None
) -> dict[str, NDArray[np.float32]]:
    """Mean residual of each caption by view (n_captions, d_model), NaN where it has no position."""
    sums = {view: np.zeros((len(n), reader.d_model), np.float32) for view, n in text.n_positions.items()}
    for first in range(0, len(text.rows), BATCH_ROWS):
        part = slice(first, first + BATCH_ROWS)
        x = reader.read(text.rows[part]).numpy()
        for view, member in text.member.items():
            inside = member[part]
            np.add.at(sums[view], text.caption[part][inside], x[inside])
        tick(min(first + BATCH_ROWS, len(text.rows)), len(text.rows))
    for view, total in sums.items():
        n = text.n_positions[view]
        total /= np.maximum(n, 1)[:, None]
        total[n == 0] = np.nan
    return sums


def among(text: TextRows, samples: NDArray[np.int64], n_languages: int) -> TextRows:
    """The same rows of some images alone; captions of others have no position."""
    inside = np.isin(text.caption // n_languages, samples)
    there = np.isin(np.arange(len(next(iter(text.n_positions.values())))) // n_languages, samples)
    return TextRows(
        text.rows[inside],
        text.caption[inside],
        {view: member[inside] for view, member in text.member.items()},
        {view: np.where(there, n, 0) for view, n in text.n_positions.items()},
    )
