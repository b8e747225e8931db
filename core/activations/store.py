"""The layout of ``<run>/activations/`` and its reader.

::

    activations/
      tokens.parquet                    one line per token row, the same rows for every layer
      layer_03/shard_00000.safetensors  tensor "resid_post" (n, d_model), stored in activations.dtype
      layer_03/shard_00001.safetensors  the rows that follow, and so on

``tokens.parquet``: row int64 (0..n-1 over all shards of a layer) · sample_id int32 · lang (dictionary string) ·
position int32 (in the unpadded sequence) · kind (dictionary string: bos, image, prompt, caption) · token_id int32 ·
patch int16 (row-major index of the image token, -1 elsewhere) · split (dictionary string). One row group a shard.

Rows are the tokens of image + prompt + the model's own caption, in the order in which they were computed: blocks of
images, within a block batches of rows of like length, within a batch row by row, within a row by position. A shard ends
with the block in which it reached ``activations.shard_tokens`` rows, so shards may differ in length; their headers say
how long they are. Every layer has the same shard borders. There is no padding on disk, and BOS rows are kept (kind
"bos") for whoever wants them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from core.errors import UserError
from core.run import Run

if TYPE_CHECKING:
    import pandas as pd

TENSOR = "resid_post"
STORED = {"F32": (np.dtype("<f4"), torch.float32), "BF16": (np.dtype("<u2"), torch.bfloat16)}
CACHE_BYTES = 2 * 2**30
Rows = slice | Sequence[int] | np.ndarray


def layer_dir(run_dir: Path, layer: int) -> Path:
    """Where the shards of one layer lie."""
    return Path(run_dir) / "activations" / f"layer_{layer:02d}"


def shard_path(run_dir: Path, layer: int, shard: int) -> Path:
    """The file of one shard."""
    return layer_dir(run_dir, layer) / f"shard_{shard:05d}.safetensors"


class RowSource(Protocol):
    """Consecutive rows of a layer, on disk or elsewhere."""

    n_rows: int
    d_model: int
    torch_dtype: torch.dtype

    def take(self, local: Int[np.ndarray, " n"]) -> Float[Tensor, "n d_model"]: ...


class ActivationReader:
    """Reads one layer of a run; holds no activations itself, the shards are mapped.

    ``shards`` stand in for those on disk (see ``replay``). Raises UserError when the layer is not there or its shards
    and token index disagree.
    """

    def __init__(self, run_dir: str | Path, layer: int, shards: Sequence[RowSource] = ()):
        self.run_dir, self.layer = Path(run_dir), layer
        self._shards = shards or [Shard(path) for path in self._paths()]
        self.d_model = self._shards[0].d_model
        self.dtype = self._shards[0].torch_dtype
        self._starts = np.cumsum([0, *(shard.n_rows for shard in self._shards)])
        self.n_rows = int(self._starts[-1])

    def _paths(self) -> list[Path]:
        paths = sorted(layer_dir(self.run_dir, self.layer).glob("shard_*.safetensors"))
        if not paths:
            raise UserError(
                f"There are no activations of layer {self.layer} in {self.run_dir.name}.",
                "The stage activations has not run, or not with this layer.",
                f"Add {self.layer} to activations.layers and run precompute again.",
            )
        return paths

    @functools.cached_property
    def index(self) -> pd.DataFrame:
        """tokens.parquet; line i describes row i. lang, kind and split are categories."""
        index = Run(self.run_dir).table("tokens").to_pandas()
        if len(index) != self.n_rows:
            raise UserError(
                f"The token index of {self.run_dir.name} does not fit its activations.",
                f"It has {len(index)} lines; layer {self.layer} has {self.n_rows} rows.",
                "Run the stage activations again.",
            )
        return index

    def read(self, rows: Rows) -> Float[Tensor, "n d_model"]:
        """The rows asked for, in that order, as float32; IndexError when one is out of range."""
        return self._gather(rows).float()

    def batches(
        self, rows: Rows, batch_size: int, seed: int, start: int = 0, cache_bytes: int = CACHE_BYTES
    ) -> Iterator[Float[Tensor, "batch d_model"]]:
        """Endless batches (batch_size, d_model) float32 from ``rows``, shuffled anew in every epoch.

        Batch ``start`` + i depends on (rows, batch_size, seed, cache_bytes) and its number alone, so training that was
        stopped goes on with ``start`` = steps done. Rows are shuffled within windows of whole shards, taken in random
        order, that fit into ``cache_bytes``; what fits whole is shuffled whole. Only one window is held in memory.
        """
        chosen = np.unique(self._numbers(rows))
        if not len(chosen):
            raise UserError(f"There are no tokens of layer {self.layer} to draw batches from.", "The choice is empty.")
        parts: list[Tensor] = []
        missing = batch_size
        for window, order in self._windows(chosen, seed, start * batch_size, cache_bytes):
            while len(order):
                take, order = order[:missing], order[missing:]
                parts.append(window[take])
                missing -= len(take)
                if not missing:
                    yield torch.cat(parts).float()
                    parts, missing = [], batch_size
            del window  # so that the next one is not loaded beside it

    def _windows(self, chosen: np.ndarray, seed: int, skip: int, cache_bytes: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless (rows held in memory, shuffled order in which to take them), from the ``skip``-th row on."""
        by_shard = np.split(chosen, np.searchsorted(chosen, self._starts[1:-1]))
        row_bytes = self.d_model * self.dtype.itemsize
        epoch, skip = divmod(skip, len(chosen))
        held: Tensor | None = None
        while True:
            shards = np.random.default_rng([seed, epoch]).permutation(len(by_shard))
            for i, numbers in enumerate(_packed([by_shard[s] for s in shards], cache_bytes // row_bytes)):
                if skip >= len(numbers):
                    skip -= len(numbers)
                    continue
                if held is None or len(numbers) < len(chosen):
                    held = None
                    held = self._gather(numbers)
                order = torch.from_numpy(np.random.default_rng([seed, epoch, i]).permutation(len(numbers)))
                yield held, order[skip:]
                skip = 0
            epoch += 1

    def _numbers(self, rows: Rows) -> np.ndarray:
        numbers = np.arange(*rows.indices(self.n_rows)) if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)
        if len(numbers) and (numbers.min() < 0 or numbers.max() >= self.n_rows):
            raise IndexError(f"layer {self.layer} has rows 0 to {self.n_rows - 1}")
        return numbers

    def _gather(self, rows: Rows) -> Tensor:
        numbers = self._numbers(rows)
        found = torch.empty(len(numbers), self.d_model, dtype=self.dtype)
        owner = np.searchsorted(self._starts, numbers, side="right") - 1
        for shard in np.unique(owner):
            at = np.flatnonzero(owner == shard)
            local = numbers[at] - self._starts[shard]
            found[torch.from_numpy(at)] = self._shards[shard].take(local)
        return found


def _packed(groups: Sequence[np.ndarray], n_max: int) -> Iterator[np.ndarray]:
    """Consecutive groups joined, sorted, as long as they stay within ``n_max`` numbers; a longer group stands alone."""
    window: list[np.ndarray] = []
    for group in groups:
        if window and sum(map(len, window)) + len(group) > n_max:
            yield np.sort(np.concatenate(window))
            window = []
        window.append(group)
    yield np.sort(np.concatenate(window))


class Shard:
    """One mapped safetensors file with one tensor."""

    def __init__(self, path: Path):
        with open(path, "rb") as f:  # 8 bytes: the header's length; the header: JSON; then the data
            length = int.from_bytes(f.read(8), "little")
            entry = json.loads(f.read(length))[TENSOR]
        self.path, self.n_rows, self.d_model = path, *entry["shape"]
        self._dtype, self.torch_dtype = STORED[entry["dtype"]]
        self._offset = 8 + length + entry["data_offsets"][0]

    def take(self, local: Int[np.ndarray, " n"]) -> Float[Tensor, "n d_model"]:
        """The rows asked for, by their number within the file, in that order."""
        data = np.memmap(self.path, self._dtype, "r", self._offset, (self.n_rows, self.d_model))
        is_run = len(local) and local[-1] - local[0] == len(local) - 1 and bool((np.diff(local) == 1).all())
        part = np.array(data[local[0] : local[-1] + 1]) if is_run else data[local]
        return torch.from_numpy(part).view(self.torch_dtype)
