"""Codes of the run's captions in any dictionary, in the form in which the run keeps those of its own SAE.

Whatever asks the run's own features (``core.gender.findings``) can so ask others. Kinds that need no training: random
directions that are as sparse (``core.sae.fit.untrained_control``), the axes of the residual stream, its components.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array

from core.activations.store import ActivationReader
from core.features.pooled import Pooled, view_rows
from core.features.tokens import LANGUAGES, TokenIndex
from core.sae.modules import SAE

VIEWS = ("before", "caption")  # the image comes before the question, and its tokens are many
BATCH_ROWS = 8_192
SMALLEST = 1e-3  # of a column's range: what the lowest value of a column becomes, for codes are above 0


@dataclass(frozen=True)
class CaptionCodes:
    """Mean code of each caption by view; reads as ``core.features.pooled.Pooled`` does.

    ``n_positions`` (n_captions,) and ``by_view`` (n_captions, n_features) have the same views. ``l0`` are the active
    features a token, None where every one is active.
    """

    layer: int
    n_positions: Mapping[str, NDArray[np.integer]]
    by_view: Mapping[str, csc_array]
    l0: float | None = None

    @property
    def d_sae(self) -> int:
        """Number of features, those that never fire among them."""
        return next(iter(self.by_view.values())).shape[1]

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages in which there are captions."""
        n = np.sum(list(self.n_positions.values()), axis=0)
        return tuple(lang for number, lang in enumerate(LANGUAGES) if np.any(n[number :: len(LANGUAGES)]))

    def codes(self, view: str, first: int = 0, last: int | None = None) -> csc_array:
        """Codes of the features first .. last - 1, (n_captions, last - first)."""
        return csc_array(self.by_view[view][:, first : self.d_sae if last is None else last])

    def blocks(self, max_entries: int, max_features: int = 4096) -> Iterator[tuple[int, int]]:
        """Ranges [first, last) of features; all is in memory, so that only their number bounds them."""
        yield from ((n, min(n + max_features, self.d_sae)) for n in range(0, self.d_sae, max_features))


@dataclass(frozen=True)
class TextRows:
    """The activation rows that views count: ``rows`` (n,), their caption rows and which are in a view (n,) bool."""

    rows: NDArray[np.int64]
    caption: NDArray[np.int64]
    member: Mapping[str, NDArray[np.bool_]]
    n_positions: Mapping[str, NDArray[np.integer]]


def text_rows(tokens: TokenIndex, pooled: Pooled) -> TextRows:
    """The rows of ``VIEWS``; where gender is said follows from what was pooled: "before" is one position longer."""
    first = np.maximum(pooled.n_positions["before"].astype(np.int64) - 1, 0)
    views = {view: member for view, member in view_rows(tokens, first).items() if view in VIEWS}
    rows = np.flatnonzero(np.any(list(views.values()), axis=0))
    member = {view: of[rows] for view, of in views.items()}
    return TextRows(rows, tokens.sequence[rows], member, {view: pooled.n_positions[view] for view in VIEWS})


@torch.no_grad()
def encoded(
    reader: ActivationReader,
    text: TextRows,
    dictionaries: Sequence[SAE],
    device: str = "cpu",
    tick: Callable[[int, int], None] = lambda *_: None,
) -> list[CaptionCodes]:
    """Codes of the captions in each dictionary, in one pass over the rows."""
    saes = [sae.to(device) for sae in dictionaries]
    parts: list[list[tuple[NDArray, NDArray, NDArray]]] = [[] for _ in saes]
    for first in range(0, len(text.rows), BATCH_ROWS):
        x = reader.read(text.rows[first : first + BATCH_ROWS]).to(device)
        for sae, part in zip(saes, parts, strict=True):
            code = sae.sparse_code(x)
            part.append((code.row.cpu().numpy() + first, code.feature.cpu().numpy(), code.value.cpu().numpy()))
        tick(min(first + BATCH_ROWS, len(text.rows)), len(text.rows))
    for sae in saes:
        sae.to("cpu")
    return [_pooled(reader.layer, text, part, sae.cfg.d_sae) for sae, part in zip(saes, parts, strict=True)]


def _pooled(layer: int, text: TextRows, parts: list[tuple[NDArray, NDArray, NDArray]], n_features: int) -> CaptionCodes:
    row, feature, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    by_view = {}
    for view, member in text.member.items():
        n = text.n_positions[view]
        inside = member[row]
        where = text.caption[row[inside]], feature[inside]
        codes = coo_array((value[inside], where), shape=(len(n), n_features)).tocsc()  # sums what stands twice
        codes.sort_indices()
        codes.data = (codes.data / np.maximum(n, 1)[codes.indices]).astype(np.float32)
        by_view[view] = codes
    return CaptionCodes(layer, text.n_positions, by_view, len(row) / max(1, len(text.rows)))


def sample_rows(tokens: TokenIndex, text: TextRows, is_train: NDArray[np.bool_], n_at_most: int) -> NDArray[np.int64]:
    """Rows of training images at even distances: on what a random dictionary takes its mean and sparsity."""
    rows = text.rows[is_train[tokens.sample_id[text.rows]]]
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), n_at_most)).astype(np.int64))]


def axes(pooled: Pooled) -> CaptionCodes:
    """The mean residual's own coordinates, as features that are always active: a column tells either gender apart."""
    return _dense(pooled, lambda resid, known: resid)


def components(pooled: Pooled, is_train: NDArray[np.bool_]) -> CaptionCodes:
    """The mean residual along its principal components over the training images' captions, of both languages."""
    train = np.repeat(is_train, len(LANGUAGES))

    def turned(resid: NDArray, known: NDArray) -> NDArray:
        chosen = resid[known & train[: len(known)]].astype(np.float64)
        centred = chosen - chosen.mean(0)
        _, _, rows = np.linalg.svd(centred, full_matrices=False)
        return (resid - chosen.mean(0)) @ rows.T

    return _dense(pooled, turned)


def _dense(pooled: Pooled, turn: Callable[[NDArray, NDArray], NDArray]) -> CaptionCodes:
    """Columns moved above 0, which changes no order and no direction."""
    by_view = {}
    for view in VIEWS:
        resid, known = pooled.resid(view), pooled.n_positions[view] > 0
        values = turn(np.nan_to_num(resid), known)[known].astype(np.float64)
        low, spread = values.min(0), np.ptp(values, axis=0)
        values = values - low + np.maximum(SMALLEST * spread, np.finfo(np.float32).tiny)
        whole = np.zeros((len(known), values.shape[1]), np.float32)
        whole[known] = values
        by_view[view] = csc_array(whole)
    return CaptionCodes(pooled.layer, {view: pooled.n_positions[view] for view in VIEWS}, by_view)
