"""Stage codes: every token of every layer, encoded once; what later stages and pages read of it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from core.activations.replay import Activations
from core.features.token_codes import FOLDER, ROWS_PER_PART, Coder, encode_part, part_path, write_part
from core.features.tokens import read_token_index
from core.sae.files import load_sae, sae_id
from precompute.context import Part, StageContext

if TYPE_CHECKING:
    from core.vlm.adapter import VLM


def run(ctx: StageContext) -> dict:
    """Write codes/layer_XX/ of every layer; nothing where ``codes.store`` is off."""
    ctx.run.path(FOLDER).mkdir(exist_ok=True)
    if not ctx.config.codes.store:
        return {"rows": 0, "notes": {"stored": False}}
    layers = ctx.config.activations.layers
    tokens = read_token_index(ctx.run)
    activations = Activations.of(ctx, lambda: open_vlm(ctx), layers)

    @functools.lru_cache(maxsize=1)  # parts come layer by layer
    def opened(layer: int) -> tuple[Coder, str]:
        sae = load_sae(ctx.run.path("saes", f"layer_{layer:02d}"), ctx.device)
        return Coder(sae, tokens.group, device=ctx.device), sae_id(sae)

    def make(layer: int, path: Path, start: int) -> None:
        coder, name = opened(layer)
        stop = min(start + ROWS_PER_PART, tokens.n_rows)
        codes = encode_part(coder, activations.reader(layer), start, stop)
        write_part(path, codes, stop - start, len(coder.sae.W_dec), name)

    starts = range(0, tokens.n_rows, ROWS_PER_PART)
    places = [(layer, part_path(ctx.run.dir, layer, i), start) for layer in layers for i, start in enumerate(starts)]
    parts = [Part(place[1], functools.partial(make, *place)) for place in places]
    total = len(layers) * tokens.n_rows
    ctx.make(parts, lambda n: ctx.progress(min(n * ROWS_PER_PART, total) if n < len(parts) else total, total, "tokens"))
    if ctx.helper:
        return {}
    n_bytes = sum(part.path.stat().st_size for part in parts)
    rows = int((tokens.group >= 0).sum()) * len(layers)
    return {"rows": rows, "notes": {"stored": True, "bytes_a_token_and_layer": n_bytes / max(1, rows)}}


def open_vlm(ctx: StageContext) -> VLM:
    """The captioner of the run, where activations are computed again."""
    from core.vlm import load_captioner

    return load_captioner(ctx.run, ctx.config.model, ctx.device)
