"""Edits become hooks: h' = h + min(1, cap |h| / |delta|) delta with delta = sum over features of (z' - z) W_dec.

z is the SAE's code of h. Nothing is decoded in full, so what the SAE does not explain of h stays as it is: ablating a
feature gives h - z W_dec, clamping it to the value it has gives h itself. A direction is changed in the same way, with
its own way to read z and to write.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from core.errors import UserError
from core.sae.files import sae_id
from core.steering.edits import MODES, Edit
from core.steering.record import EditRecord, Touched
from core.steering.table import MODE_CODES, Table, Target, Vectors, build_table
from core.vlm.hooks import EditFn

if TYPE_CHECKING:
    from core.sae.modules import SAE

DEFAULT_CAP = 1.0  # of |h|: a change is never longer than the residual it changes
ENCODE_ROWS = 1024  # tokens encoded at once, which bounds the dense code to ENCODE_ROWS x d_sae
_ids: WeakKeyDictionary[SAE, str] = WeakKeyDictionary()  # finished SAEs do not change, and hashing them costs time


def edit_hooks(
    edits_per_row: Sequence[Sequence[Edit]],
    saes: Mapping[int, SAE],
    p999: Mapping[tuple[int, int], float],
    cap: float = DEFAULT_CAP,
    record: EditRecord | None = None,
    directions: Vectors | None = None,
) -> dict[int, EditFn]:
    """Functions for ``VLM.forward(edits=)`` and ``hooks.editing``: layer -> fn, one list of edits for each batch row.

    ``p999`` gives (layer, feature) -> activation that strength 1 in max_act means; ``directions`` gives (layer, name)
    -> Direction. ``cap`` bounds |h' - h| / |h|; math.inf for none. Layers whose edits do nothing get no hook. Raises
    UserError for an edit of an SAE other than the one given for its layer, for an unknown feature or direction, and for
    two edits of one feature at the same place.
    """
    if math.isnan(cap) or cap <= 0:
        raise UserError(f"The cap on edits cannot be {cap}.", "It bounds |change| / |residual|.", "Use more than 0.")
    parts: dict[int, dict[int, list[Edit]]] = {}  # rows are often one and the same list: looked at once
    for edits in {id(edits): edits for edits in edits_per_row}.values():
        for edit in edits:
            _check(edit, saes, directions or {})
            if not edit.does_nothing:
                parts.setdefault(edit.layer, {}).setdefault(id(edits), []).append(edit)
    hooks: dict[int, EditFn] = {}
    for layer, of_rows in sorted(parts.items()):
        none: list[Edit] = []
        rows = [of_rows.get(id(edits), none) for edits in edits_per_row]
        table = _layer_table(rows, saes.get(layer), p999, directions or {})
        hooks[layer] = LayerEdit(layer, saes.get(layer), table, cap, record)
    return hooks


def _layer_table(
    rows: Sequence[Sequence[Edit]], sae: SAE | None, p999: Mapping[tuple[int, Target], float], vectors: Vectors
) -> Table:
    if sae is not None:
        return build_table(rows, sae.W_dec, p999, vectors)
    one = next(vectors[e.layer, e.direction].write for row in rows for e in row)
    return build_table(rows, one.new_zeros(0, len(one)), p999, vectors)


def _check(edit: Edit, saes: Mapping[int, SAE], directions: Vectors) -> None:
    if edit.direction:
        if (edit.layer, edit.direction) not in directions:
            known = sorted(name for layer, name in directions if layer == edit.layer)
            raise UserError(
                f"There is no direction {edit.direction} of layer {edit.layer}.",
                f"At hand there are {', '.join(known) or 'none'}.",
            )
        return
    sae = saes.get(edit.layer)
    if sae is None:
        raise UserError(
            f"There is no SAE of layer {edit.layer} to edit feature {edit.feature} with.",
            f"SAEs are at hand for layers {', '.join(map(str, sorted(saes))) or 'none'}.",
            "Choose one of these layers.",
        )
    if edit.sae_id != known_sae_id(sae):
        raise UserError(
            f"The edit of feature {edit.feature} belongs to another SAE.",
            f"It was made for {edit.sae_id}; layer {edit.layer} has {known_sae_id(sae)}, a different set of features.",
            "Pick the feature again in this run.",
        )
    if not 0 <= edit.feature < sae.W_dec.shape[0]:
        raise UserError(
            f"Layer {edit.layer} has no feature {edit.feature}.", f"Its features are 0 to {sae.W_dec.shape[0] - 1}."
        )


def known_sae_id(sae: SAE) -> str:
    """``sae_id`` of an SAE, hashed once."""
    if sae not in _ids:
        _ids[sae] = sae_id(sae)
    return _ids[sae]


class LayerEdit:
    """The hook function of one layer; its calls are counted, so that a record can tell the prefill from the rest."""

    def __init__(self, layer: int, sae: SAE | None, table: Table, cap: float, record: EditRecord | None):
        self.layer, self.sae, self.table, self.cap, self.record = layer, sae, table, cap, record
        self.touches, self.step = table.touches, 0

    def of_rows(self, start: int, stop: int) -> LayerEdit:
        """The same edits for a part of the batch's rows, as a hook of its own; the record must not be asked for."""
        if self.record is not None:
            raise ValueError("A batch whose edits are recorded runs whole.")
        return LayerEdit(self.layer, self.sae, self.table.of_rows(slice(start, stop)), self.cap, None)

    def at_rows(self, rows: Tensor) -> LayerEdit:
        """The same edits for rows of the batch (n,), each as often as it is named, unrecorded (core.vlm.branching)."""
        return LayerEdit(self.layer, self.sae, self.table.of_rows(rows), self.cap, None)

    @property
    def can_part(self) -> bool:
        """Whether rows may leave the batch: not while it is recorded what becomes of them."""
        return self.record is None

    @torch.no_grad()
    def __call__(self, h: Tensor, kinds: Tensor) -> Tensor:
        if h.shape[0] != len(self.table.mode):
            raise ValueError(f"There are edits for {len(self.table.mode)} rows; the batch has {h.shape[0]}.")
        step, self.step = self.step, self.step + 1
        kinds = kinds.to(self.touches.device, torch.int64)
        row, position = self.touches.gather(1, kinds).nonzero(as_tuple=True)
        if not len(row):
            return h
        kind = kinds[row, position]
        at = row.to(h.device), position.to(h.device)
        old = h[at].to(self.table.write.device, torch.float32)
        norm = old.norm(dim=-1, keepdim=True)
        z = self.code(old) if self.table.reads_z else old.new_zeros(len(old), len(self.table.targets))
        delta = self._change(old, z, norm, row, kind) @ self.table.write
        size = delta.norm(dim=-1, keepdim=True)
        share = (self.cap * norm / size).clamp_max(1.0).nan_to_num(1.0)  # 0 / 0 where nothing is to change
        new = torch.where(size > 0, old + share * delta, old)
        edited = h.clone()
        edited[at] = new.to(h.device, h.dtype)
        if self.record is not None:
            wanted = (size / norm)[:, 0].nan_to_num(0.0)
            after = edited[at].to(old.device, torch.float32)
            codes = (self.code(old), self.code(after)) if self.record.achieved else None
            made, mine = share[:, 0] * wanted, self.table.mode[row] > 0
            angle, targets = _angle(old, after), self.table.targets
            self.record.add(Touched(self.layer, step, row, position, kind, made, wanted, angle, targets, mine, codes))
        return edited

    def _change(self, old: Tensor, z: Tensor, norm: Tensor, row: Tensor, kind: Tensor) -> Tensor:
        """z' - z (n, n_columns) at the chosen residuals."""
        table = self.table
        mode, amount = table.mode[row], table.amount[row]
        amount = torch.where(table.in_resid[row], amount * norm, amount)
        change = torch.zeros_like(amount)
        for name in table.modes:
            change = torch.where(mode == MODE_CODES[name], MODES[name](z, amount), change)
        for rows, solve in table.projections:
            mine = rows[row]
            change[mine] -= (old[mine] @ table.write.T) @ solve
        active = table.where[row, :, kind] & (~table.if_fires[row] | (z > 0))
        return torch.where(active, change, 0.0)

    def code(self, h: Tensor) -> Tensor:
        """Activations (n, n_columns) of the edited features and directions at residuals (n, d_model)."""
        table = self.table
        parts = []
        if len(table.feature):
            assert self.sae is not None  # edits of features have been checked against it
            blocks = h.split(ENCODE_ROWS)
            parts.append(torch.cat([self.sae.encode_some(block, table.feature).float() for block in blocks]))
        if len(table.read):
            parts.append(h @ table.read.T - table.offset)
        return torch.cat(parts, 1)


def _angle(old: Tensor, new: Tensor) -> Tensor:
    """Degrees (n,) between residuals before and after; 0 where either is zero."""
    cosine = torch.nn.functional.cosine_similarity(old.double(), new.double(), dim=-1)
    moved = (old != new).any(-1) & old.any(-1) & new.any(-1)
    return torch.where(moved, cosine.clamp(-1, 1).arccos().rad2deg(), 0.0)
