"""Activations that are not stored: computed again block by block, and read as if they were.

Stages go through the layers one after the other and read each of them many times: every epoch of training, every
measurement. So the blocks of as many layers as fit into ``activations.cache_gb``, a group, are kept on disk while it is
their turn. A group costs one pass over the captions, up to its highest layer, however often its rows are read. Where
not even one layer fits, the oldest blocks make room, and blocks are computed again whenever their rows are wanted.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor

from core.activations.passes import Passes
from core.activations.store import TENSOR, ActivationReader, Shard
from core.activations.writer import check_finite
from core.config import Config
from core.run import Run, atomic_path
from core.vlm.loading import DTYPES

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

GB = 1e9


class StageContext(Protocol):
    """Of what a stage is given, what is needed here; ``layers`` are those that this process is to compute, () all."""

    @property
    def run(self) -> Run: ...
    @property
    def config(self) -> Config: ...
    @property
    def work_dir(self) -> Path: ...
    @property
    def layers(self) -> tuple[int, ...]: ...
    @property
    def log(self) -> logging.Logger: ...


class Activations:
    """Opens the layers of a run, one after the other: stored where they are, else computed again.

    ``layers`` are those that this process goes through; ``load`` gives the run's model, and is called only where it is
    needed; ``folder`` is where computed blocks may lie. Both ways give the same rows.
    """

    def __init__(
        self,
        run: Run,
        config: Config,
        layers: Sequence[int],
        load: Callable[[], VLM],
        folder: Path,
        log: logging.Logger,
    ):
        self.run, self.config, self.layers = run, config, list(layers)
        self._load, self._folder, self._log = load, folder, log
        self._replay: Replay | None = None

    @classmethod
    def of(cls, ctx: StageContext, load: Callable[[], VLM], layers: Sequence[int]) -> Activations:
        """Those of a stage at work, whose blocks lie in its work folder."""
        # Processes that compute other layers of this stage have passes of their own.
        name = "-".join(["passes", *(f"{layer:02d}" for layer in ctx.layers)])
        return cls(ctx.run, ctx.config, layers, load, ctx.work_dir / name, ctx.log)

    @property
    def stored(self) -> bool:
        """Whether the run keeps its activations."""
        folder = self.run.path("activations")
        return any(folder.glob("layer_*")) or not (folder / "tokens.parquet").exists()

    def reader(self, layer: int) -> ActivationReader:
        """One layer's rows; UserError where the stage activations has not run, or not with this layer."""
        if self.stored:
            return ActivationReader(self.run.dir, layer)
        if self._replay is None:
            passes = Passes(self.run, self.config, self._load())
            cache_bytes = int(self.config.activations.cache_gb * GB)
            computed_in = self.config.model.dtype
            self._replay = Replay(passes, self.layers, self._folder, cache_bytes, computed_in, self._log)
        return self._replay.reader(layer)

    def clear(self) -> None:
        """Remove the computed blocks."""
        shutil.rmtree(self._folder, ignore_errors=True)


class Replay:
    """Computes blocks when their rows are wanted; ``n_computed`` counts them.

    ``folder`` may hold blocks of an earlier process of the same stage; they are the same and are used.
    """

    def __init__(
        self,
        passes: Passes,
        layers: Sequence[int],
        folder: Path,
        cache_bytes: int,
        computed_in: str,
        log: logging.Logger,
    ):
        self.passes, self.folder, self.cache_bytes, self.computed_in = passes, folder, cache_bytes, computed_in
        self.log, self.n_computed = log, 0
        self.row_bytes = passes.vlm.d_model * DTYPES[passes.config.dtype].itemsize
        self.groups = layer_groups(layers, sum(passes.block_rows) * self.row_bytes, cache_bytes)
        self._group: Sequence[int] = ()
        self._held: list[int] = []  # blocks on disk, the oldest first

    def reader(self, layer: int) -> ActivationReader:
        """The rows of a layer, in the order and with the shard borders of the store."""
        shards = [_Computed(self, layer, blocks) for blocks in self.passes.shards]
        return ActivationReader(self.passes.run.dir, layer, shards)

    def take(self, layer: int, block: int, local: np.ndarray) -> Tensor:
        """Rows of a block (numbers within it) as stored, computed first where they are not on disk."""
        self._turn_to(layer)
        path = self._path(layer, block)
        if not path.exists():
            self._compute(block)
        return Shard(path).take(local)

    def _turn_to(self, layer: int) -> None:
        """Make the layer's group the one that is kept."""
        if layer in self._group:
            return
        self._group = next(group for group in self.groups if layer in group)
        for other in {n for group in self.groups for n in group} - set(self._group):
            shutil.rmtree(self._path(other, 0).parent, ignore_errors=True)
        self._held = [b for b in range(len(self.passes.blocks)) if all(self._path(n, b).exists() for n in self._group)]
        n_left, names = len(self.passes.blocks) - len(self._held), ", ".join(map(str, self._group))
        self.log.info("activations of the layers %s are computed again: %d blocks", names, n_left)
        if (total := sum(self.passes.block_rows) * self.row_bytes) > self.cache_bytes:
            self.log.warning(
                "one layer's activations take %.1f GB, more than activations.cache_gb: they are computed "
                "as often as they are read",
                total / GB,
            )

    def _compute(self, block: int) -> None:
        """Put a block's rows of all layers of the group on disk; the oldest blocks go where there is no room."""
        n_bytes = [n * self.row_bytes * len(self._group) for n in self.passes.block_rows]
        while self._held and sum(n_bytes[b] for b in self._held) + n_bytes[block] > self.cache_bytes:
            oldest = self._held.pop(0)
            for layer in self._group:
                self._path(layer, oldest).unlink(missing_ok=True)
        for layer, rows in self.passes.residuals(block, self._group).items():
            check_finite(rows, layer, self.computed_in, self.passes.config.dtype)
            with atomic_path(self._path(layer, block)) as path:
                save_file({TENSOR: rows}, path)
        self._held = [*(b for b in self._held if b != block), block]
        self.n_computed += 1

    def _path(self, layer: int, block: int) -> Path:
        return self.folder / f"layer_{layer:02d}" / f"block_{block:06d}.safetensors"


class _Computed:
    """A shard whose rows are computed when they are wanted."""

    def __init__(self, replay: Replay, layer: int, blocks: Sequence[int]):
        self.replay, self.layer, self.blocks = replay, layer, blocks
        self._starts = np.cumsum([0, *(replay.passes.block_rows[block] for block in blocks)])
        self.n_rows, self.d_model = int(self._starts[-1]), replay.passes.vlm.d_model
        self.torch_dtype = DTYPES[replay.passes.config.dtype]

    def take(self, local: Int[np.ndarray, " n"]) -> Float[Tensor, "n d_model"]:
        """The rows asked for, by their number within the shard, in that order."""
        found = torch.empty(len(local), self.d_model, dtype=self.torch_dtype)
        owner = np.searchsorted(self._starts, local, side="right") - 1
        for i in np.unique(owner):
            at = np.flatnonzero(owner == i)
            found[torch.from_numpy(at)] = self.replay.take(self.layer, self.blocks[i], local[at] - self._starts[i])
        return found


def layer_groups(layers: Sequence[int], layer_bytes: int, cache_bytes: int) -> list[list[int]]:
    """Consecutive layers that are computed and kept together: as many as fit, at least one."""
    n = max(1, cache_bytes // max(1, layer_bytes))
    return [list(layers[start : start + n]) for start in range(0, len(layers), n)]
