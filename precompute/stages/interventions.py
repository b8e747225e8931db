"""Stage interventions: captions under edits of features and directions, against matched controls, image by image.

Arms (one change of the model, given to all images) are written one part file each, so that a run that was stopped goes
on with the next arm. What is tried on development images chooses layer, strength and ranking; other images confirm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from core.errors import TooLittleData
from core.interventions import captions, images, tables
from core.interventions.designs import (
    LEACE,
    NONE,
    ZERO,
    Arm,
    Choice,
    arms_of,
    choose,
    count_arms,
    designs,
    grid,
)
from core.interventions.inputs import Inputs
from core.interventions.listing import CONFIRMATION, DEVELOPMENT, arms_table, images_table
from core.interventions.writing import Row, together
from core.run import write_table
from core.run.schema.interventions import (
    INTERVENTION_ARMS,
    INTERVENTION_CAPTIONS,
    INTERVENTION_EFFECTS,
    INTERVENTION_IMAGES,
    INTERVENTION_TERMS,
    INTERVENTION_VERDICTS,
)
from core.words import caption_gender
from precompute.context import StageContext

TABLES = (
    INTERVENTION_ARMS,
    INTERVENTION_IMAGES,
    INTERVENTION_CAPTIONS,
    INTERVENTION_EFFECTS,
    INTERVENTION_VERDICTS,
    INTERVENTION_TERMS,
)


def run(ctx: StageContext) -> dict:
    """Write the tables intervention_* and, of fresh scenes, their images.

    Where there is too little data the tables are empty and the record's notes say what is lacking.
    """
    ctx.run.path("intervention_images").mkdir(exist_ok=True)  # stays empty where no scenes are drawn
    try:
        return _Stage(ctx).run()
    except TooLittleData as lack:
        ctx.log.warning("%s", lack)
        for table in TABLES:
            table.write(ctx.run, table.arrow.empty_table())
        return {"rows": 0, "notes": {"too_little_data": [lack.what, lack.why, lack.do]}}


class _Stage:
    """What the stage holds between its steps."""

    def __init__(self, ctx: StageContext):
        self.ctx, self.config = ctx, ctx.config.interventions
        self.inputs = Inputs(ctx.run, ctx.config, ctx.device, ctx.log)
        self.settings, self.writer, self.readers = self.inputs.settings, self.inputs.writer, self.inputs.readers
        self.numbers: dict[Arm, int] = {}
        self._moved: dict[int, dict[str, float]] = {}
        self.done, self.total = 0, sum(count_arms(self.settings))

    def run(self) -> dict:
        tried = grid(self.settings)
        said = {DEVELOPMENT: self._write(DEVELOPMENT, tried, self.inputs.development)}
        results = tables.Results(said[DEVELOPMENT], self.numbers)
        n_draws, seed = self.config.n_bootstrap, self.ctx.config.seed
        choice = choose(self.settings, tables.scores(tried, results, tried[0]), self.inputs.separation())
        grid_effects = tables.development_table(tried, results, tried[0], n_draws, seed)
        questions = designs(self.settings, choice)
        arms = arms_of(questions)
        self.total = len(tried) + len(arms)
        self.inputs.prepare(questions)
        first = len(tried)
        self.numbers = {arm: first + i for i, arm in enumerate(arms)}
        said[CONFIRMATION] = self._write(CONFIRMATION, arms, self.inputs.confirming, first)
        self.ctx.progress(self.total, self.total, "arms", "comparing")
        results = tables.Results(said[CONFIRMATION], self.numbers)
        effects = tables.effects_table(questions, results, arms[0], n_draws, seed)
        verdicts = tables.verdicts_table(effects)
        terms = tables.terms_table(questions, results, arms[0], self.readers, n_draws, seed)
        n = sum(map(len, said.values()))
        notes = self._notes(choice, verdicts, n, results)  # fails where the identity control does
        grid_effects["design"] = -1
        frames = (
            arms_table(self.inputs, self._moved, tried, arms),
            images_table(self.inputs),
            pd.concat(said.values(), ignore_index=True),
            pd.concat([grid_effects, effects], ignore_index=True),
            verdicts,
            terms,
        )
        for table, frame in zip(TABLES, frames, strict=True):
            table.write(self.ctx.run, table.of_frame(frame))
        return {"rows": n, "notes": notes}

    # Captions

    def _write(self, phase: str, arms: Sequence[Arm], subjects: Sequence[images.Subject], first: int = 0) -> Any:
        """Captions of every arm, as rows of intervention_captions; groups of arms whose part is there are read back."""
        self.numbers |= {arm: first + i for i, arm in enumerate(arms)}
        rows = [Row(subject.image, lang) for lang in self.settings.languages for subject in subjects]
        groups = together(arms, len(rows), self.writer.batch_size)
        parts = [self.ctx.work_dir / f"{phase}_{i:05d}.parquet" for i in range(len(groups))]
        if not all(part.exists() for part in parts):
            self.writer.features = self.writer.vlm.encode_images([self.inputs.open(subject) for subject in subjects])
        known: dict[captions.CaptionKey, float] = {}
        plain: pd.DataFrame | None = None
        found = []
        for group, part in zip(groups, parts, strict=True):
            if not part.exists():
                write_table(part, captions.written(self.writer, group, rows, plain, known))
            self.done += len(group)
            self.ctx.progress(self.done, self.total, "arms", f"{phase} images")
            frame = pq.read_table(part, schema=captions.PART_SCHEMA).to_pandas()
            known |= captions.scores_of(frame)
            if group[0].method == NONE:
                plain = frame
                hits = [self.readers[lang].hits(t) for t, lang in zip(frame["text"], frame["lang"], strict=True)]
                rows = [Row(row.image, row.lang, caption_gender(h)) for row, h in zip(rows, hits, strict=True)]
            assert plain is not None  # captions without an edit are the first group
            for arm, mine in zip(group, np.split(np.arange(len(frame)), len(group)), strict=True):
                of_arm = frame.iloc[mine]
                number = self.numbers[arm]
                self._moved[number] = of_arm.iloc[0][list(captions.MOVED)].to_dict()
                found.append(captions.counted(of_arm, plain, self.readers, subjects, arm=number, phase=phase))
        return pd.concat(found, ignore_index=True)

    def _notes(self, choice: Choice, verdicts: pd.DataFrame, n: int, results: tables.Results) -> dict[str, Any]:
        head = verdicts.loc[verdicts["note"] == "headline"].to_dict("records")
        zero = next(arm for arm in self.numbers if arm.method == ZERO)
        same = {lang: bool((results.rows(zero, lang)["unchanged"]).all()) for lang in self.settings.languages}
        if not all(same.values()):
            raise RuntimeError("captions under an edit that changes nothing differ from those without an edit")
        first = choice.features[self.settings.modes[0]]
        return {
            "captions": n,
            "arms": self.total,
            "development_images": len(self.inputs.development),
            "confirming_images": len(self.inputs.confirming),
            "fresh_scenes": self.inputs.confirming[0].draw is not None,
            "layer": first.layer,
            "strength": first.strength,
            "ranking": first.ranking,
            "k": first.k,
            "leace": "used"
            if LEACE in self.settings.directions
            else "not installed"
            if LEACE in self.config.directions
            else "not asked for",
            "verdicts": {f"{row['mode']}_{row['lang']}": row["verdict"] for row in head},
        }
