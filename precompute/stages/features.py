"""Stage features: describe every feature of every layer's SAE.

For each layer: one pass over the activations writes sparse codes by feature (parts), each block of features becomes
three tables (parts), then words, neighbours and map. Whatever part is there after a kill is kept; the rest is made as
it would have been.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.activations.replay import Activations
from core.config import FeaturesConfig
from core.errors import UserError
from core.features.areas import KindAreas, areas_table, kind_areas
from core.features.codes import CodeStore, write_codes
from core.features.examples import choose_examples, image_maxima, traces
from core.features.statistics import (
    MAP_NEIGHBOURS,
    Neighbours,
    feature_logits,
    feature_map,
    feature_statistics,
    neighbours,
    top_tokens,
)
from core.features.tables import (
    caption_pieces,
    examples_table,
    features_table,
    pieces_table,
    statistics_columns,
)
from core.features.token_codes import TokenCodes
from core.features.tokens import TokenIndex, read_token_index
from core.features.usual import usual_activation
from core.run import Run, write_table
from core.run.schema.features import EXAMPLES, FEATURE_AREAS, FEATURES, PIECES
from core.sae.files import load_sae, sae_id
from precompute.context import Part, StageContext

# shares of a layer's time, for the progress bar: codes, blocks, words and map
CODES, BLOCKS, REST = 0.45, 0.4, 0.15


def run(ctx: StageContext) -> dict:
    """Write features.parquet, feature_areas.parquet, examples.parquet and pieces.parquet."""
    layers = ctx.config.activations.layers
    tokens = read_token_index(ctx.run)
    vlm = open_vlm(ctx)
    activations = Activations.of(ctx, lambda: vlm, layers)
    texts = _Texts(vlm.vocabulary(), caption_pieces(tokens, vlm.token_strings))
    areas = kind_areas(ctx.run.table("areas").to_pylist(), tokens)
    parts = [_layer_dir(ctx, layer) for layer in layers]

    def make(number: int, layer: int) -> None:
        _Layer(ctx, layer, tokens, areas, number, len(layers)).describe(activations, vlm, texts)

    asked = zip(range(len(layers)), layers, parts, strict=True)
    ctx.make([Part(part / "features.parquet", partial(make, number, layer)) for number, layer, part in asked])
    if ctx.helper:
        return {}
    notes: dict[str, Any] = {f"layer_{n:02d}": _notes(part) for n, part in zip(layers, parts, strict=True)}
    n = FEATURES.write_parts(ctx.run, (_read(p / "features.parquet") for p in parts))
    blocks = (_read(block) for part in parts for block in sorted(part.glob("examples_*.parquet")))
    notes["examples"] = EXAMPLES.write_parts(ctx.run, blocks)
    FEATURE_AREAS.write_parts(ctx.run, (_read(p) for part in parts for p in sorted(part.glob("areas_*.parquet"))))
    PIECES.write_parts(ctx.run, [pieces_table(tokens, texts.captions)])
    return {"rows": n, "notes": notes}


def open_vlm(ctx: StageContext) -> Any:
    """The captioner of the run, for its vocabulary, final norm and unembedding."""
    from core.vlm import load_captioner

    return load_captioner(ctx.run, ctx.config.model, ctx.device)


def _read(path: Path) -> pa.Table:
    return pq.read_table(path)


def _layer_dir(ctx: StageContext, layer: int) -> Path:
    return ctx.work_dir / f"layer_{layer:02d}"


def _notes(part: Path) -> dict[str, Any]:
    """What the record says of a layer."""
    table = pq.read_table(part / "features.parquet", columns=["sae_id", "alive"])
    alive = table["alive"].to_numpy()
    return {"sae_id": table["sae_id"][0].as_py(), "n_alive": int(alive.sum()), "n_features": len(alive)}


@dataclass(frozen=True)
class _Texts:
    """What tokens look like: by token id, and the captions of all sequences in pieces."""

    by_id: list[str]
    captions: pa.ListArray


class _Layer:
    """The work on one layer, and how far it is."""

    def __init__(
        self, ctx: StageContext, layer: int, tokens: TokenIndex, areas: list[KindAreas], number: int, n_layers: int
    ):
        self.ctx, self.layer, self.tokens, self.areas, self.number = ctx, layer, tokens, areas, number
        self.n_layers = n_layers
        self.config: FeaturesConfig = ctx.config.features
        self.dir = _layer_dir(ctx, layer)
        self.sae = load_sae(ctx.run.path("saes", f"layer_{layer:02d}"), ctx.device)
        self.sae_id = check_sae(ctx.run, layer, sae_id(self.sae))

    def describe(self, activations: Activations, vlm: Any, texts: _Texts) -> None:
        """Leave this layer's parts in ``dir``; the table of its features comes last."""
        codes = self.dir / "codes"
        reader = activations.reader(self.layer)
        check_rows(reader.n_rows, self.tokens)
        tick = self.tick("reading activations", 0, CODES)
        kept = TokenCodes.of(self.ctx.run, self.layer, self.sae_id)
        store = write_codes(self.sae, reader, self.tokens, codes, tick, device=self.ctx.device, kept=kept)
        write_table(self.dir / "features.parquet", self.table(store, self.blocks(store, texts), vlm, texts))
        shutil.rmtree(codes)
        self.tick("done", 1, 0)(1, 1)

    def blocks(self, store: CodeStore, texts: _Texts) -> pa.Table:
        """Statistics of all features; their areas and examples are left beside them."""
        tick, parts = self.tick("statistics and examples", CODES, BLOCKS), []
        ranges = store.blocks()
        for number, (first, last) in enumerate(ranges):
            paths = {k: self.dir / f"{k}_{number:05d}.parquet" for k in ("statistics", "areas", "examples")}
            if not all(path.exists() for path in paths.values()):
                self.block(store, first, last, paths, texts)
            parts.append(_read(paths["statistics"]))
            tick(number + 1, len(ranges))
        return pa.concat_tables(parts)

    def block(self, store: CodeStore, first: int, last: int, paths: dict[str, Path], texts: _Texts) -> None:
        codes, config, tokens = store.read(first, last), self.config, self.tokens
        stats = feature_statistics(codes, tokens, config.histogram_bins)
        words = top_tokens(codes, tokens, config.n_logits)
        usual = usual_activation(codes, tokens)
        write_table(paths["statistics"], statistics_columns(stats, usual, words, texts.by_id))
        write_table(paths["areas"], areas_table(codes, tokens, self.areas, self.layer, self.sae_id))
        maxima = image_maxima(codes, tokens)
        sizes = config.n_examples, config.n_quantiles, config.n_per_quantile
        chosen = choose_examples(maxima, first, *sizes, self.ctx.config.seed, self.layer)
        lines = traces(codes, tokens, maxima, chosen)
        write_table(
            paths["examples"],
            examples_table(
                self.layer, self.sae_id, first, tokens, maxima, chosen, lines, texts.captions, config.n_quantiles
            ),
        )

    def table(self, store: CodeStore, blocks: pa.Table, vlm: Any, texts: _Texts) -> pa.Table:
        fit, alive = store.fit(), blocks["alive"].to_numpy()
        directions = self.sae.W_dec.detach()[alive.nonzero()[0]]
        start = CODES + BLOCKS
        words = feature_logits(
            vlm, directions, self.config.n_logits, fit.caption_rms, self.tick("words", start, REST / 3)
        )
        near = neighbours(directions, max(self.config.n_neighbours, MAP_NEIGHBOURS - 1))
        self.tick("drawing the map", start, REST / 2)(1, 1)
        place = feature_map(directions, near, self.ctx.config.seed)
        kept = Neighbours(*(part[:, : self.config.n_neighbours] for part in near))
        return features_table(self.layer, self.sae_id, blocks, fit.explained_share, place, kept, words, texts.by_id)

    def tick(self, doing: str, start: float, share: float) -> Callable[[int, int], None]:
        """A progress function for one part of the work, in features."""
        d_sae = self.sae.cfg.d_sae

        def progress(done: int, total: int) -> None:
            part = start + share * done / max(1, total)
            message = f"layer {self.layer}: {doing}"
            self.ctx.progress(int((self.number + part) * d_sae), self.n_layers * d_sae, "features", message)

        return progress


def check_sae(run: Run, layer: int, found: str) -> str:
    """The SAE's id, or UserError where saes.parquet names another one for the layer."""
    saes = run.table("saes", ["layer", "sae_id"]).to_pylist()
    named = [row["sae_id"] for row in saes if row["layer"] == layer]
    if named == [found]:
        return found
    why = f"saes.parquet names {named[0] if named else 'none'}; the weights are those of {found}."
    what = f"The SAE of layer {layer} is not the one that was trained in this run."
    raise UserError(what, why, "Run the stage train again.")


def check_rows(n_rows: int, tokens: TokenIndex) -> None:
    """UserError where activations and token index do not belong together."""
    if n_rows != tokens.n_rows:
        why = f"The index has {tokens.n_rows} lines, the activations {n_rows} rows."
        raise UserError("The token index does not fit the activations.", why, "Run the stage activations again.")
