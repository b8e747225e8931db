"""Stage nulls: what the question of gender gives for dictionaries that learned nothing, beside the run's own.

Each layer leaves a part; what is there after a kill is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq

from core.activations.replay import Activations
from core.features.pooled import Pooled
from core.features.tokens import read_token_index
from core.gender.findings import shuffled_labels
from core.nulls.codes import axes, components, encoded, sample_rows, text_rows
from core.nulls.findings import AXES, COMPONENTS, RANDOM, SHUFFLED, TRAINED, Asked, ask, compared, whole_residual
from core.run import write_table
from core.run.schema.nulls import NULL_FINDINGS, NULL_PROBES
from core.sae.files import load_sae
from core.sae.fit import untrained_control
from core.vlm import load_captioner
from precompute.context import StageContext

TABLES = (NULL_FINDINGS, NULL_PROBES)
N_SAMPLE = 2048  # tokens from which a random dictionary takes its mean and how many features are active
DRAW = 7919  # between the seeds of two draws


def run(ctx: StageContext) -> dict:
    """Write null_findings and null_probes."""
    work = _Work(ctx)
    for number, layer in enumerate(work.layers):
        work.part(layer, "untrained", number, lambda layer=layer: work.untrained(layer))
    parts = [work.folder(layer) / "untrained" for layer in work.layers]
    rows = {of.name: of.write_parts(ctx.run, (pq.read_table(p / of.file) for p in parts)) for of in TABLES}
    return {"rows": sum(rows.values()), "notes": rows}


class _Work:
    def __init__(self, ctx: StageContext):
        self.ctx, self.config, self.layers = ctx, ctx.config.nulls, ctx.config.activations.layers
        load = lambda: load_captioner(ctx.run, ctx.config.model, ctx.device)  # noqa: E731
        self.activations = Activations.of(ctx, load, self.layers)
        images = ctx.run.images()
        self.asked = Asked(
            images["gender"].to_numpy(str), (images["split"] == "train").to_numpy(bool), ctx.config.gender
        )
        self.tokens = read_token_index(ctx.run)

    def folder(self, layer: int) -> Any:
        return self.ctx.work_dir / f"layer_{layer:02d}"

    def part(self, layer: int, name: str, number: int, make: Callable[[], tuple[list, list]]) -> None:
        """Tables of a part, the last of which says that it is whole."""
        folder = self.folder(layer) / name
        if not (folder / TABLES[-1].file).exists():
            sae_id = Pooled(self.ctx.run.dir, layer).sae_id
            for of, rows in zip(TABLES, make(), strict=True):
                write_table(folder / of.file, of.of_rows([{"layer": layer, "sae_id": sae_id, **row} for row in rows]))
        self.ctx.progress(number + 1, len(self.layers), "parts", f"layer {layer}: {name}")

    def untrained(self, layer: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Rows of the dictionaries that need no training, and of the run's own, with true and with shuffled labels."""
        pooled, reader, c = Pooled(self.ctx.run.dir, layer), self.activations.reader(layer), self.config
        text, seed = text_rows(self.tokens, pooled), self.ctx.config.seed
        sae = load_sae(self.ctx.run.path("saes", f"layer_{layer:02d}"))
        sample = reader.read(sample_rows(self.tokens, text, self.asked.is_train, N_SAMPLE))
        random = [untrained_control(sae, sample, seed + DRAW * (1 + draw)) for draw in range(c.n_random)]
        coded = {
            RANDOM: encoded(reader, text, random, self.ctx.device),
            AXES: [axes(pooled)],
            COMPONENTS: [components(pooled, self.asked.is_train)],
        }
        own = ask(pooled, self.asked, c.ks)
        whole = {key: whole_residual(pooled, *key, self.asked) for key in own}
        kinds = {TRAINED: [own]} | {kind: [ask(one, self.asked, c.ks) for one in of] for kind, of in coded.items()}
        found, probes = compared(own, kinds, whole, c.ks)
        mixed = [
            shuffled_labels(self.asked.gender, self.asked.is_train, seed + DRAW * (1 + n)) for n in range(c.n_shuffles)
        ]
        shuffled = [ask(pooled, Asked(labels, self.asked.is_train, self.asked.config), c.ks) for labels in mixed]
        more, chance = compared(own, {SHUFFLED: shuffled}, whole, c.ks, same_labels=False)
        return found + more, probes + chance
