"""Writes the layout of ``store`` so that a process killed at any moment goes on and ends in the same bytes.

Work is cut into blocks whose sizes are known before anything is computed, so the borders of blocks and shards never
depend on where a run was killed. A finished block is one part file in the work folder; when all parts of a shard are
there, the shard of every layer is put together, then marked as done, and only then are its parts removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.activations.store import TENSOR, layer_dir, shard_path
from core.errors import UserError
from core.run import atomic_path, write_json
from core.vlm.loading import DTYPES


class ActivationWriter:
    """Takes blocks of rows in any order; ``block_rows[i]`` says how many rows block i has.

    ``dtype`` is what is stored, ``computed_in`` what the model ran in (it is only named in errors).
    """

    def __init__(
        self,
        run_dir: Path,
        work_dir: Path,
        layers: Sequence[int],
        dtype: str,
        shard_rows: int,
        block_rows: Sequence[int],
        computed_in: str,
    ):
        self.run_dir, self.work_dir = Path(run_dir), Path(work_dir)
        self.layers, self.dtype, self.block_rows = sorted(layers), dtype, list(block_rows)
        self.computed_in = computed_in
        self.shards = shard_blocks(block_rows, shard_rows)
        self._shard_of = {block: shard for shard, blocks in enumerate(self.shards) for block in blocks}
        self.work_dir.mkdir(parents=True, exist_ok=True)

    def has(self, block: int) -> bool:
        """Whether the block was computed."""
        return self.part(block).exists() or self._mark(self._shard_of[block]).exists()

    def todo(self) -> list[int]:
        """Blocks that are still to be computed, in order."""
        return [block for block in self._shard_of if not self.has(block)]

    def add(self, block: int, resid: Mapping[int, Tensor], close: bool = True) -> None:
        """Keep one block: layer -> resid_post (n_rows, d_model).

        With ``close`` its shard is put together where all blocks are there; of several processes one alone may do so.

        Raises UserError that names layer and dtype when a value is not finite as stored, ValueError for a wrong shape.
        """
        tensors = {}
        for layer in self.layers:
            stored = resid[layer].to("cpu", DTYPES[self.dtype]).contiguous()
            if len(stored) != self.block_rows[block]:
                raise ValueError(f"block {block} has {self.block_rows[block]} rows, layer {layer} gave {len(stored)}")
            check_finite(stored, layer, self.computed_in, self.dtype)
            tensors[f"layer_{layer:02d}"] = stored
        with atomic_path(self.part(block)) as path:
            save_file(tensors, path)
        if close:
            self._close_if_whole(self._shard_of[block])

    def finish(self) -> int:
        """Check that every shard is there, remove what an earlier run left beside them, return bytes written."""
        for shard in range(len(self.shards)):
            self._close_if_whole(shard)
        if open_shards := [shard for shard in range(len(self.shards)) if not self._mark(shard).exists()]:
            raise ValueError(f"shards {open_shards} are not complete")
        ours = {shard_path(self.run_dir, layer, shard) for layer in self.layers for shard in range(len(self.shards))}
        for path in (self.run_dir / "activations").glob("layer_*/shard_*.safetensors"):
            if path not in ours:
                path.unlink()
        for folder in (self.run_dir / "activations").glob("layer_*"):
            if folder not in {layer_dir(self.run_dir, layer) for layer in self.layers} and not any(folder.iterdir()):
                folder.rmdir()
        return sum(path.stat().st_size for path in ours)

    def _close_if_whole(self, shard: int) -> None:
        parts = [self.part(block) for block in self.shards[shard]]
        mark = self._mark(shard)
        if not mark.exists():
            if not all(part.exists() for part in parts):
                return
            for layer in self.layers:
                self._join(parts, layer, shard)
            write_json(mark, {"shard": shard, "blocks": self.shards[shard]})
        for part in parts:
            part.unlink(missing_ok=True)

    def _join(self, parts: Sequence[Path], layer: int, shard: int) -> None:
        tensors = []
        for part in parts:
            with safe_open(part, "pt") as file:
                tensors.append(file.get_tensor(f"layer_{layer:02d}"))
        with atomic_path(shard_path(self.run_dir, layer, shard)) as path:
            save_file({TENSOR: torch.cat(tensors)}, path)

    def part(self, block: int) -> Path:
        """The file of a block until its shard is put together."""
        return self.work_dir / f"block_{block:06d}.safetensors"

    def _mark(self, shard: int) -> Path:
        return self.work_dir / f"shard_{shard:05d}.json"


def check_finite(rows: Tensor, layer: int, computed_in: str, dtype: str) -> None:
    """UserError that names the layer and both dtypes, where a value of a block is not finite as it is kept."""
    n_bad = int((~torch.isfinite(rows)).sum())
    if n_bad:
        raise UserError(
            f"The activations of layer {layer} are not finite: {n_bad} values of {rows.numel()} in one block.",
            f"The model ran in {computed_in} and they are stored as {dtype}.",
            "Set model.dtype (float32 or bfloat16) and activations.dtype, or check the model's weights.",
        )


def shard_blocks(block_rows: Sequence[int], shard_rows: int) -> list[list[int]]:
    """Which consecutive blocks make up each shard: a shard ends with the block in which it reaches ``shard_rows``."""
    shards: list[list[int]] = []
    n_rows = shard_rows
    for block, n in enumerate(block_rows):
        if n_rows >= shard_rows:
            shards.append([])
            n_rows = 0
        shards[-1].append(block)
        n_rows += n
    return shards
