"""Stage caption: the model writes its own captions of every image in the run's languages, greedily.

With ``caption.source = "references"`` it writes none: one reference an image and language stands in the place of its
own, in the tokens in which the model would see it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.config import LANGUAGES
from core.run import write_table
from core.run.schema.captions import CAPTIONS
from core.samples.images import open_image
from core.vlm import load_captioner
from precompute.context import Part

if TYPE_CHECKING:
    from core.vlm.adapter import VLM
    from precompute.context import StageContext

MAX_BLOCK = 48  # images between two checkpoints
N_SHOWN = 4
REFERENCE_STREAM = 0x2EF  # keeps the draw of a reference apart from others of the seed


def run(ctx: StageContext) -> dict:
    """Write captions.parquet: one line per sample and language, in that order.

    Samples are cut into blocks whose borders follow from the settings alone; each finished block is one part file, so a
    run that was stopped goes on with the same batches and ends in the same bytes.
    """
    samples = ctx.run.table("samples", ["sample_id"])["sample_id"].to_pylist()
    size = max(1, min(MAX_BLOCK, ctx.config.caption.batch_size // len(ctx.config.samples.languages)))
    blocks = [samples[start : start + size] for start in range(0, len(samples), size)]
    parts = [ctx.work_dir / f"block_{i:06d}.parquet" for i in range(len(blocks))]
    load = functools.cache(lambda: load_captioner(ctx.run, ctx.config.model, ctx.device))
    references = _references(ctx) if ctx.config.caption.source == "references" else None

    def write(block: Sequence[int], part: Path) -> None:
        vlm = load()
        write_table(part, _captions(ctx, vlm, block) if references is None else _given(ctx, vlm, block, references))

    started, n_before = time.monotonic(), sum(part.exists() for part in parts)
    ctx.make(
        [Part(part, functools.partial(write, block, part)) for block, part in zip(blocks, parts, strict=True)],
        lambda n: ctx.progress(min(n * size, len(samples)), len(samples)),
    )
    if ctx.helper:
        return {}
    if n_new := len(parts) - n_before:
        ctx.metrics({"images_per_second": n_new * size / (time.monotonic() - started)})
    table = pa.concat_tables([pq.read_table(part, schema=CAPTIONS.arrow) for part in parts])
    CAPTIONS.write(ctx.run, table)
    notes = _notes(ctx, table)
    _report(ctx, table, notes)
    return {"rows": len(table), "notes": {**notes, "source": ctx.config.caption.source}}


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


References = Mapping[tuple[int, str], Sequence[tuple[int, str]]]
"""Numbers and texts of the references of an image (sample_id) in a language, in their order."""


def _references(ctx: StageContext) -> References:
    found: dict[tuple[int, str], list[tuple[int, str]]] = {}
    for row in ctx.run.table("references").to_pylist():
        found.setdefault((row["sample_id"], row["lang"]), []).append((row["n"], row["text"]))
    return found


def _given(ctx: StageContext, vlm: VLM, sample_ids: Sequence[int], references: References) -> pa.Table:
    """References in the place of captions of one block, cut where a caption of the model's own would be."""
    longest, lines = ctx.config.caption.max_new_tokens, []
    for sample_id in sample_ids:
        for lang in ctx.config.prompts:
            of = references.get((sample_id, lang), ())
            seed = [ctx.config.seed, REFERENCE_STREAM, sample_id, LANGUAGES.index(lang)]
            n, ids = drawn_reference(vlm, of, seed)
            line = {"sample_id": sample_id, "lang": lang, "token_ids": ids[:longest], "reference": n}
            lines.append(line | {"text": vlm.decode(ids[:longest]), "finished": n is not None and len(ids) <= longest})
    return CAPTIONS.of_rows(lines)


def drawn_reference(
    vlm: VLM, references: Sequence[tuple[int, str]], seed: Sequence[int]
) -> tuple[int | None, list[int]]:
    """Number and token ids of the first usable reference in an order drawn from ``seed``; (None, []) where none is.

    Usable is what the tokenizer gives back letter by letter (blanks may differ), and what holds no special token: of
    others the model would read something that nobody wrote.
    """
    for i in np.random.default_rng(list(seed)).permutation(len(references)):
        n, text = references[i]
        ids = vlm.caption_ids(text)
        if ids and vlm.special_ids.isdisjoint(ids) and _letters(vlm.decode(ids)) == _letters(text):
            return n, ids
    return None, []


def _letters(text: str) -> str:
    return "".join(text.split())


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
