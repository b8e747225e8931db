"""Edits become hooks: h' = h + min(1, cap |h| / |delta|) delta with delta = sum over features of (z' - z) W_dec.

z is the SAE's code of h. Nothing is decoded in full, so what the SAE does not explain of h stays as it is: ablating a
feature gives h - z W_dec, clamping it to the value it has gives h itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from core.errors import UserError
from core.sae.files import sae_id
from core.steering.edits import MODES, READS_Z, Edit
from core.steering.record import EditRecord
from core.vlm.batch import KINDS, PAD
from core.vlm.hooks import EditFn

if TYPE_CHECKING:
    from core.sae.modules import SAE

DEFAULT_CAP = 1.0  # of |h|: a change is never longer than the residual it changes
ENCODE_ROWS = 1024  # tokens encoded at once, which bounds the dense code to ENCODE_ROWS x d_sae
_MODE_CODES = {mode: code for code, mode in enumerate(MODES, 1)}
_ids: WeakKeyDictionary[SAE, str] = WeakKeyDictionary()  # finished SAEs do not change, and hashing them costs time


def edit_hooks(
    edits_per_row: Sequence[Sequence[Edit]],
    saes: Mapping[int, SAE],
    p999: Mapping[tuple[int, int], float],
    cap: float = DEFAULT_CAP,
    record: EditRecord | None = None,
) -> dict[int, EditFn]:
    """Functions for ``VLM.forward(edits=)`` and ``hooks.editing``: layer -> fn, one list of edits for each batch row.

    ``p999`` gives (layer, feature) -> activation that strength 1 in max_act means. ``cap`` bounds |h' - h| / |h|;
    math.inf for none. Layers whose edits do nothing get no hook. Raises UserError for an edit of an SAE other than the
    one given for its layer, for an unknown feature, and for two edits of one feature at the same place.
    """
    if math.isnan(cap) or cap <= 0:
        raise UserError(f"The cap on edits cannot be {cap}.", "It bounds |change| / |residual|.", "Use more than 0.")
    by_layer: dict[int, list[list[Edit]]] = {}
    for row, edits in enumerate(edits_per_row):
        for edit in edits:
            _check(edit, saes)
            if not edit.does_nothing:
                by_layer.setdefault(edit.layer, [[] for _ in edits_per_row])[row].append(edit)
    return {
        layer: _LayerEdit(layer, saes[layer], _table(rows, p999, saes[layer].W_dec.device), cap, record)
        for layer, rows in sorted(by_layer.items())
    }


def _check(edit: Edit, saes: Mapping[int, SAE]) -> None:
    sae = saes.get(edit.layer)
    if sae is None:
        raise UserError(
            f"There is no SAE of layer {edit.layer} to edit feature {edit.feature} with.",
            f"SAEs are at hand for layers {', '.join(map(str, sorted(saes))) or 'none'}.",
            "Choose one of these layers.",
        )
    if sae not in _ids:
        _ids[sae] = sae_id(sae)
    if edit.sae_id != _ids[sae]:
        raise UserError(
            f"The edit of feature {edit.feature} belongs to another SAE.",
            f"It was made for {edit.sae_id}; layer {edit.layer} has {_ids[sae]}, a different set of features.",
            "Pick the feature again in this run.",
        )
    if not 0 <= edit.feature < sae.W_dec.shape[0]:
        raise UserError(
            f"Layer {edit.layer} has no feature {edit.feature}.", f"Its features are 0 to {sae.W_dec.shape[0] - 1}."
        )


@dataclass(frozen=True)
class _Table:
    """The edits of one layer: rows of the batch by columns; a column is a feature (twice if places have own edits)."""

    feature: Tensor  # (n_columns,)
    mode: Tensor  # (n_rows, n_columns) codes, 0 for no edit
    amount: Tensor  # (n_rows, n_columns)
    where: Tensor  # (n_rows, n_columns, PAD + 1) bool by kind code
    modes: tuple[str, ...]


def _table(rows: Sequence[Sequence[Edit]], p999: Mapping[tuple[int, int], float], device: torch.device) -> _Table:
    placed = [[(_column(edits, i), edit) for i, edit in enumerate(edits)] for edits in rows]
    columns = {key: i for i, key in enumerate(sorted({key for row in placed for key, _ in row}))}
    mode = torch.zeros(len(rows), len(columns), dtype=torch.int64)
    amount = torch.zeros(len(rows), len(columns))
    where = torch.zeros(len(rows), len(columns), PAD + 1, dtype=torch.bool)
    for row, items in enumerate(placed):
        for key, edit in items:
            at = columns[key]
            mode[row, at] = _MODE_CODES[edit.mode]
            amount[row, at] = edit.amount(p999.get((edit.layer, edit.feature)))
            where[row, at, [KINDS.index(place) for place in edit.where]] = True
    modes = tuple(m for m, code in _MODE_CODES.items() if bool((mode == code).any()))
    feature = torch.tensor([f for f, _ in columns], dtype=torch.int64)
    return _Table(feature.to(device), mode.to(device), amount.to(device), where.to(device), modes)


def _column(edits: Sequence[Edit], at: int) -> tuple[int, int]:
    """(feature, how many edits of it came before in this row); UserError when two would act on one token."""
    same = [edit for edit in edits[:at] if edit.feature == edits[at].feature]
    if any(set(edit.where) & set(edits[at].where) for edit in same):
        raise UserError(
            f"Feature {edits[at].feature} of layer {edits[at].layer} is edited twice at the same tokens.",
            "It would not be clear what should hold.",
            "Keep one of the edits, or give them different places.",
        )
    return edits[at].feature, len(same)


class _LayerEdit:
    """The hook function of one layer."""

    def __init__(self, layer: int, sae: SAE, table: _Table, cap: float, record: EditRecord | None):
        self.layer, self.sae, self.table, self.cap, self.record = layer, sae, table, cap, record
        self.directions = sae.W_dec.detach().index_select(0, table.feature).float()  # (n_columns, d_model)
        self.touches = (table.where & (table.mode > 0)[..., None]).any(1)  # (n_rows, kind codes)
        self.reads_z = bool(READS_Z & set(table.modes))

    @torch.no_grad()
    def __call__(self, h: Tensor, kinds: Tensor) -> Tensor:
        if h.shape[0] != len(self.table.mode):
            raise ValueError(f"There are edits for {len(self.table.mode)} rows; the batch has {h.shape[0]}.")
        kinds = kinds.to(self.touches.device, torch.int64)
        row, position = self.touches.gather(1, kinds).nonzero(as_tuple=True)
        if not len(row):
            return h
        kind = kinds[row, position]
        old = h[row.to(h.device), position.to(h.device)].to(self.directions.device, torch.float32)
        delta, size = self._delta(old, row, kind)
        norm = old.norm(dim=-1, keepdim=True)
        step = (self.cap * norm / size).clamp_max(1.0).nan_to_num(1.0)  # 0 / 0 where nothing is to change
        new = torch.where(size > 0, old + step * delta, old).to(h.device, h.dtype)
        if self.record is not None:
            wanted = (size / norm)[:, 0].nan_to_num(0.0)
            self.record.add(self.layer, row, kind, step[:, 0] * wanted, wanted)
        edited = h.clone()
        edited[row.to(h.device), position.to(h.device)] = new
        return edited

    def _delta(self, old: Tensor, row: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        """Change (n, d_model) of the chosen residuals and its length (n, 1)."""
        mode, amount = self.table.mode[row], self.table.amount[row]
        z = self._code(old) if self.reads_z else torch.zeros_like(amount)
        change = torch.zeros_like(amount)
        for name in self.table.modes:
            change = torch.where(mode == _MODE_CODES[name], MODES[name](z, amount), change)
        active = self.table.where[row, :, kind]
        delta = torch.where(active, change, 0.0) @ self.directions
        return delta, delta.norm(dim=-1, keepdim=True)

    def _code(self, old: Tensor) -> Tensor:
        """Activations (n, n_columns) of the edited features."""
        return torch.cat([self.sae.encode(part)[:, self.table.feature].float() for part in old.split(ENCODE_ROWS)])
