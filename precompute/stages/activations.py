"""Stage activations: what the model computes while it writes, all layers in one pass over image, prompt and caption."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from core.activations.passes import Passes, token_table
from core.activations.writer import ActivationWriter
from core.run import atomic_path
from core.run.schema.activations import TOKENS
from core.vlm import load_captioner
from precompute.context import Part

if TYPE_CHECKING:
    from precompute.context import StageContext


def run(ctx: StageContext) -> dict:
    """Write activations/ in the layout of core.activations.store.

    Blocks, batches and shards follow from captions and settings alone, so a run that was stopped repeats no finished
    block and ends in the same bytes. Raises UserError for layers the model does not have and for values not finite.
    """
    passes = Passes(ctx.run, ctx.config, load_captioner(ctx.run, ctx.config.model, ctx.device))
    store = ctx.config.activations.store
    if store == "all":
        _store(ctx, passes)
    if ctx.helper:
        return {}
    counts = _write_index(ctx, passes)
    return {"rows": sum(passes.block_rows), "notes": {**_notes(passes, counts), "stored": store}}


def _store(ctx: StageContext, passes: Passes) -> None:
    """Run the model over all blocks that are not there yet, and keep what it computes."""
    settings, block_rows, n_images = ctx.config.activations, passes.block_rows, passes.n_images
    writer = ActivationWriter(
        ctx.run.dir,
        ctx.work_dir,
        settings.layers,
        settings.dtype,
        settings.shard_tokens,
        block_rows,
        ctx.config.model.dtype,
    )
    todo = set(writer.todo())
    started = time.monotonic()

    def write(block: int) -> None:
        writer.add(block, passes.residuals(block, settings.layers), close=not ctx.helper)

    ctx.make(
        [Part(writer.part(i), partial(write, i), partial(writer.has, i)) for i in range(len(block_rows))],
        lambda n: ctx.progress(sum(n_images[:n]), sum(n_images)),
    )
    if ctx.helper:
        return
    if todo:
        n_tokens = sum(block_rows[i] for i in todo)
        ctx.metrics({"tokens_per_second": n_tokens / (time.monotonic() - started), "tokens": n_tokens})
    writer.finish()


def _write_index(ctx: StageContext, passes: Passes) -> Counter:
    """Write tokens.parquet, one row group a shard; how many tokens there are of each kind."""
    counts: Counter = Counter()
    first_row, vlm = 0, passes.vlm
    with atomic_path(ctx.run.path(TOKENS.file)) as path:
        writer = None
        for shard in passes.shards:
            rows = [row for block in shard for batch in passes.blocks[block] for row in batch]
            table = token_table(rows, first_row, vlm.bos_id, vlm.image_token_id, vlm.patches)
            writer = writer or pq.ParquetWriter(path, TOKENS.checked(table).schema, compression="zstd")
            writer.write_table(table, row_group_size=len(table))
            first_row += len(table)
            counts.update(table["kind"].to_pylist())
        if writer:
            writer.close()
    return counts


def _notes(passes: Passes, counts: Counter) -> dict:
    batches = [batch for block in passes.blocks for batch in block]
    padded = sum(len(batch) * max(map(len, batch)) for batch in batches)
    return {
        "tokens": dict(sorted(counts.items())),
        "sequences": sum(map(len, batches)),
        "empty_captions": sum(not row.caption for batch in batches for row in batch),
        "batches": len(batches),
        "padding_share": 1 - sum(len(row) for batch in batches for row in batch) / padded,
    }
