"""One row a caption: residuals and feature activations averaged over named sets of positions, the views.

Layout of ``<run>/pooled/layer_XX.safetensors``; the caption row is ``2 * sample_id + (lang == "ar")``:
``n.<view>`` (n_captions) int32, positions of the view in that caption; ``resid.<view>`` (n_captions, d_model) float32,
their mean residual, 0 where there is no position; ``indptr.<view>`` (d_sae + 1) int64, ``indices.<view>`` int32 and
``data.<view>`` float32, the mean activation of each feature by feature and then caption row. An entry is there exactly
where the feature fires at one position at least.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy.sparse import coo_array, csc_array, csr_array

from core.errors import UserError
from core.features.tokens import CAPTION, IMAGE, LANGUAGES, PROMPT, TokenIndex
from core.run import atomic_path

VIEWS = ("image", "prompt", "before", "caption")
FOLDER = "pooled"
MAX_ENTRIES = 20_000_000  # of the codes that are read back at once (12 bytes each)


class PartSums(NamedTuple):
    """Sums over the positions of one view within some activation rows: captions (n), resid (n, d_model), codes."""

    captions: np.ndarray
    resid: np.ndarray
    codes: csr_array


def view_rows(tokens: TokenIndex, first_gendered: np.ndarray) -> dict[str, np.ndarray]:
    """Which activation rows belong to each view, (n_rows,) bool each.

    ``first_gendered`` (n_captions,): the place in the caption where its first word for men or women begins; the
    caption's length or more where there is none. "before" begins at the last token of the prompt, which is where the
    first word of the caption is chosen.
    """
    last = np.zeros(len(tokens.caption_length), np.int64)
    prompt = tokens.group == PROMPT
    np.maximum.at(last, tokens.sequence[prompt], tokens.position[prompt])
    at_end = prompt & (tokens.position == last[tokens.sequence])
    caption = tokens.group >= CAPTION
    before = at_end | (caption & (tokens.slot < first_gendered[tokens.sequence]))
    return {"image": tokens.group == IMAGE, "prompt": at_end, "before": before, "caption": caption}


def pool_rows(sequence: np.ndarray, member: np.ndarray, x: np.ndarray, codes: csr_array) -> PartSums:
    """Sum residuals ``x`` (n, d_model) and ``codes`` (n, d_sae) over the member rows of each caption."""
    captions, where = np.unique(sequence[member], return_inverse=True)
    rows = np.flatnonzero(member)
    by_caption = csr_array((np.ones(len(rows), np.float32), (where, rows)), shape=(len(captions), len(sequence)))
    return PartSums(captions.astype(np.int64), np.asarray(by_caption @ x, np.float32), csr_array(by_caption @ codes))


def write_part(path: Path, sums: Mapping[str, PartSums]) -> None:
    """One part of the pass over the activations, by view."""
    tensors = {}
    for view, part in sums.items():
        codes = part.codes.tocoo()
        tensors |= {f"captions.{view}": part.captions, f"resid.{view}": part.resid}
        tensors |= {f"caption.{view}": part.captions[codes.coords[0]].astype(np.int32)}
        tensors |= {f"feature.{view}": codes.coords[1].astype(np.int32), f"value.{view}": codes.data.astype(np.float32)}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def join_parts(path: Path, parts: list[Path], n_positions: Mapping[str, np.ndarray], d_sae: int, sae_id: str) -> None:
    """Write the layer's file from its parts; a caption on both sides of a border is put together again."""
    tensors: dict[str, np.ndarray] = {}
    for view, n in n_positions.items():
        total, triplets = None, []
        for part in parts:
            with safe_open(part, framework="np") as file:
                get = file.get_tensor
                resid = get(f"resid.{view}")
                total = np.zeros((len(n), resid.shape[1]), np.float32) if total is None else total
                total[get(f"captions.{view}")] += resid
                triplets.append([get(f"{name}.{view}") for name in ("caption", "feature", "value")])
        caption, feature, value = (np.concatenate(column) for column in zip(*triplets, strict=True))
        codes = coo_array((value, (caption, feature)), shape=(len(n), d_sae)).tocsc()  # sums what stands twice
        codes.sort_indices()
        divisor = np.maximum(n, 1).astype(np.float32)
        tensors |= {f"n.{view}": n.astype(np.int32), f"resid.{view}": total / divisor[:, None]}
        tensors |= {f"indptr.{view}": codes.indptr.astype(np.int64), f"indices.{view}": codes.indices.astype(np.int32)}
        tensors |= {f"data.{view}": (codes.data / divisor[codes.indices]).astype(np.float32)}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"sae_id": sae_id})


class Pooled:
    """Reads one layer's pooled file; whole residuals of a view, codes by blocks of features."""

    def __init__(self, run_dir: str | Path, layer: int):
        self.layer, self.path = layer, Path(run_dir) / FOLDER / f"layer_{layer:02d}.safetensors"
        if not self.path.is_file():
            raise UserError(
                f"Layer {layer} of the run {Path(run_dir).name} has not been pooled.",
                "The stage pool has not run, or not with this layer.",
                "python -m precompute run PRESET --until pool",
            )
        with safe_open(self.path, framework="np") as file:
            self.sae_id: str = (file.metadata() or {})["sae_id"]
            self.n_positions = {v: file.get_tensor(f"n.{v}") for v in VIEWS if f"n.{v}" in set(file.keys())}
            self._indptr = {view: file.get_tensor(f"indptr.{view}") for view in self.n_positions}
        self.views = tuple(self.n_positions)
        self.n_captions = len(self.n_positions[self.views[0]])
        self.d_sae = len(self._indptr[self.views[0]]) - 1

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages in which the run has captions."""
        n = sum(self.n_positions.values())
        return tuple(lang for number, lang in enumerate(LANGUAGES) if n[number :: len(LANGUAGES)].any())

    def resid(self, view: str) -> np.ndarray:
        """Mean residual of each caption over the view's positions (n_captions, d_model) float32; NaN without any."""
        with safe_open(self.path, framework="np") as file:
            resid = file.get_tensor(f"resid.{view}")
        resid[self.n_positions[view] == 0] = np.nan
        return resid

    def codes(self, view: str, first: int = 0, last: int | None = None) -> csc_array:
        """Mean activation of the features first .. last - 1 over the view's positions, (n_captions, last - first)."""
        last = self.d_sae if last is None else last
        indptr = self._indptr[view][first : last + 1]
        low, high = int(indptr[0]), int(indptr[-1])
        shape = (self.n_captions, last - first)
        if low == high:  # safetensors refuses an empty slice at a tensor's end
            return csc_array(shape, dtype=np.float32)
        with safe_open(self.path, framework="np") as file:
            data = file.get_slice(f"data.{view}")[low:high]
            indices = file.get_slice(f"indices.{view}")[low:high]
        return csc_array((data, indices, indptr - low), shape=shape)

    def blocks(self, max_entries: int = MAX_ENTRIES, max_features: int = 4096) -> Iterator[tuple[int, int]]:
        """Ranges [first, last) of features whose codes stay within ``max_entries`` in every view."""
        widest = np.max([np.diff(indptr) for indptr in self._indptr.values()], axis=0)
        first, held = 0, 0
        for feature, n in enumerate(widest.tolist()):
            if feature > first and (held + n > max_entries or feature - first >= max_features):
                yield first, feature
                first, held = feature, 0
            held += n
        yield first, self.d_sae
