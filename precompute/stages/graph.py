"""Stage graph: by which patches and features single gendered words were written; a part a caption."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from core.mech.graph_captions import TABLES, Captions
from core.mech.inputs import Inputs
from core.mech.tables import rows_as
from core.run import write_table
from core.vlm import load_captioner
from precompute.context import Part, StageContext


def run(ctx: StageContext) -> dict:
    """Write the tables of core/run/schema/graph.py."""
    load = lambda: load_captioner(ctx.run, ctx.config.model, ctx.device)  # noqa: E731
    captions = Captions(Inputs(ctx.run, ctx.config, ctx.device, load))
    asked = [(lang, target) for lang, targets in captions.targets.items() for target in targets]
    paths = [{name: ctx.work_dir / f"{name}_{lang}_{t.sample_id}.parquet" for name in TABLES} for lang, t in asked]

    def part(number: int) -> Part:
        def make() -> None:
            lang, target = asked[number]
            made = captions.rows(lang, target)
            for name, path in paths[number].items():  # the last of them says that the part is done
                write_table(path, rows_as(TABLES[name], made[name]))

        return Part(list(paths[number].values())[-1], make)

    ctx.make([part(n) for n in range(len(asked))], lambda n: ctx.progress(n, len(asked), "graphs"))
    if ctx.helper:
        return {}
    n_rows = 0
    for name, table in TABLES.items():
        rows = [row for of in paths for row in _read(of[name])]
        if name == "graphs":
            rows += [
                {"lang": lang, "sample_id": -1, "why": captions.inputs.coverage(lang).why or "no graphs were asked for"}
                for lang, targets in captions.targets.items()
                if not targets
            ]
        table.write(ctx.run, rows_as(table, rows))
        n_rows += len(rows)
    return {"rows": n_rows}


def _read(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()
