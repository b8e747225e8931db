"""Stage explain: what the model says of an empty image with one feature turned up, and a grid of steered captions.

Jobs are cut into blocks of one layer (or set) and language whose borders follow from the settings alone; blocks that
are there after a kill are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.run import write_table
from core.run.schema.steering import DOSES, EXPLANATIONS
from core.steering.explain import TEXTS, explanations_table
from core.steering.job_writing import JobWriter
from core.steering.jobs import Tables, blocks, dose_jobs, explain_jobs, scored
from core.vlm import load_captioner
from precompute.context import Part

if TYPE_CHECKING:
    from precompute.context import StageContext


def run(ctx: StageContext) -> dict:
    """Write explanations.parquet and doses.parquet."""
    tables, size = Tables(ctx.run), ctx.config.caption.batch_size
    load = lambda: load_captioner(ctx.run, ctx.config.model, ctx.device)  # noqa: E731
    writer = JobWriter(ctx.run, ctx.config, ctx.device, tables, load)
    asked = {"explained": explain_jobs(ctx.config, tables), "doses": dose_jobs(ctx.config, tables)}
    todo = [block for kind, jobs in asked.items() for block in blocks(jobs, kind, size)]
    paths: dict[str, list[Path]] = {"explained": [], "doses": []}
    parts, ends = [], [0]
    for kind, name, jobs in todo:
        path = ctx.work_dir / f"{name}.parquet"
        paths[kind].append(path)
        write = writer.texts if kind == "explained" else writer.doses
        parts.append(Part(path, lambda path=path, jobs=jobs, write=write: write_table(path, write(jobs))))
        ends.append(ends[-1] + len(jobs))
    ctx.make(parts, lambda n: ctx.progress(ends[n], ends[-1], "captions", "the empty image and the dose grid"))
    if ctx.helper:
        return {}
    ctx.progress(ends[-1], ends[-1], "captions", "comparing texts with references")
    texts = pa.concat_tables([TEXTS.empty_table(), *map(pq.read_table, paths["explained"])]).to_pandas()
    explanations = explanations_table(scored(ctx.run, ctx.config, tables, texts))
    doses = pa.concat_tables([DOSES.arrow.empty_table(), *map(pq.read_table, paths["doses"])])
    EXPLANATIONS.write(ctx.run, explanations)
    DOSES.write(ctx.run, doses)
    return {"rows": len(explanations) + len(doses), "notes": _notes(explanations.to_pandas(), doses)}


def _notes(explanations: pd.DataFrame, doses: pa.Table) -> dict[str, Any]:
    """What the record says: how many chosen texts were scored, and how many beat the texts of other features."""
    chosen = explanations.loc[explanations["chosen"]]
    tested = chosen[chosen["why"] == ""]
    better = tested[(tested["auc_low_test"] > 0.5) & (tested["q"] <= 0.05)]
    return {
        "features": len(set(zip(chosen["layer"], chosen["feature"], strict=True))),
        "scored": len(tested),
        "fit_better_than_others": len(better),
        "doses": len(doses),
    }
