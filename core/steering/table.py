"""The edits of one layer as tensors: rows of the batch by columns, a column being a feature or a direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.errors import UserError
from core.steering.edits import MODES, READS_Z, Direction, Edit
from core.vlm.batch import KINDS, PAD

LAST = 2**62  # sorts directions behind all features
MODE_CODES = {mode: code for code, mode in enumerate(MODES, 1)}
Vectors = Mapping[tuple[int, str], Direction]
Target = int | str


@dataclass(frozen=True)
class Table:
    """Which columns there are, and what each row of the batch does to them; all tensors on the SAE's device."""

    targets: tuple[Target, ...]  # of the columns: features first, then directions; twice if places have own edits
    feature: Tensor  # (n_features,) of the first columns
    write: Tensor  # (n_columns, d_model) float32: what one unit of activation adds to the residual
    read: Tensor  # (n_directions, d_model) float32
    offset: Tensor  # (n_directions,) read . center
    mode: Tensor  # (n_rows, n_columns) codes, 0 for no edit
    amount: Tensor  # (n_rows, n_columns)
    in_resid: Tensor  # (n_rows, n_columns) bool: the amount is a share of |h|
    if_fires: Tensor  # (n_rows, n_columns) bool
    where: Tensor  # (n_rows, n_columns, PAD + 1) bool by kind code
    modes: tuple[str, ...]
    reads_z: bool
    projections: tuple[tuple[Tensor, Tensor], ...]  # rows of the batch (n_rows,) bool, and their (n_columns, n_columns)

    @property
    def touches(self) -> Tensor:
        """(n_rows, PAD + 1) bool: the kinds of tokens at which anything may change."""
        return (self.where & (self.mode > 0)[..., None]).any(1)

    def of_rows(self, rows: slice | Tensor) -> Table:
        """The table of some rows of the batch, a span or numbers (n,)."""
        rows = rows.to(self.mode.device) if isinstance(rows, Tensor) else rows
        by_row = {name: getattr(self, name)[rows] for name in ("mode", "amount", "in_resid", "if_fires", "where")}
        return replace(self, **by_row, projections=tuple((mine[rows], solve) for mine, solve in self.projections))


def build_table(
    rows: Sequence[Sequence[Edit]], W_dec: Tensor, max_act: Mapping[tuple[int, Target], float], vectors: Vectors
) -> Table:
    """The table of one layer's edits, one list for each row of the batch.

    Raises UserError for two edits of one target at the same place and for projections that differ in place in a row.
    """
    kinds = {id(edits): edits for edits in rows}  # rows are often one and the same list
    number = {key: i for i, key in enumerate(kinds)}
    of_row = torch.tensor([number[id(edits)] for edits in rows])
    placed = [_placed(edits) for edits in kinds.values()]
    keys = sorted({key for one in placed for key, _ in one})
    columns = {key: i for i, key in enumerate(keys)}
    layer = next(edit.layer for row in rows for edit in row)
    filled = [_filled(one, columns, max_act, vectors, layer) for one in placed]
    mode, amount, in_resid, if_fires, where = (torch.tensor(part)[of_row] for part in zip(*filled, strict=True))
    device = W_dec.device
    feature = torch.tensor([f for f, name, _ in keys if not name], dtype=torch.int64, device=device)
    named = [vectors[layer, name] for _, name, _ in keys if name]
    writes = [W_dec.detach().index_select(0, feature).float(), *(v.write.float()[None].to(device) for v in named)]
    write = torch.cat(writes)
    read, offset = _reading(named, W_dec.shape[1], device)
    modes = tuple(m for m, code in MODE_CODES.items() if bool((mode == code).any()))
    return Table(
        tuple(name or f for f, name, _ in keys),
        feature,
        write,
        read,
        offset,
        mode.to(device),
        amount.to(device),
        in_resid.to(device),
        if_fires.to(device),
        where.to(device),
        modes,
        bool(READS_Z & set(modes)) or bool(if_fires.any()),
        tuple(_projections(mode, where, write)),
    )


def _placed(edits: Sequence[Edit]) -> list[tuple[tuple[int, str, int], Edit]]:
    """Each edit with its column: (feature, direction, how many edits of it came before); directions sort last."""
    before: dict[Target, list[Edit]] = {}
    found = []
    for edit in edits:
        same = before.setdefault(edit.target, [])
        if any(set(edit.where) & set(other.where) for other in same):
            what = f"Direction {edit.direction}" if edit.direction else f"Feature {edit.feature}"
            raise UserError(
                f"{what} of layer {edit.layer} is edited twice at the same tokens.",
                "It would not be clear what should hold.",
                "Keep one of the edits, or give them different places.",
            )
        found.append(((edit.feature if edit.feature >= 0 else LAST, edit.direction, len(same)), edit))
        same.append(edit)
    return found


def _filled(
    placed: Sequence[tuple[tuple[int, str, int], Edit]],
    columns: Mapping[tuple[int, str, int], int],
    max_act: Mapping[tuple[int, Target], float],
    vectors: Vectors,
    layer: int,
) -> tuple[list[int], list[float], list[bool], list[bool], list[list[bool]]]:
    """One row's mode, amount, in_resid, if_fires and where, by column."""
    n = len(columns)
    mode, amount, in_resid, if_fires = [0] * n, [0.0] * n, [False] * n, [False] * n
    where = [[False] * (PAD + 1) for _ in range(n)]
    for key, edit in placed:
        at = columns[key]
        mode[at] = MODE_CODES[edit.mode]
        scale = vectors[layer, edit.direction].scale if edit.direction else max_act.get((layer, edit.feature))
        amount[at] = edit.amount(scale)
        in_resid[at] = edit.unit == "resid" and edit.mode in ("add", "clamp", "floor")
        if_fires[at] = edit.condition == "fires"
        for place in edit.where:
            where[at][KINDS.index(place)] = True
    return mode, amount, in_resid, if_fires, where


def _reading(named: Sequence[Direction], d_model: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """read (n_directions, d_model) and read . center (n_directions,)."""
    if not named:
        return torch.zeros(0, d_model, device=device), torch.zeros(0, device=device)
    read = torch.stack([v.reading.float().to(device) for v in named])
    centers = [torch.zeros(d_model) if v.center is None else v.center.float() for v in named]
    return read, (read * torch.stack([center.to(device) for center in centers])).sum(1)


def _projections(mode: Tensor, where: Tensor, write: Tensor):
    """For each set of projected columns the rows that have it, and the matrix that turns write . h into coefficients.

    Removing the span of the rows D of ``write`` is h - D^T (D D^T)^+ D h: vectors that are not orthogonal are not
    removed twice.
    """
    projected = mode == MODE_CODES["project_out"]
    for pattern in torch.unique(projected, dim=0):
        if not bool(pattern.any()):
            continue
        rows = (projected == pattern).all(1)
        for row in rows.nonzero()[:, 0]:
            if len(torch.unique(where[row, pattern], dim=0)) > 1:
                raise UserError(
                    "Vectors that are projected out together must be so at the same tokens.",
                    "What their span is would differ from token to token.",
                    "Give these edits the same places.",
                )
        columns = pattern.to(write.device)
        own = (write * columns[:, None]).double()
        yield rows.to(write.device), torch.linalg.pinv(own @ own.T, rtol=1e-9, hermitian=True).float()
