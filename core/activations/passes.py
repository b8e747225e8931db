"""The passes that make a run's activations: which tokens and blocks there are, and what the model computes in one.

The plan of passes over image, prompt and own caption follows from captions and settings alone, as do blocks and the
batches within them, so that a block that is computed again gives the same bytes, whoever asks for it and whatever ran
before. The rows of the store are told in tokens.parquet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from core.activations.writer import shard_blocks
from core.config import Config
from core.errors import UserError
from core.run import Run
from core.samples.images import open_image
from core.vlm.batch import KINDS
from core.vlm.loading import DTYPES

if TYPE_CHECKING:
    from core.vlm.adapter import VLM


LANGUAGES = ("en", "ar")
SPLITS = ("train", "test")
SAMPLE_STREAM = 0x1A6E  # keeps the random numbers of the kept image tokens apart from others of the seed
NO_POSITIONS = np.zeros(0, np.int32)
BLOCK_IMAGES = 48  # images of one block at most
BLOCK_BYTES = 2**30  # of one block's activations, all layers together; a block is held in memory


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
    def kept(self) -> Bool[np.ndarray, " n_tokens"]:
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
) -> Int32[np.ndarray, " n"]:
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


Block = list[list[TokenRow]]
"""The batches of one block, each a list of sequences."""


class Passes:
    """The plan of passes over all captions of a run, and the model that makes them.

    Raises UserError for layers that the model does not have.
    """

    def __init__(self, run: Run, config: Config, vlm: VLM):
        self.run, self.config, self.vlm = run, config.activations, vlm
        if beyond := [layer for layer in self.config.layers if layer >= vlm.n_layers]:
            raise UserError(
                f"The model has no layers {', '.join(map(str, beyond))}.",
                f"It has {vlm.n_layers}, numbered from 0.",
                "Change activations.layers.",
            )
        self.blocks = _blocks(run, config, vlm)

    @cached_property
    def block_rows(self) -> list[int]:
        """Rows that the store keeps of each block."""
        return [sum(row.n_kept for batch in block for row in batch) for block in self.blocks]

    @cached_property
    def n_images(self) -> list[int]:
        """Images of each block."""
        return [len({row.sample_id for batch in block for row in batch}) for block in self.blocks]

    @property
    def shards(self) -> list[list[int]]:
        """The blocks of each shard."""
        return shard_blocks(self.block_rows, self.config.shard_tokens)

    def residuals(self, block: int, layers: Iterable[int]) -> dict[int, Float[Tensor, "n_rows d_model"]]:
        """layer -> (n_rows, d_model) as stored; every image of the block is encoded once for all languages."""
        batches = self.blocks[block]
        sample_ids = sorted({row.sample_id for batch in batches for row in batch})
        place = {sample_id: i for i, sample_id in enumerate(sample_ids)}
        features = self.vlm.encode_images([open_image(self.run, sample_id) for sample_id in sample_ids])
        found: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        for batch in batches:
            images = features[[place[r.sample_id] for r in batch]]
            captured = self.vlm.forward([r.ids for r in batch], images, found)
            kept = captured.mask.clone()  # of rows padded on the left, in their order
            kept[captured.mask] = torch.from_numpy(np.concatenate([r.kept for r in batch])).to(kept.device)
            for layer, parts in found.items():
                parts.append(captured.resid[layer][kept].to("cpu", DTYPES[self.config.dtype]))
        return {layer: torch.cat(found.pop(layer)) for layer in list(found)}


def images_a_block(n_layers: int, d_model: int, n_tokens: int, dtype: str) -> int:
    """Images of one block: as many as fit into BLOCK_BYTES with ``n_tokens`` each, BLOCK_IMAGES at most."""
    image_bytes = max(1, n_layers * d_model * n_tokens * DTYPES[dtype].itemsize)
    return max(1, min(BLOCK_IMAGES, BLOCK_BYTES // image_bytes))


def _blocks(run: Run, config: Config, vlm: VLM) -> list[Block]:
    samples = run.table("samples", ["sample_id", "split"]).to_pylist()
    captions = run.table("captions", ["sample_id", "lang", "token_ids"]).to_pylist()
    split = {s["sample_id"]: s["split"] for s in samples}
    prompt_ids = {lang: vlm.prompt_ids(prompt) for lang, prompt in config.prompts.items()}
    settings = config.activations
    rows: dict[int, list[TokenRow]] = {s["sample_id"]: [] for s in samples}
    for c in captions:
        prompt = prompt_ids[c["lang"]]
        drawn = prompt, vlm.image_token_id, settings.image_tokens, config.seed, c["sample_id"]
        dropped = dropped_image_tokens(*drawn)
        row = TokenRow(c["sample_id"], c["lang"], split[c["sample_id"]], prompt, c["token_ids"], dropped)
        rows[row.sample_id].append(row)
    ids = sorted(rows)
    longest = max((sum(map(len, of_image)) for of_image in rows.values()), default=0)
    n = images_a_block(len(settings.layers), vlm.d_model, longest, settings.dtype)
    return [
        cut((row for i in ids[start : start + n] for row in rows[i]), settings.batch_tokens)
        for start in range(0, len(ids), n)
    ]
