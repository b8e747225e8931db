"""Stage caption: the model writes its own captions of every image in the run's languages, greedily."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from core.run import write_table
from core.run.schema.captions import CAPTIONS
from core.samples.images import open_image
from core.vlm import load_captioner

if TYPE_CHECKING:
    from core.vlm.adapter import VLM
    from precompute.context import StageContext

MAX_BLOCK = 48  # images between two checkpoints
N_SHOWN = 4


def run(ctx: StageContext) -> dict:
    """Write captions.parquet: one line per sample and language, in that order.

    Samples are cut into blocks whose borders follow from the settings alone; each finished block is one part file, so a
    run that was stopped goes on with the same batches and ends in the same bytes.
    """
    samples = ctx.run.table("samples", ["sample_id"])["sample_id"].to_pylist()
    size = max(1, min(MAX_BLOCK, ctx.config.caption.batch_size // len(ctx.config.samples.languages)))
    blocks = [samples[start : start + size] for start in range(0, len(samples), size)]
    parts = [ctx.work_dir / f"block_{i:06d}.parquet" for i in range(len(blocks))]
    todo = [i for i, part in enumerate(parts) if not part.exists()]
    done = sum(len(blocks[i]) for i in set(range(len(blocks))) - set(todo))
    ctx.progress(done, len(samples))
    if todo:
        vlm = load_captioner(ctx.run, ctx.config.model, ctx.device)
        started, n_before = time.monotonic(), done
        for i in todo:
            write_table(parts[i], _captions(ctx, vlm, blocks[i]))
            done += len(blocks[i])
            ctx.progress(done, len(samples))
        ctx.metrics({"images_per_second": (done - n_before) / (time.monotonic() - started)})
    table = pa.concat_tables([pq.read_table(part, schema=CAPTIONS.arrow) for part in parts])
    CAPTIONS.write(ctx.run, table)
    notes = _notes(ctx, table)
    _report(ctx, table, notes)
    return {"rows": len(table), "notes": notes}


def _captions(ctx: StageContext, vlm: VLM, sample_ids: Sequence[int]) -> pa.Table:
    """Captions of one block; each image is encoded once for all languages."""
    settings = ctx.config.caption
    prompts = {lang: vlm.prompt_ids(prompt) for lang, prompt in ctx.config.prompts.items()}
    features = vlm.encode_images([open_image(ctx.run, sample_id) for sample_id in sample_ids])
    rows = [(i, lang) for i in range(len(sample_ids)) for lang in prompts]
    lines = []
    for start in range(0, len(rows), settings.batch_size):
        part = rows[start : start + settings.batch_size]
        captions, finished = vlm.generate(
            [prompts[lang] for _, lang in part], features[[i for i, _ in part]], settings.max_new_tokens
        )
        lines += [
            {"sample_id": sample_ids[i], "lang": lang, "text": vlm.decode(ids), "token_ids": ids, "finished": end}
            for (i, lang), ids, end in zip(part, captions, finished, strict=True)
        ]
    return CAPTIONS.of_rows(lines)


def _notes(ctx: StageContext, table: pa.Table) -> dict:
    frame = table.to_pandas()
    length = frame["token_ids"].map(len)
    return {
        lang: {
            "captions": int(mine.sum()),
            "unfinished": int((~frame["finished"] & mine).sum()),
            "empty": int(((frame["text"] == "") & mine).sum()),
            "mean_tokens": float(length[mine].mean()),
            "distinct": int(frame["text"][mine].nunique()),
        }
        for lang in ctx.config.samples.languages
        if (mine := frame["lang"] == lang).any()
    }


def _report(ctx: StageContext, table: pa.Table, notes: dict) -> None:
    ctx.metrics({f"{lang}_{name}": value for lang, note in notes.items() for name, value in note.items()})
    if n_unfinished := sum(note["unfinished"] for note in notes.values()):
        ctx.log.warning(
            "%d of %d captions reached %d tokens without an end; raise caption.max_new_tokens to let them end.",
            n_unfinished,
            len(table),
            ctx.config.caption.max_new_tokens,
        )
    texts: dict[int, list[str]] = {}
    for line in table.slice(0, len(notes) * N_SHOWN).to_pylist():
        texts.setdefault(line["sample_id"], []).append(line["text"])
    ctx.images({" · ".join(both): open_image(ctx.run, sample_id) for sample_id, both in texts.items()})
