"""What edits achieved: which positions were touched, how far residuals moved, and where the cap held them back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

BIT = 1 - 1e-5  # the cap bit where less than this share of the wanted change was made


@dataclass(frozen=True)
class Touched:
    """One call of one layer's hook: (n,) entries, one for each residual it touched."""

    layer: int
    step: int  # calls of the hook before this one: 0 is the whole prompt, then one generated token each
    row: Tensor
    position: Tensor  # within this pass, padding included
    kind: Tensor
    ratio: Tensor  # |h' - h| / |h| as made
    wanted: Tensor  # the same without a cap
    angle: Tensor  # degrees between h and h'
    targets: tuple[int | str, ...]  # of the columns
    edited: Tensor  # (n, n_columns) bool
    codes: tuple[Tensor, Tensor] | None  # z before and after (n, n_columns), where asked for


@dataclass
class EditRecord:
    """Gathers what hooks do while they run; nothing leaves the device until it is read.

    With ``achieved``, h' is read again, so that the z that an edit brought about is known and not only asked for.
    """

    achieved: bool = False
    _seen: list[Touched] = field(default_factory=list)

    def add(self, touched: Touched) -> None:
        """Keep what one call of a hook did."""
        self._seen.append(touched)

    def positions(self) -> list[dict[str, Any]]:
        """One dict per touched position: layer, step, row, position, kind (code), ratio, wanted, angle, capped.

        With ``achieved`` also z_before and z_after, each a dict of the feature or direction.
        """
        found = []
        for t in self._seen:
            names = ("row", "position", "kind", "ratio", "wanted", "angle")
            columns = [getattr(t, name).tolist() for name in names]
            for i, values in enumerate(zip(*columns, strict=True)):
                entry = {"layer": t.layer, "step": t.step, **dict(zip(names, values, strict=True))}
                entry["capped"] = entry["ratio"] < entry["wanted"] * BIT
                if t.codes is not None:
                    for name, codes in zip(("z_before", "z_after"), t.codes, strict=True):
                        entry[name] = {t.targets[c]: float(codes[i, c]) for c in t.edited[i].nonzero()[:, 0].tolist()}
                found.append(entry)
        return found

    def by_row(self, layer: int, n_rows: int) -> list[dict[str, float | int]]:
        """For each row of the batch: n touched positions, n_capped, mean and max ratio, mean angle (0 if none)."""
        seen = [t for t in self._seen if t.layer == layer]
        rows, ratio, wanted, angle = (
            torch.cat([getattr(t, name) for t in seen]).cpu() if seen else torch.empty(0)
            for name in ("row", "ratio", "wanted", "angle")
        )
        found = []
        for row in range(n_rows):
            mine = rows == row
            got, want, n = ratio[mine], wanted[mine], int(mine.sum())
            found.append(
                {
                    "n": n,
                    "n_capped": int((got < want * BIT).sum()),
                    "mean_ratio": float(got.mean()) if n else 0.0,
                    "max_ratio": float(got.max()) if n else 0.0,
                    "mean_angle": float(angle[mine].mean()) if n else 0.0,
                }
            )
        return found

    def clear(self) -> None:
        """Forget what was gathered."""
        self._seen.clear()
