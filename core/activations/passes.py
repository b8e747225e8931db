"""The passes that make a run's activations: which blocks there are, and what the model computes in one of them.

Blocks and the batches within them follow from captions and settings alone, so a block that is computed again gives the
same bytes, whoever asks for it and whatever ran before.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from core.activations.tokens import TokenRow, cut, dropped_image_tokens
from core.activations.writer import shard_blocks
from core.config import Config
from core.errors import UserError
from core.runs import Run
from core.samples.gather import open_image
from core.vlm.loading import DTYPES

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

BLOCK_IMAGES = 48  # images of one block at most
BLOCK_BYTES = 2**30  # of one block's activations, all layers together; a block is held in memory

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

    def residuals(self, block: int, layers: Iterable[int]) -> dict[int, Tensor]:
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
