"""Stage activations: what the model computes while it writes, all layers in one pass over image, prompt and caption."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import torch
from torch import Tensor

from core.activations.tokens import TokenRow, cut, token_table
from core.activations.writer import ActivationWriter
from core.errors import UserError
from core.runs import atomic_path
from core.samples.gather import open_image
from core.vlm import load_captioner
from core.vlm.loading import DTYPES

if TYPE_CHECKING:
    from core.vlm.adapter import VLM
    from precompute.context import StageContext

BLOCK_IMAGES = 48  # images between two checkpoints

Block = list[list[TokenRow]]
"""The batches of one block, each a list of sequences."""


def run(ctx: StageContext) -> dict:
    """Write activations/ in the layout of core.activations.store.

    Blocks, batches and shards follow from captions and settings alone, so a run that was stopped repeats no finished
    block and ends in the same bytes. Raises UserError for layers the model does not have and for values not finite.
    """
    settings, model = ctx.config.activations, ctx.config.model
    vlm = load_captioner(ctx.run, ctx.config.model, ctx.device)
    if beyond := [layer for layer in settings.layers if layer >= vlm.n_layers]:
        raise UserError(
            f"The model has no layers {', '.join(map(str, beyond))}.",
            f"It has {vlm.n_layers}, numbered from 0.",
            "Change activations.layers.",
        )
    blocks = _blocks(ctx, vlm)
    block_rows = [sum(len(row) for batch in block for row in batch) for block in blocks]
    n_images = [len({row.sample_id for batch in block for row in batch}) for block in blocks]
    writer = ActivationWriter(
        ctx.run.dir, ctx.work_dir, settings.layers, settings.dtype, settings.shard_tokens, block_rows, model.dtype
    )
    todo = writer.todo()
    done = sum(n_images) - sum(n_images[i] for i in todo)
    ctx.progress(done, sum(n_images))
    started = time.monotonic()
    for i in todo:
        writer.add(i, _residuals(ctx, vlm, blocks[i]))
        done += n_images[i]
        ctx.progress(done, sum(n_images))
    if todo:
        n_tokens = sum(block_rows[i] for i in todo)
        ctx.metrics({"tokens_per_second": n_tokens / (time.monotonic() - started), "tokens": n_tokens})
    writer.finish()
    counts = _write_index(ctx, vlm, blocks, writer.shards)
    return {"rows": sum(block_rows), "notes": _notes(blocks, counts)}


def _blocks(ctx: StageContext, vlm: VLM) -> list[Block]:
    samples = pq.read_table(ctx.run.path("samples.parquet"), columns=["sample_id", "split"]).to_pylist()
    captions = pq.read_table(ctx.run.path("captions.parquet"), columns=["sample_id", "lang", "token_ids"]).to_pylist()
    split = {s["sample_id"]: s["split"] for s in samples}
    prompt_ids = {lang: vlm.prompt_ids(prompt) for lang, prompt in ctx.config.prompts.items()}
    rows: dict[int, list[TokenRow]] = {s["sample_id"]: [] for s in samples}
    for c in captions:
        row = TokenRow(c["sample_id"], c["lang"], split[c["sample_id"]], prompt_ids[c["lang"]], c["token_ids"])
        rows[row.sample_id].append(row)
    ids = sorted(rows)
    return [
        cut((row for i in ids[start : start + BLOCK_IMAGES] for row in rows[i]), ctx.config.activations.batch_tokens)
        for start in range(0, len(ids), BLOCK_IMAGES)
    ]


def _residuals(ctx: StageContext, vlm: VLM, block: Block) -> dict[int, Tensor]:
    """layer -> (n_tokens, d_model) as stored; every image of the block is encoded once for all languages."""
    settings = ctx.config.activations
    sample_ids = sorted({row.sample_id for batch in block for row in batch})
    place = {sample_id: i for i, sample_id in enumerate(sample_ids)}
    features = vlm.encode_images([open_image(ctx.run, sample_id) for sample_id in sample_ids])
    found: dict[int, list[Tensor]] = {layer: [] for layer in settings.layers}
    for batch in block:
        captured = vlm.forward([r.ids for r in batch], features[[place[r.sample_id] for r in batch]], settings.layers)
        for layer, parts in found.items():
            parts.append(captured.resid[layer][captured.mask].to("cpu", DTYPES[settings.dtype]))
    return {layer: torch.cat(parts) for layer, parts in found.items()}


def _write_index(ctx: StageContext, vlm: VLM, blocks: list[Block], shards: list[list[int]]) -> Counter:
    """Write tokens.parquet, one row group a shard; how many tokens there are of each kind."""
    counts: Counter = Counter()
    first_row = 0
    with atomic_path(ctx.run.path("activations", "tokens.parquet")) as path:
        writer = None
        for shard in shards:
            rows = [row for block in shard for batch in blocks[block] for row in batch]
            table = token_table(rows, first_row, vlm.bos_id, vlm.image_token_id)
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=len(table))
            first_row += len(table)
            counts.update(table["kind"].to_pylist())
        if writer:
            writer.close()
    return counts


def _notes(blocks: list[Block], counts: Counter) -> dict:
    batches = [batch for block in blocks for batch in block]
    padded = sum(len(batch) * max(map(len, batch)) for batch in batches)
    return {
        "tokens": dict(sorted(counts.items())),
        "sequences": sum(map(len, batches)),
        "empty_captions": sum(not row.caption for batch in batches for row in batch),
        "batches": len(batches),
        "padding_share": 1 - sum(counts.values()) / padded,
    }
