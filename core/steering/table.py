"""The edits of one layer as tensors: rows of the batch by columns, a column being a feature or a direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import UserError
from core.steering.edits import MODES, READS_Z, Direction, Edit
from core.vlm.batch import KINDS, PAD

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


def build_table(
    rows: Sequence[Sequence[Edit]], W_dec: Tensor, max_act: Mapping[tuple[int, Target], float], vectors: Vectors
) -> Table:
    """The table of one layer's edits, one list for each row of the batch.

    Raises UserError for two edits of one target at the same place and for projections that differ in place in a row.
    """
    placed = [[(_key(edits, i), edit) for i, edit in enumerate(edits)] for edits in rows]
    keys = sorted({key for row in placed for key, _ in row})
    columns = {key: i for i, key in enumerate(keys)}
    shape = (len(rows), len(columns))
    mode, amount = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape)
    in_resid, if_fires = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    where = torch.zeros(*shape, PAD + 1, dtype=torch.bool)
    layer = next(edit.layer for row in rows for edit in row)
    for row, items in enumerate(placed):
        for key, edit in items:
            at = columns[key]
            mode[row, at] = MODE_CODES[edit.mode]
            scale = vectors[layer, edit.direction].scale if edit.direction else max_act.get((layer, edit.feature))
            amount[row, at] = edit.amount(scale)
            in_resid[row, at] = edit.unit == "resid" and edit.mode in ("add", "clamp", "floor")
            if_fires[row, at] = edit.condition == "fires"
            where[row, at, [KINDS.index(place) for place in edit.where]] = True
    device = W_dec.device
    feature = torch.tensor([f for f, name, _ in keys if not name], dtype=torch.int64, device=device)
    named = [vectors[layer, name] for _, name, _ in keys if name]
    writes = [W_dec.detach().index_select(0, feature).float(), *(v.write.float()[None].to(device) for v in named)]
    write = torch.cat(writes)
    read, offset = _reading(named, W_dec.shape[1], device)
    modes = tuple(m for m, code in MODE_CODES.items() if bool((mode == code).any()))
    return Table(
        tuple(name or f for f, name, _ in keys), feature, write, read, offset, mode.to(device),
        amount.to(device), in_resid.to(device), if_fires.to(device), where.to(device), modes,
        bool(READS_Z & set(modes)) or bool(if_fires.any()), tuple(_projections(mode, where, write)),
    )  # fmt: skip


def _reading(named: Sequence[Direction], d_model: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """read (n_directions, d_model) and read . center (n_directions,)."""
    if not named:
        return torch.zeros(0, d_model, device=device), torch.zeros(0, device=device)
    read = torch.stack([v.reading.float().to(device) for v in named])
    centers = [torch.zeros(d_model) if v.center is None else v.center.float() for v in named]
    return read, (read * torch.stack([center.to(device) for center in centers])).sum(1)


def _key(edits: Sequence[Edit], at: int) -> tuple[int, str, int]:
    """(feature, direction, how many edits of it came before in this row); features sort before directions."""
    edit = edits[at]
    same = [other for other in edits[:at] if other.target == edit.target]
    if any(set(edit.where) & set(other.where) for other in same):
        what = f"Direction {edit.direction}" if edit.direction else f"Feature {edit.feature}"
        raise UserError(
            f"{what} of layer {edit.layer} is edited twice at the same tokens.",
            "It would not be clear what should hold.",
            "Keep one of the edits, or give them different places.",
        )
    return edit.feature if edit.feature >= 0 else LAST, edit.direction, len(same)


LAST = 2**62  # sorts directions behind all features


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
