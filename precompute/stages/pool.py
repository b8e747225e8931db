"""Stage pool: residuals and features of every caption, averaged over named sets of positions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from core.activations.replay import Activations
from core.activations.store import ActivationReader
from core.features.pooled import FOLDER, join_parts, pool_rows, view_rows, write_part
from core.features.tokens import LANGUAGES, TokenIndex, read_token_index
from core.gender.positions import token_at
from core.sae.files import load_sae, sae_id
from core.words.generic import GENDERED_FORMS
from precompute.context import StageContext

ROWS_PER_PART = 65_536
BATCH_ROWS = 8_192


def run(ctx: StageContext) -> dict:
    """Write pooled/layer_XX.safetensors of every layer; parts that are there after a kill are kept."""
    from core.vlm import load_captioner

    layers = ctx.config.activations.layers
    vlm = load_captioner(ctx.run, ctx.config.model, ctx.device)
    activations = Activations.of(ctx, lambda: vlm, layers)
    tokens = read_token_index(ctx.run)
    first = first_gendered(ctx, tokens, vlm)
    views = view_rows(tokens, first)
    n_positions = {v: np.bincount(tokens.sequence[m], minlength=len(first)) for v, m in views.items()}
    for number, layer in enumerate(layers):
        target = ctx.run.path(FOLDER, f"layer_{layer:02d}.safetensors")
        done = number * tokens.n_rows
        tick = _tick(ctx, layer, done, len(layers) * tokens.n_rows)
        sae = load_sae(ctx.run.path("saes", f"layer_{layer:02d}"), ctx.device)
        parts = _layer_parts(ctx, activations.reader(layer), sae, tokens, views, tick)
        target.parent.mkdir(exist_ok=True)
        join_parts(target, parts, n_positions, sae.cfg.d_sae, sae_id(sae))
    spoken = tokens.caption_length > 0
    named = int((first < tokens.caption_length)[spoken].sum())
    notes = {"captions": int(spoken.sum()), "captions_with_a_gendered_word": named}
    return {"rows": int(spoken.sum()) * len(layers), "notes": notes}


def first_gendered(ctx: StageContext, tokens: TokenIndex, vlm: Any) -> np.ndarray:
    """Per caption row, the token in which its first word whose form has a gender begins; its length without one."""
    first = tokens.caption_length.astype(np.int64).copy()
    words = ctx.run.table("words", ["sample_id", "lang", "source", "start", "gender"])
    starts: dict[Any, Any] = {}
    for row in words.to_pylist():
        if row["source"] == "own" and row["gender"] in GENDERED_FORMS:
            caption = len(LANGUAGES) * row["sample_id"] + LANGUAGES.index(row["lang"])
            starts[caption] = min(row["start"], starts.get(caption, row["start"]))
    for row in ctx.run.table("captions", ["sample_id", "lang", "token_ids"]).to_pylist():
        caption = len(LANGUAGES) * row["sample_id"] + LANGUAGES.index(row["lang"])
        if caption in starts:
            first[caption] = token_at(row["token_ids"], starts[caption], vlm.decode)
    return first


def _layer_parts(
    ctx: StageContext,
    reader: ActivationReader,
    sae: Any,
    tokens: TokenIndex,
    views: dict[str, np.ndarray],
    tick: Callable[[int], None],
) -> list[Path]:
    folder = ctx.work_dir / f"layer_{reader.layer:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, start in enumerate(range(0, reader.n_rows, ROWS_PER_PART)):
        stop = min(start + ROWS_PER_PART, reader.n_rows)
        paths.append(folder / f"part_{number:05d}.safetensors")
        if not paths[-1].exists():
            x, codes = _read(sae, reader, start, stop, ctx.device, tick)
            sequence = tokens.sequence[start:stop]
            write_part(paths[-1], {v: pool_rows(sequence, m[start:stop], x, codes) for v, m in views.items()})
        tick(stop)
    return paths


def _read(
    sae: Any, reader: ActivationReader, start: int, stop: int, device: str, tick: Callable[[int], None]
) -> tuple[np.ndarray, csr_array]:
    """Residuals and codes of some rows."""
    x, codes = [], []
    for first in range(start, stop, BATCH_ROWS):
        last = min(first + BATCH_ROWS, stop)
        batch = reader.read(slice(first, last))
        code = sae.sparse_code(batch.to(device).float())
        codes.append([code.row.cpu().numpy() + first - start, code.feature.cpu().numpy(), code.value.cpu().numpy()])
        x.append(batch.numpy())
        tick(last)
    row, feature, value = (np.concatenate(column) for column in zip(*codes, strict=True))
    return np.concatenate(x), csr_array((value, (row, feature)), shape=(stop - start, sae.cfg.d_sae))


def _tick(ctx: StageContext, layer: int, done: int, total: int) -> Callable[[int], None]:
    return lambda row: ctx.progress(done + row, total, "tokens", f"layer {layer}")
