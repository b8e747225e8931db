"""The index of stored tokens as plain arrays: which image, language and kind each activation row belongs to."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from core.config import LANGUAGES
from core.errors import UserError
from core.run import Run

KINDS = ("bos", "image", "prompt", "caption")
GROUPS = ("image", "prompt", "caption_en", "caption_ar")  # what densities are counted over; BOS is in none
IMAGE, PROMPT, CAPTION = 0, 1, 2  # codes of the groups; an Arabic caption is CAPTION + 1


@dataclass(frozen=True)
class TokenIndex:
    """One entry an activation row, in the order of the rows.

    ``group`` is a position in GROUPS, or -1 (BOS, which takes no part in any statistic: its residual is an outlier that
    SAEs are not trained on). ``sequence`` is 2 * sample_id + language (0 English, 1 Arabic). ``slot`` is the patch of
    an image token (row-major, -1 for one that is no patch), the place within the caption of a caption token, else -1.
    ``caption_length`` has one entry a sequence. A run may keep only a sample of each image's ``n_image_tokens``.
    """

    sample_id: np.ndarray
    sequence: np.ndarray
    group: np.ndarray
    slot: np.ndarray
    position: np.ndarray
    token_id: np.ndarray
    n_samples: int
    n_patches: int
    caption_length: np.ndarray
    n_image_tokens: int

    @property
    def n_rows(self) -> int:
        return len(self.group)

    @property
    def group_sizes(self) -> np.ndarray:
        """Rows in each of GROUPS."""
        return np.bincount(self.group[self.group >= 0], minlength=len(GROUPS))

    @functools.cached_property
    def group_weights(self) -> np.ndarray:
        """How many tokens of the sequences each row of GROUPS stands for: 1, and more of the image where sampled."""
        weights, kept = np.ones(len(GROUPS)), self.group_sizes[IMAGE]
        n_sequences = len(np.unique(self.sequence[self.group == IMAGE]))
        weights[IMAGE] = self.n_image_tokens * n_sequences / kept if kept else 1.0
        return weights

    @property
    def n_tokens(self) -> int:
        """Rows that count: all but BOS."""
        return int(self.group_sizes.sum())

    @property
    def is_text(self) -> np.ndarray:
        """Rows of prompts and captions."""
        return self.group >= PROMPT

    @functools.cached_property
    def kept_patches(self) -> np.ndarray:
        """Which image tokens of each image are stored, (n_samples, n_patches) bool: all, or a sample of them."""
        kept = np.zeros((self.n_samples, self.n_patches), bool)
        at = np.flatnonzero((self.group == IMAGE) & (self.slot >= 0))
        kept[self.sample_id[at], self.slot[at]] = True
        return kept

    @property
    def n_token_ids(self) -> int:
        """One more than the largest token id."""
        return int(self.token_id.max(initial=-1)) + 1

    def captions(self) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of all captions one after another by sequence, and where each sequence starts (n_sequences + 1)."""
        rows = np.flatnonzero(self.group >= CAPTION)
        rows = rows[np.lexsort((self.slot[rows], self.sequence[rows]))]
        return self.token_id[rows], np.concatenate([[0], np.cumsum(self.caption_length)])


def read_token_index(run: Run) -> TokenIndex:
    """The index of the run's tokens; UserError where it is not in the layout of docs/formats.md."""
    return token_index(run.table("tokens", ["sample_id", "lang", "position", "kind", "token_id", "patch"]))


def token_index(table: pa.Table) -> TokenIndex:
    """The index from a table with the columns sample_id, lang, position, kind, token_id, patch."""
    column = {n: table.column(n).to_numpy() for n in ("sample_id", "position", "token_id", "patch")}
    lang, kind = _codes(table, "lang", LANGUAGES), _codes(table, "kind", KINDS)
    sample_id = column["sample_id"].astype(np.int32)
    n_samples = int(sample_id.max(initial=-1)) + 1
    sequence = sample_id.astype(np.int64) * len(LANGUAGES) + lang
    group = np.array([-1, IMAGE, PROMPT, CAPTION], np.int8)[kind]
    group = np.where(group == CAPTION, CAPTION + lang, group).astype(np.int8)
    position = column["position"].astype(np.int32)

    in_caption = group >= CAPTION
    length = np.bincount(sequence[in_caption], minlength=n_samples * len(LANGUAGES))
    first = np.full(len(length), np.iinfo(np.int32).max, np.int32)
    np.minimum.at(first, sequence[in_caption], position[in_caption])
    slot = np.where(group == IMAGE, column["patch"], -1).astype(np.int32)
    slot[in_caption] = position[in_caption] - first[sequence[in_caption]]
    if (slot[in_caption] >= length[sequence[in_caption]]).any():
        raise UserError(
            "The index of the stored activations does not add up.",
            "A caption has gaps in its positions.",
            "Compute the stage activations again.",
        )
    noted = {k: int(v) for k, v in (table.schema.metadata or {}).items() if k in (b"n_patches", b"n_image_tokens")}
    n_patches = noted.get(b"n_patches", int(slot[group == IMAGE].max(initial=-1)) + 1)
    return TokenIndex(
        sample_id,
        sequence,
        group,
        slot,
        position,
        column["token_id"],
        n_samples,
        n_patches,
        length,
        noted.get(b"n_image_tokens", n_patches),
    )


def _codes(table: pa.Table, name: str, values: tuple[str, ...]) -> np.ndarray:
    """Positions of a text column's entries in ``values``; UserError for any other entry."""
    column = table.column(name).cast(pa.string()).combine_chunks().dictionary_encode()
    found = column.dictionary.to_pylist()
    unknown = sorted(set(found) - set(values))
    if unknown or column.null_count:
        raise UserError(
            f"The token index has unknown values in {name}: {unknown[:5] or 'none given'}.",
            f"Known are {', '.join(values)}.",
            "Compute the stage activations again.",
        )
    return np.array([values.index(v) for v in found], np.int64)[column.indices.to_numpy()]
