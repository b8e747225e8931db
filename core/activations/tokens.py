"""Which tokens the rows of the store are: the plan of passes over image, prompt and own caption, and tokens.parquet.

The plan depends on captions and settings alone, so it is the same after any interruption.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from core.vlm.batch import KINDS

LANGUAGES = ("en", "ar")
SPLITS = ("train", "test")
SAMPLE_STREAM = 0x1A6E  # keeps the random numbers of the kept image tokens apart from others of the seed
NO_POSITIONS = np.zeros(0, np.int32)


@dataclass(frozen=True)
class TokenRow:
    """One sequence: the prompt in one language over one image, and the model's caption.

    ``dropped`` are positions in the prompt that the model sees like all others and the store does not keep.
    """

    sample_id: int
    lang: str
    split: str
    prompt: Sequence[int]
    caption: Sequence[int]
    dropped: np.ndarray = field(default_factory=lambda: NO_POSITIONS, compare=False)

    def __len__(self) -> int:
        return len(self.prompt) + len(self.caption)

    @property
    def n_kept(self) -> int:
        """Tokens of the sequence that the store keeps."""
        return len(self) - len(self.dropped)

    @property
    def kept(self) -> np.ndarray:
        """Which tokens these are, (n_tokens,) bool."""
        kept = np.ones(len(self), bool)
        kept[self.dropped] = False
        return kept

    @property
    def ids(self) -> list[int]:
        """Token ids of the whole sequence."""
        return [*self.prompt, *self.caption]


def dropped_image_tokens(
    prompt: Sequence[int], image_token_id: int, n_kept: int, seed: int, sample_id: int
) -> np.ndarray:
    """Positions (n,) int32 of the image tokens left out where ``n_kept`` of them are drawn (0: none is left out).

    The draw is of the image: the same tokens in each language's prompt.
    """
    image = np.flatnonzero(np.asarray(prompt) == image_token_id)
    if not n_kept or n_kept >= len(image):
        return NO_POSITIONS
    order = np.random.default_rng([seed, SAMPLE_STREAM, sample_id]).permutation(len(image))
    return np.sort(image[order[n_kept:]]).astype(np.int32)


def cut(rows: Iterable[TokenRow], batch_tokens: int) -> list[list[TokenRow]]:
    """Batches of rows of like length, each at most ``batch_tokens`` with padding (or one row, where that is longer).

    Order: by length, then sample, then language.
    """
    batches: list[list[TokenRow]] = []
    for row in sorted(rows, key=lambda r: (len(r), r.sample_id, LANGUAGES.index(r.lang))):
        if not batches or (len(batches[-1]) + 1) * len(row) > batch_tokens:
            batches.append([])
        batches[-1].append(row)
    return batches


def token_table(
    rows: Sequence[TokenRow], first_row: int, bos_id: int, image_token_id: int, patches: range | None = None
) -> pa.Table:
    """The lines of tokens.parquet for sequences one after another, the first of them being row ``first_row``.

    ``patches`` says which of a sequence's image tokens, counted from 0, lie row by row over the image; None = all. The
    schema's metadata say how many patches an image has (``n_patches``) and how many tokens stand for it in a
    sequence (``n_image_tokens``), kept or not.
    """
    lengths = np.array([len(r) for r in rows])
    n_prompt = np.array([len(r.prompt) for r in rows])
    ids = np.concatenate([np.asarray(r.ids, np.int32) for r in rows])
    position = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths])
    kind = np.full(len(ids), KINDS.index("prompt"), np.int8)
    kind[ids == bos_id] = KINDS.index("bos")
    kind[ids == image_token_id] = KINDS.index("image")
    kind[position >= np.repeat(n_prompt, lengths)] = KINDS.index("caption")
    is_image = kind == KINDS.index("image")
    before = np.repeat(np.cumsum(lengths) - lengths, lengths)  # tokens of earlier sequences
    n_images = np.concatenate([[0], np.cumsum(is_image)])
    number = n_images[:-1] - n_images[before]  # of image tokens before this one in its own sequence
    first, end = (0, len(ids)) if patches is None else (patches.start, patches.stop)
    patch = np.where(is_image & (number >= first) & (number < end), number - first, -1).astype(np.int16)

    kept = np.concatenate([r.kept for r in rows])

    def per_token(values: list[int], names: tuple[str, ...]) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(np.repeat(np.array(values, np.int8), lengths)[kept], pa.array(names))

    return pa.table(
        {
            "row": pa.array(np.arange(first_row, first_row + int(kept.sum()), dtype=np.int64)),
            "sample_id": pa.array(np.repeat(np.array([r.sample_id for r in rows], np.int32), lengths)[kept]),
            "lang": per_token([LANGUAGES.index(r.lang) for r in rows], LANGUAGES),
            "position": pa.array(position[kept]),
            "kind": pa.DictionaryArray.from_arrays(kind[kept], pa.array(KINDS)),
            "token_id": pa.array(ids[kept]),
            "patch": pa.array(patch[kept]),
            "split": per_token([SPLITS.index(r.split) for r in rows], SPLITS),
        }
    ).replace_schema_metadata(
        {"n_patches": str(int(patch.max()) + 1), "n_image_tokens": str(list(rows[0].prompt).count(image_token_id))}
    )
