"""Stage mechanisms: direct effects of heads and MLPs, their weights, pairs of features, and gradients put to the test.

Parts are kept in the work folder, one a language and question, so that what is there after a kill is not done again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq

from core.mech import effects, heads, weights
from core.mech.inputs import Inputs
from core.mech.tables import TABLES, table
from core.run import write_table
from core.vlm import load_captioner
from precompute.context import StageContext

Rows = list[dict[str, Any]]
MAKES = {
    "heads": ("head_effects", "head_attention"),
    "readings": ("head_readings",),
    "features": ("feature_pairs", "patching", "patching_checks"),
}
"""The tables of each question; the weights' spectra are asked of no language."""


def run(ctx: StageContext) -> dict:
    """Write the seven tables of core/mech/tables.py."""
    work = _Work(ctx)
    rows: dict[str, Rows] = {name: [] for name in TABLES}
    rows["weight_spectra"] = work.part("weight_spectra", "", work.spectra)["weight_spectra"]
    for lang in ctx.config.samples.languages:
        for name, make in work.questions(lang).items():
            for made, found in work.part(name, lang, make).items():
                rows[made] += found
    heads.with_q(rows["head_effects"], ctx.config.mechanisms.fdr)
    for name, of in TABLES.items():
        of.write(ctx.run, table(name, rows[name]))
    found = [f"{r['lang']} {r['part']} {r['layer']}.{r['head']}" for r in rows["head_effects"] if r["finding"]]
    return {"rows": sum(map(len, rows.values())), "notes": {"findings": found[:50]}}


class _Work:
    """The parts, each made once, and the progress over all of them."""

    def __init__(self, ctx: StageContext):
        self.ctx = ctx
        load = lambda: load_captioner(ctx.run, ctx.config.model, ctx.device)  # noqa: E731
        self.inputs = Inputs(ctx.run, ctx.config, ctx.device, load)
        self.done, self.total = 0, 1 + 3 * len(ctx.config.samples.languages)

    def part(self, name: str, lang: str, make: Callable[[], dict[str, Rows]]) -> dict[str, Rows]:
        """Rows as they stand in the part's files, so that a fresh part and a kept one are the same."""
        tables = MAKES.get(name, (name,))
        paths = {t: self.ctx.work_dir / f"{t}_{lang}.parquet" for t in tables}
        self.tick(f"{name.replace('_', ' ')} {lang}".strip())
        if not all(path.exists() for path in paths.values()):
            made = make()
            for t, path in paths.items():
                write_table(path, table(t, made[t]))
        self.done += 1
        self.tick(name)
        return {t: pq.read_table(path).to_pylist() for t, path in paths.items()}

    def spectra(self) -> dict[str, Rows]:
        """What the weights of every layer look like."""
        found: Rows = []
        for layer in range(self.inputs.vlm.n_layers):
            found += weights.spectra(self.inputs.vlm, layer, self.ctx.config.seed)
            self.tick(f"weights of layer {layer}")
        return {"weight_spectra": found}

    def questions(self, lang: str) -> dict[str, Callable[[], dict[str, Rows]]]:
        """What is asked of a language, by name."""
        return {
            "heads": lambda: heads.heads(self.inputs, lang),
            "readings": lambda: weights.readings(self.inputs, lang),
            "features": lambda: effects.features(self.inputs, lang, lambda text: self.tick(f"{text}, {lang}")),
        }

    def tick(self, message: str) -> None:
        self.ctx.progress(self.done, self.total, "steps", message)
