"""Sparse codes by token, as a run keeps them: a sequence, or any stretch of rows, is read at once.

Layout of ``<run>/codes/layer_XX/part_NNNNN.safetensors``, ROWS_PER_PART activation rows a file: ``indptr``
(n_rows + 1) int64, where each row's entries begin; ``feature`` (nnz), uint16 where the SAE has at most 65,536 features,
else int32, rising within a row; ``value`` (nnz) float32, as the SAE gave it: rounded to bfloat16 a third of the bytes
would be saved, and what later stages make of them would no longer be the same; ``d_sae`` (1) int64. BOS rows have no
entries. The metadata say sae_id.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from core.errors import UserError
from core.run import Run, atomic_path

if TYPE_CHECKING:
    from torch import Tensor

    from core.features.codes import RowReader, SparseEncoder
    from core.sae.modules import SparseCode

FOLDER = "codes"
ROWS_PER_PART = 65_536
BATCH_ROWS = 4_096  # rows that are encoded at once: the same wherever codes are made, so that they are the same
NARROW = 1 << 16  # features that a uint16 can count
REDO = "Compute the run again: python -m precompute run PRESET."


class RowCodes(NamedTuple):
    """Triplets of some activation rows, sorted by row (from the first that was asked for) and then feature."""

    row: np.ndarray
    feature: np.ndarray
    value: np.ndarray


NO_CODES = RowCodes(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))


def write_part(path: Path, codes: RowCodes, n_rows: int, d_sae: int, sae_id: str) -> None:
    """One file: the codes of ``n_rows`` rows."""
    tensors = {
        "indptr": np.concatenate([[0], np.cumsum(np.bincount(codes.row, minlength=n_rows))]).astype(np.int64),
        "feature": codes.feature.astype(np.uint16 if d_sae <= NARROW else np.int32),
        "value": codes.value.astype(np.float32),
        "d_sae": np.array([d_sae]),
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"sae_id": sae_id})  # several would come in any order


def layer_folder(run_dir: Path, layer: int) -> Path:
    """Where the codes of one layer lie."""
    return Path(run_dir) / FOLDER / f"layer_{layer:02d}"


def part_path(run_dir: Path, layer: int, number: int) -> Path:
    """The file of one part."""
    return layer_folder(run_dir, layer) / f"part_{number:05d}.safetensors"


class TokenCodes:
    """Reads the codes of one layer; holds nothing. UserError where its files cannot be read or do not fit."""

    def __init__(self, run_dir: str | Path, layer: int, sae_id: str, rows_per_part: int = ROWS_PER_PART):
        self.run_dir, self.layer, self.sae_id, self.rows_per_part = Path(run_dir), layer, sae_id, rows_per_part

    @classmethod
    def of(cls, run: Run, layer: int, sae_id: str) -> TokenCodes | None:
        """Those of a run, which must be of the SAE ``sae_id``; None where it keeps none of the layer.

        UserError where they are left over from activations that are no more.
        """
        if not part_path(run.dir, layer, 0).is_file():
            return None
        records = run.manifest().stages if run.path("manifest.json").is_file() else {}
        made, now = records.get("codes"), records.get("activations")
        if made is not None and now is not None and made.inputs.get("activations", now.content) != now.content:
            why = "The activations were computed again since."
            raise UserError(f"The codes of layer {layer} are out of date.", why, REDO)
        return cls(run.dir, layer, sae_id)

    def read(self, start: int, stop: int) -> RowCodes:
        """The codes of the rows start .. stop - 1."""
        found = []
        for number in range(start // self.rows_per_part, -(-stop // self.rows_per_part)):
            first = number * self.rows_per_part
            low, high = max(start, first), min(stop, first + self.rows_per_part)
            part = self._part(number, low - first, high - first)
            found.append(part._replace(row=part.row + (low - start)))
        if len(found) == 1:
            return found[0]
        return RowCodes(*(np.concatenate(column) for column in zip(NO_CODES, *found, strict=True)))

    def _part(self, number: int, low: int, high: int) -> RowCodes:
        """Rows low .. high - 1 of one file."""
        path = part_path(self.run_dir, self.layer, number)
        what = f"The codes of layer {self.layer} cannot be read."
        try:
            with safe_open(path, framework="np") as file:
                noted = file.metadata() or {}
                if noted.get("sae_id") != self.sae_id:
                    raise other_sae(self.layer, self.sae_id, noted.get("sae_id", "none"))
                indptr = file.get_slice("indptr")[low : high + 1]
                n, d_sae = file.get_slice("feature").get_shape()[0], int(file.get_tensor("d_sae")[0])
                if len(indptr) != high - low + 1 or indptr[0] < 0 or indptr[-1] > n or (np.diff(indptr) < 0).any():
                    raise UserError(what, f"{path.name} does not hold the rows {low} to {high}.", REDO)
                first, last = int(indptr[0]), int(indptr[-1])
                feature, value = np.zeros(0, np.int32), np.zeros(0, np.float32)
                if last > first:  # safetensors refuses an empty slice at a tensor's end
                    feature = file.get_slice("feature")[first:last].astype(np.int32)
                    value = file.get_slice("value")[first:last]
        except FileNotFoundError:
            raise UserError(what, f"{path.name} is missing.", REDO) from None
        except (SafetensorError, KeyError, ValueError) as error:
            raise UserError(what, f"{path.name}: {error}", REDO) from error
        if len(feature) and (int(feature.max()) >= d_sae or int(feature.min()) < 0 or not np.isfinite(value).all()):
            why = f"{path.name} names feature {int(feature.max()):,} of {d_sae:,}, or holds values that are not finite."
            raise UserError(what, why, REDO)
        return RowCodes(np.repeat(np.arange(high - low, dtype=np.int64), np.diff(indptr)), feature, value)


def other_sae(layer: int, named: str, found: str) -> UserError:
    """Codes of another SAE: a feature number means nothing in another dictionary."""
    return UserError(
        f"The codes of layer {layer} are of another SAE.",
        f"saes.parquet names {named}; the codes are of {found}.",
        REDO,
    )


class Coder:
    """Codes of a layer's rows, batch by batch: those that are kept, else worked out, which gives the same."""

    def __init__(self, sae: SparseEncoder, group: np.ndarray, kept: TokenCodes | None = None, device: str = "cpu"):
        """``group`` is that of the TokenIndex: -1 for BOS, which has no code."""
        self.sae, self.group, self.kept, self.device = sae, group, kept, device

    def rows(self, first: int, last: int) -> np.ndarray:
        """The rows from first to last - 1 that have a code."""
        return first + np.flatnonzero(self.group[first:last] >= 0)

    def code(self, first: int, last: int, x: Tensor) -> SparseCode:
        """The code of ``rows(first, last)``, whose residuals are ``x``; a row counts from 0 in ``x``."""
        import torch

        from core.sae.modules import SparseCode

        if self.kept is None:
            return self.sae.sparse_code(x)
        found = self.kept.read(first, last)
        place = np.cumsum(self.group[first:last] >= 0) - 1
        triplet = place[found.row], found.feature.astype(np.int64), found.value
        return SparseCode(*(torch.from_numpy(part).to(self.device) for part in triplet))


def encode_part(coder: Coder, reader: RowReader, start: int, stop: int, batch_rows: int = BATCH_ROWS) -> RowCodes:
    """The codes of the rows start .. stop - 1, as ``TokenCodes.read`` gives them back."""
    import torch

    parts = [NO_CODES]
    for first in range(start, stop, batch_rows):
        last = min(first + batch_rows, stop)
        rows = coder.rows(first, last)
        if len(rows):
            x = reader.read(slice(first, last)).to(coder.device)[torch.from_numpy(rows - first).to(coder.device)]
            with torch.no_grad():
                code = coder.code(first, last, x.float())
            row, feature, value = (part.cpu().numpy() for part in (code.row, code.feature, code.value.float()))
            parts.append(RowCodes(rows[row] - start, feature, value))
    return RowCodes(*(np.concatenate(column) for column in zip(*parts, strict=True)))
