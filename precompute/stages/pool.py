"""Stage pool: residuals and features of every caption, averaged over named sets of positions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from core.activations.replay import Activations
from core.activations.store import ActivationReader
from core.features.pooled import FOLDER, join_parts, pool_rows, view_rows, write_part
from core.features.token_codes import Coder, TokenCodes, encode_part
from core.features.tokens import LANGUAGES, TokenIndex, read_token_index
from core.sae.files import load_sae, sae_id
from precompute.context import Part, StageContext

if TYPE_CHECKING:
    from core.vlm.adapter import VLM

ROWS_PER_PART = 65_536


def run(ctx: StageContext) -> dict:
    """Write pooled/layer_XX.safetensors of every layer; parts that are there after a kill are kept."""
    layers = ctx.config.activations.layers
    activations = Activations.of(ctx, lambda: open_vlm(ctx), layers)
    tokens = read_token_index(ctx.run)
    first = gender_said(ctx, tokens)
    views = view_rows(tokens, first)
    n_positions = {v: np.bincount(tokens.sequence[m], minlength=len(first)) for v, m in views.items()}

    @functools.lru_cache(maxsize=1)  # parts come layer by layer
    def opened(layer: int) -> Coder:
        sae = load_sae(ctx.run.path("saes", f"layer_{layer:02d}"), ctx.device)
        return Coder(sae, tokens.group, TokenCodes.of(ctx.run, layer, sae_id(sae)), ctx.device)

    def make(layer: int, path: Path, start: int) -> None:
        stop = min(start + ROWS_PER_PART, tokens.n_rows)
        x, codes = _read(opened(layer), activations.reader(layer), start, stop)
        sequence = tokens.sequence[start:stop]
        write_part(path, {v: pool_rows(sequence, m[start:stop], x, codes) for v, m in views.items()})

    work = {layer: _layer(ctx, layer, tokens.n_rows, make) for layer in layers}
    parts, total = [part for of in work.values() for part in of], len(layers) * tokens.n_rows
    ctx.make(parts, lambda n: ctx.progress(min(n * ROWS_PER_PART, total) if n < len(parts) else total, total, "tokens"))
    if ctx.helper:
        return {}
    for layer, of_layer in work.items():
        sae = load_sae(ctx.run.path("saes", f"layer_{layer:02d}"))
        target = ctx.run.path(FOLDER, f"layer_{layer:02d}.safetensors")
        target.parent.mkdir(exist_ok=True)
        join_parts(target, [part.path for part in of_layer], n_positions, sae.cfg.d_sae, sae_id(sae))
    spoken = tokens.caption_length > 0
    named = int((first < tokens.caption_length)[spoken].sum())
    notes = {"captions": int(spoken.sum()), "captions_with_a_gendered_word": named}
    return {"rows": int(spoken.sum()) * len(layers), "notes": notes}


def open_vlm(ctx: StageContext) -> VLM:
    """The captioner of the run, where activations are computed again."""
    from core.vlm import load_captioner

    return load_captioner(ctx.run, ctx.config.model, ctx.device)


def gender_said(ctx: StageContext, tokens: TokenIndex) -> np.ndarray:
    """Per caption row, the token that first says a gender; its length where none does."""
    first = tokens.caption_length.astype(np.int64).copy()
    for row in ctx.run.table("contrasts", ["sample_id", "lang", "slot"]).to_pylist():
        first[len(LANGUAGES) * row["sample_id"] + LANGUAGES.index(row["lang"])] = row["slot"]
    return first


def _layer(ctx: StageContext, layer: int, n_rows: int, make: Callable[[int, Path, int], None]) -> list[Part]:
    """The parts of a layer: its rows, so many at a time."""
    folder = ctx.work_dir / f"layer_{layer:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, n_rows, ROWS_PER_PART)
    paths = [folder / f"part_{i:05d}.safetensors" for i in range(len(starts))]
    return [Part(p, functools.partial(make, layer, p, start)) for p, start in zip(paths, starts, strict=True)]


def _read(coder: Coder, reader: ActivationReader, start: int, stop: int) -> tuple[np.ndarray, csr_array]:
    """Residuals and codes of some rows."""
    codes = encode_part(coder, reader, start, stop) if coder.kept is None else coder.kept.read(start, stop)
    shape = stop - start, len(coder.sae.W_dec)
    return reader.read(slice(start, stop)).numpy(), csr_array((codes.value, (codes.row, codes.feature)), shape=shape)
