"""What edits achieved: how far residuals were moved, and where the cap held them back."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class EditRecord:
    """Gathers, while hooks run, one entry per touched position; nothing leaves the device until it is read."""

    _seen: list[tuple[int, Tensor, Tensor, Tensor, Tensor]] = field(default_factory=list)

    def add(self, layer: int, row: Tensor, kind: Tensor, ratio: Tensor, wanted: Tensor) -> None:
        """Keep (n,) rows of the batch, kind codes, |h' - h| / |h| as applied, and the same as wanted without a cap."""
        self._seen.append((layer, row, kind, ratio, wanted))

    def positions(self) -> list[dict[str, float | int | bool]]:
        """One dict per touched position: layer, row, kind (code), ratio |h' - h| / |h|, wanted, capped."""
        return [
            {"layer": layer, "row": r, "kind": k, "ratio": got, "wanted": want, "capped": got < want * (1 - 1e-5)}
            for layer, *columns in self._seen
            for r, k, got, want in zip(*(c.tolist() for c in columns), strict=True)
        ]

    def by_row(self, layer: int, n_rows: int) -> list[dict[str, float | int]]:
        """For each row of the batch: n touched positions, n_capped, mean and max ratio |h' - h| / |h| (0 if none)."""
        seen = [columns for at, *columns in self._seen if at == layer]
        rows, _, ratio, wanted = (torch.cat(parts).cpu() for parts in zip(*seen, strict=True)) if seen else [_NONE] * 4
        found = []
        for row in range(n_rows):
            mine, want = ratio[rows == row], wanted[rows == row]
            n = len(mine)
            found.append({
                "n": n, "n_capped": int((mine < want * (1 - 1e-5)).sum()),
                "mean_ratio": float(mine.mean()) if n else 0.0, "max_ratio": float(mine.max()) if n else 0.0,
            })  # fmt: skip
        return found

    def clear(self) -> None:
        """Forget what was gathered."""
        self._seen.clear()


_NONE = torch.empty(0)
