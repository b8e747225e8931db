"""Stage mechanisms: direct effects of heads and MLPs, their weights, pairs of features, and gradients put to the test.

Parts are kept in the work folder, one a language and question, so that what is there after a kill is not done again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.mech import effects, exchange, heads, part_agreement, weights
from core.mech.inputs import Inputs
from core.mech.tables import TABLES, table
from core.run import write_table
from core.vlm import load_captioner
from precompute.context import Part, StageContext

Rows = list[dict[str, Any]]
MAKES = {
    "heads": ("head_effects", "part_shares", "head_attention"),
    "readings": ("head_readings",),
    "features": ("feature_pairs", "patching", "patching_checks"),
}
"""The tables of each question; the weights' spectra are asked of no language, the exchange of images of all at once."""


def run(ctx: StageContext) -> dict:
    """Write the tables of core/mech/tables.py."""
    work = _Work(ctx)
    ctx.make(work.parts, work.count)
    if ctx.helper:
        return {}
    rows: dict[str, Rows] = {name: [] for name in TABLES}
    for name, path in work.files:  # as they stand in the files, fresh or kept
        rows[name] += pq.read_table(path).to_pylist()
    heads.with_findings(rows["head_effects"], ctx.config.mechanisms.level)
    rows["part_agreement"] = part_agreement.rows(rows["head_effects"], rows["part_shares"], ctx.config)
    for name, of in TABLES.items():
        of.write(ctx.run, table(name, rows[name]))
    found = [f"{r['lang']} {r['part']} {r['layer']}.{r['head']}" for r in rows["head_effects"] if r["finding"]]
    return {"rows": sum(map(len, rows.values())), "notes": {"findings": found[:50]}}


class _Work:
    """What is asked, a part each; ``files`` are its tables' files, in their order."""

    def __init__(self, ctx: StageContext):
        self.ctx = ctx
        load = lambda: load_captioner(ctx.run, ctx.config.model, ctx.device)  # noqa: E731
        self.inputs = Inputs(ctx.run, ctx.config, ctx.device, load)
        self.files: list[tuple[str, Path]] = []
        self.done = 0
        self.parts = [self.part("weight_spectra", "", self.spectra)]
        self.parts.append(self.part("image_exchange", "", lambda: {"image_exchange": self.exchanges()}))
        for lang in ctx.config.samples.languages:
            self.parts += [self.part(name, lang, make) for name, make in self.questions(lang).items()]

    def part(self, name: str, lang: str, make: Callable[[], dict[str, Rows]]) -> Part:
        """A question of a language; the part is done when the last of its tables is there."""
        paths = {t: self.ctx.work_dir / f"{t}_{lang}.parquet" for t in MAKES.get(name, (name,))}
        self.files += paths.items()

        def write() -> None:
            made = make()
            for t, path in paths.items():
                write_table(path, table(t, made[t]))

        return Part(list(paths.values())[-1], write)

    def spectra(self) -> dict[str, Rows]:
        """What the weights of every layer look like."""
        found: Rows = []
        for layer in range(self.inputs.vlm.n_layers):
            found += weights.spectra(self.inputs.vlm, layer, self.ctx.config.seed)
            self.tick(f"weights of layer {layer}")
        return {"weight_spectra": found}

    def exchanges(self) -> Rows:
        """What image tokens carry, in every language: the directions are the same."""
        return exchange.exchanges(self.inputs, self.tick)

    def questions(self, lang: str) -> dict[str, Callable[[], dict[str, Rows]]]:
        """What is asked of a language, by name."""
        return {
            "heads": lambda: heads.heads(self.inputs, lang),
            "readings": lambda: weights.readings(self.inputs, lang),
            "features": lambda: effects.features(self.inputs, lang, lambda text: self.tick(f"{text}, {lang}")),
        }

    def count(self, done: int) -> None:
        self.done = done
        self.tick("")

    def tick(self, message: str) -> None:
        self.ctx.progress(self.done, len(self.parts), "steps", message)
