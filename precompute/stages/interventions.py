"""Stage interventions: captions under edits of features and directions, against matched controls, image by image.

Arms (one change of the model, given to all images) are written one part file each, so that a run that was stopped goes
on with the next arm. What is tried on development images chooses layer, strength and ranking; other images confirm.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.activations.replay import Activations
from core.errors import TooLittleData
from core.interventions import captions, images, tables
from core.interventions.designs import (
    LEACE,
    ZERO,
    Arm,
    Choice,
    arms_of,
    choose,
    comparisons,
    count_arms,
    designs,
    grid,
    tried_untrained,
    with_untrained,
)
from core.interventions.inputs import Inputs
from core.interventions.listing import CONFIRMATION, DEVELOPMENT, arms_table, images_table
from core.interventions.sets import Dictionary
from core.interventions.writing import Row, together
from core.nulls.dictionaries import drawn
from core.run import write_table
from core.run.schema.interventions import (
    INTERVENTION_ARMS,
    INTERVENTION_CAPTIONS,
    INTERVENTION_COMPARISONS,
    INTERVENTION_EFFECTS,
    INTERVENTION_IMAGES,
    INTERVENTION_TERMS,
    INTERVENTION_VERDICTS,
)
from core.sae.files import load_sae, save_sae
from core.words import caption_gender
from precompute.context import Part, StageContext

SCORED_BATCHES = 8  # batches of captions that are scored in one part

TABLES = (
    INTERVENTION_ARMS,
    INTERVENTION_IMAGES,
    INTERVENTION_CAPTIONS,
    INTERVENTION_EFFECTS,
    INTERVENTION_VERDICTS,
    INTERVENTION_COMPARISONS,
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
        if ctx.helper:
            return {}
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
        if untrained := tried_untrained(self.settings, choice):
            self._draw(untrained[0])
            more = self._write(DEVELOPMENT, untrained, self.inputs.development, len(tried), "untrained")
            said[DEVELOPMENT], tried = pd.concat([said[DEVELOPMENT], more], ignore_index=True), [*tried, *untrained]
            results = tables.Results(said[DEVELOPMENT], self.numbers)
            choice = with_untrained(choice, untrained, tables.scores(untrained, results, tried[0]))
        questions, compared = designs(self.settings, choice), comparisons(self.settings, choice)
        arms = arms_of(questions, compared)
        self.total = len(tried) + len(arms)
        self.inputs.prepare(questions)
        first = len(tried)
        self.numbers = {arm: first + i for i, arm in enumerate(arms)}
        said[CONFIRMATION] = self._write(CONFIRMATION, arms, self.inputs.confirming, first)
        if self.ctx.helper:
            return {}
        self.ctx.progress(self.total, self.total, "arms", "comparing")
        grid_effects = tables.development_table(tried, results, tried[0], n_draws, seed)
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
            tables.comparisons_table(compared, results, arms[0]),
            terms,
        )
        for table, frame in zip(TABLES, frames, strict=True):
            table.write(self.ctx.run, table.of_frame(frame))
        return {"rows": n, "notes": notes}

    def _draw(self, head: Arm) -> None:
        """The random dictionaries of an arm's layer, each a part; the first has controls of its own."""
        ctx, layer, ranking = self.ctx, head.layer, head.ranking
        activations = Activations.of(ctx, lambda: self.writer.vlm, (layer,))

        def make(number: int, folder: Path) -> None:
            reader = activations.reader(layer)
            sae, found = drawn(ctx.run, ctx.config, self.writer.vlm, reader, ranking, number, ctx.device)
            save_sae(sae, folder / "sae")
            for name in ("features", "ranking"):  # the last of them says that the part is whole
                table = pa.Table.from_pandas(getattr(found, name), preserve_index=False)
                write_table(folder / f"{name}.parquet", table)

        folders = [ctx.work_dir / f"dictionary_{number:02d}" for number in range(self.settings.n_dictionaries)]
        ctx.make([Part(folder / "ranking.parquet", partial(make, n, folder)) for n, folder in enumerate(folders)])
        for number, folder in enumerate(folders):
            features, ranks = (
                pq.read_table(folder / f"{name}.parquet").to_pandas() for name in ("features", "ranking")
            )
            sae, n_controls = load_sae(folder / "sae", ctx.device), 0 if number else self.settings.n_controls
            made = Dictionary.of(sae, features, ranks, ranking, head.k, n_controls, ctx.config.seed)
            self.writer.untrained[number] = made

    # Captions

    def _write(
        self, phase: str, arms: Sequence[Arm], subjects: Sequence[images.Subject], first: int = 0, name: str = ""
    ) -> Any:
        """Captions of every arm, as rows of intervention_captions, from parts of some arms each.

        The first arm is the unedited model; with a ``name`` of their own, arms go on where those of the phase ended.
        """
        self.numbers |= {arm: first + i for i, arm in enumerate(arms)}
        rows = [Row(subject.image, lang) for lang in self.settings.languages for subject in subjects]
        groups = together(arms, len(rows), self.writer.batch_size)
        paths = [self.ctx.work_dir / f"{name or phase}_{i:05d}.parquet" for i in range(len(groups))]
        unedited = self.ctx.work_dir / f"{phase}_00000.parquet"
        encode = functools.cache(lambda: self.writer.vlm.encode_images([self.inputs.open(s) for s in subjects]))
        ends = np.cumsum([0, *map(len, groups)])

        def write(path: Path, make: Callable[[], pa.Table]) -> None:
            self.writer.look_at(encode())
            write_table(path, make())

        def part(i: int, plain: pd.DataFrame | None) -> Part:
            make = partial(captions.written, self.writer, groups[i], rows, plain)
            return Part(paths[i], partial(write, paths[i], make))

        def tell(n: int) -> None:
            self.ctx.progress(self.done + int(ends[n]), self.total, "arms", f"{phase} images")

        if not name:
            self.ctx.make([part(0, None)])  # captions without an edit, which say what each edit is to change
        plain = self._read(unedited)
        hits = [self.readers[lang].hits(t) for t, lang in zip(plain["text"], plain["lang"], strict=True)]
        rows = [Row(row.image, row.lang, caption_gender(h)) for row, h in zip(rows, hits, strict=True)]
        left = range(0 if name else 1, len(groups))
        self.ctx.make([part(i, plain) for i in left], lambda n: tell(left.start + n))
        self.done += len(arms)
        frames = [self._read(path) for path in paths]
        scores = self._scores(name or phase, captions.distinct(frames), write)
        if self.ctx.helper and phase == CONFIRMATION:
            return None
        found = []
        for group, frame in zip(groups, frames, strict=True):
            for arm, mine in zip(group, np.split(np.arange(len(frame)), len(group)), strict=True):
                of_arm = frame.iloc[mine]
                number = self.numbers[arm]
                self._moved[number] = {name: float(of_arm[name].iloc[0]) for name in captions.MOVED}
                found.append(captions.counted(of_arm, plain, scores, self.readers, subjects, arm=number, phase=phase))
        return pd.concat(found, ignore_index=True)

    def _scores(
        self, name: str, keys: Sequence[captions.CaptionKey], write: Callable[[Path, Callable[[], pa.Table]], None]
    ) -> dict[captions.CaptionKey, float]:
        """Log-probabilities of all captions, so many batches a part."""
        size = SCORED_BATCHES * self.writer.batch_size
        parts = []
        for i, start in enumerate(range(0, len(keys), size)):
            path = self.ctx.work_dir / f"{name}_scores_{i:05d}.parquet"
            make = partial(captions.scored, self.writer, keys[start : start + size])
            parts.append(Part(path, partial(write, path, make)))
        self.ctx.make(parts)
        frames = [pq.read_table(part.path, schema=captions.SCORE_SCHEMA).to_pandas() for part in parts]
        return {key: score for frame in frames for key, score in captions.scores_of(frame).items()}

    @staticmethod
    def _read(path: Path) -> pd.DataFrame:
        return pq.read_table(path, schema=captions.PART_SCHEMA).to_pandas()

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
