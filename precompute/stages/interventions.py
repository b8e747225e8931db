"""Stage interventions: captions under edits of features and directions, against matched controls, image by image.

Arms (one change of the model, given to all images) are written one part file each, so that a run that was stopped goes
on with the next arm. What is tried on development images chooses layer, strength and ranking; other images confirm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.config import LANGUAGES
from core.errors import TooLittleData
from core.gender import caption_gender
from core.interventions import images, tables
from core.interventions.designs import (
    LEACE,
    NONE,
    TARGET,
    ZERO,
    Arm,
    Choice,
    arms_of,
    choose,
    count_arms,
    designs,
    grid,
)
from core.interventions.material import Material, fresh_file
from core.interventions.outcomes import demo_truth, outcomes
from core.interventions.writing import Row, together
from core.runs import write_table
from precompute.context import StageContext

DEVELOPMENT, CONFIRMATION = "development", "confirmation"
MOVED = ("moved_share", "moved_ratio", "capped_share")
PART_SCHEMA = pa.schema([
    ("image", pa.int32()), ("lang", pa.string()), ("text", pa.string()), ("token_ids", pa.list_(pa.int32())),
    ("finished", pa.bool_()), ("log_prob", pa.float64()),
    *((name, pa.float64()) for name in MOVED),
])  # fmt: skip
Scores = dict[tuple[int, str, tuple[int, ...]], float]  # (image, language, token ids) -> log-probability unedited


def run(ctx: StageContext) -> dict:
    """Write the tables intervention_* and, of fresh scenes, their images.

    Where there is too little data the tables are empty and the record's notes say what is lacking.
    """
    ctx.run.path("intervention_images").mkdir(exist_ok=True)  # stays empty where no scenes are drawn
    try:
        return _Stage(ctx).run()
    except TooLittleData as lack:
        ctx.log.warning("%s", lack)
        for name, schema in tables.SCHEMAS.items():
            write_table(ctx.run.path(f"intervention_{name}.parquet"), schema.empty_table())
        return {"rows": 0, "notes": {"too_little_data": [lack.what, lack.why, lack.do]}}


class _Stage:
    """What the stage holds between its steps."""

    def __init__(self, ctx: StageContext):
        self.ctx, self.config = ctx, ctx.config.interventions
        self.material = Material(ctx.run, ctx.config, ctx.device, ctx.log)
        self.settings, self.bench, self.readers = self.material.settings, self.material.bench, self.material.readers
        self.numbers: dict[Arm, int] = {}
        self._moved: dict[int, dict[str, float]] = {}
        self.done, self.total = 0, sum(count_arms(self.settings))

    def run(self) -> dict:
        tried = grid(self.settings)
        captions = {DEVELOPMENT: self._write(DEVELOPMENT, tried, self.material.development)}
        results = tables.Results(captions[DEVELOPMENT], self.numbers)
        n_draws, seed = self.config.n_bootstrap, self.ctx.config.seed
        choice = choose(self.settings, tables.scores(tried, results, tried[0]), self.material.separation())
        grid_effects = tables.development_table(tried, results, tried[0], n_draws, seed)
        questions = designs(self.settings, choice)
        arms = arms_of(questions)
        self.total = len(tried) + len(arms)
        self.material.prepare(questions)
        first = len(tried)
        self.numbers = {arm: first + i for i, arm in enumerate(arms)}
        captions[CONFIRMATION] = self._write(CONFIRMATION, arms, self.material.confirming, first)
        self.ctx.progress(self.total, self.total, "arms", "comparing")
        results = tables.Results(captions[CONFIRMATION], self.numbers)
        effects = tables.effects_table(questions, results, arms[0], n_draws, seed)
        verdicts = tables.verdicts_table(effects)
        terms = tables.terms_table(questions, results, arms[0], self.readers, n_draws, seed)
        n = sum(map(len, captions.values()))
        notes = self._notes(choice, verdicts, n, results)  # fails where the identity control does
        self._save("arms", self._arms_table(tried, arms), tables.ARMS_SCHEMA)
        self._save("images", self._images_table(), tables.IMAGES_SCHEMA)
        self._save("captions", pd.concat(captions.values(), ignore_index=True), tables.CAPTIONS_SCHEMA)
        grid_effects["design"] = -1
        self._save("effects", pd.concat([grid_effects, effects], ignore_index=True), tables.EFFECTS_SCHEMA)
        self._save("verdicts", verdicts, tables.VERDICTS_SCHEMA)
        self._save("terms", terms, tables.TERMS_SCHEMA)
        return {"rows": n, "notes": notes}

    # Captions

    def _write(self, phase: str, arms: Sequence[Arm], subjects: Sequence[images.Subject], first: int = 0) -> Any:
        """Captions of every arm, as rows of intervention_captions; groups of arms whose part is there are read back."""
        self.numbers |= {arm: first + i for i, arm in enumerate(arms)}
        rows = [Row(subject.image, lang) for lang in self.settings.languages for subject in subjects]
        groups = together(arms, len(rows), self.bench.batch_size)
        parts = [self.ctx.work_dir / f"{phase}_{i:05d}.parquet" for i in range(len(groups))]
        if not all(part.exists() for part in parts):
            self.bench.features = self.bench.vlm.encode_images([self.material.open(subject) for subject in subjects])
        known: Scores = {}
        plain: pd.DataFrame | None = None
        found = []
        for group, part in zip(groups, parts, strict=True):
            if not part.exists():
                write_table(part, self._part(group, rows, plain, known))
            self.done += len(group)
            self.ctx.progress(self.done, self.total, "arms", f"{phase} images")
            frame = pq.read_table(part, schema=PART_SCHEMA).to_pandas()
            known |= dict(zip(_caption_keys(frame), frame["log_prob"], strict=True))
            if group[0].method == NONE:
                plain = frame
                hits = [self.readers[lang].hits(t) for t, lang in zip(frame["text"], frame["lang"], strict=True)]
                rows = [Row(row.image, row.lang, caption_gender(h)) for row, h in zip(rows, hits, strict=True)]
            for arm, mine in zip(group, np.split(np.arange(len(frame)), len(group)), strict=True):
                of_arm = frame.iloc[mine]
                self._moved[self.numbers[arm]] = of_arm.iloc[0][list(MOVED)].to_dict()
                found.append(self._counted(of_arm, plain, self.numbers[arm], phase, subjects))
        return pd.concat(found, ignore_index=True)

    def _part(self, group: Sequence[Arm], rows: Sequence[Row], plain: Any, known: Scores) -> pa.Table:
        """Captions of a group of arms, arm by arm; what was scored before is not scored again."""
        asked = [(arm, row) for arm in group for row in rows]
        written = self.bench.write(asked)
        keys = [(row.image, row.lang, tuple(ids)) for (_, row), (ids, _) in zip(asked, written, strict=True)]
        new = list(dict.fromkeys(key for key in keys if key not in known))
        fresh = self.bench.log_probs([(Row(image, lang), list(ids)) for image, lang, ids in new])
        scores = {**known, **dict(zip(new, fresh, strict=True))}
        before = [ids for ids, _ in written] if plain is None else [list(ids) for ids in plain["token_ids"]]
        moved = {arm: self.bench.moved(arm, rows, before) for arm in group}
        return pa.Table.from_pylist([
            {"image": row.image, "lang": row.lang, "text": self.bench.vlm.decode(ids), "token_ids": ids,
             "finished": finished, "log_prob": scores[key], **moved[arm]}
            for (arm, row), (ids, finished), key in zip(asked, written, keys, strict=True)
        ], schema=PART_SCHEMA)  # fmt: skip

    def _counted(self, frame: Any, plain: Any, number: int, phase: str, subjects: Sequence[Any]) -> pd.DataFrame:
        """The captions of an arm with what is counted of them."""
        known = {s.image: demo_truth(s.gender, s.attributes) for s in subjects}
        rows = []
        for new, before in zip(frame.itertuples(), plain.itertuples(), strict=True):
            said = outcomes(new.text, before.text, self.readers[new.lang], known[new.image])
            rows.append(
                {
                    "arm": number,
                    "phase": phase,
                    "image": new.image,
                    "lang": new.lang,
                    "text": new.text,
                    "finished": new.finished,
                    "n_tokens": len(new.token_ids),
                    "log_prob": new.log_prob,
                    **said,
                }
            )
        return pd.DataFrame(rows)

    # Tables

    def _save(self, name: str, frame: pd.DataFrame, schema: pa.Schema) -> None:
        write_table(self.ctx.run.path(f"intervention_{name}.parquet"), tables.as_table(frame, schema))

    def _images_table(self) -> pd.DataFrame:
        files = dict(zip(self.material.samples["sample_id"], self.material.samples["image_file"], strict=True))
        phases = (DEVELOPMENT, self.material.development), (CONFIRMATION, self.material.confirming)
        return pd.DataFrame([
            {"phase": phase, "image": s.image, "sample_id": s.sample_id, "gender": s.gender,
             "attributes": s.attributes, "image_file": files.get(s.sample_id) or fresh_file(s)}
            for phase, subjects in phases for s in subjects
        ])  # fmt: skip

    def _arms_table(self, tried: Sequence[Arm], confirmed: Sequence[Arm]) -> pd.DataFrame:
        return pd.DataFrame([
            self._arm_row(number, phase, arm)
            for phase, arms, first in ((DEVELOPMENT, tried, 0), (CONFIRMATION, confirmed, len(tried)))
            for number, arm in enumerate(arms, start=first)
        ])  # fmt: skip

    def _arm_row(self, number: int, phase: str, arm: Arm) -> dict[str, Any]:
        row: dict[str, Any] = {"arm": number, "phase": phase, **vars(arm), "sae_id": None, **self._moved[number]}
        here = self.settings.languages if arm.sets else ()
        chosen: dict[str, list] = {lang: self.bench.set_of(arm, lang) if lang in here else [] for lang in LANGUAGES}
        for lang in LANGUAGES:
            row[f"features_{lang}"] = [f for f, _ in chosen[lang]]
            row[f"leans_{lang}"] = [lean for _, lean in chosen[lang]]
        every = [f for lang in LANGUAGES for f, _ in chosen[lang]]
        if every:
            row["sae_id"] = self.bench.sae_name(arm.layer)
            row["firing_rate"] = float(np.mean(self.material.column(arm.layer, "density")[every]))
            row["activation"] = float(np.mean(self.material.column(arm.layer, "mean")[every]))
        distance = self.material.feature_sets.distance
        control = arm.draw != TARGET
        apart = [distance[arm.layer, lang, arm.ranking, arm.draw][: arm.k] for lang in here if control]
        row["distance"] = float(np.mean(np.concatenate(apart))) if apart else float("nan")
        return {"firing_rate": float("nan"), "activation": float("nan"), **row}

    def _notes(self, choice: Choice, verdicts: pd.DataFrame, n: int, results: tables.Results) -> dict[str, Any]:
        head = verdicts[verdicts["note"] == "headline"]
        zero = next(arm for arm in self.numbers if arm.method == ZERO)
        same = {lang: bool((results.rows(zero, lang)["unchanged"]).all()) for lang in self.settings.languages}
        if not all(same.values()):
            raise RuntimeError("captions under an edit that changes nothing differ from those without an edit")
        first = choice.features[self.settings.modes[0]]
        return {
            "captions": n, "arms": self.total, "development_images": len(self.material.development),
            "confirming_images": len(self.material.confirming),
            "fresh_scenes": self.material.confirming[0].scene is not None,
            "layer": first.layer, "strength": first.strength, "ranking": first.ranking, "k": first.k,
            "leace": "used" if LEACE in self.settings.directions else "not installed" if LEACE in self.config.directions
            else "not asked for",
            "verdicts": {f"{row.mode}_{row.lang}": row.verdict for row in head.itertuples()},
        }  # fmt: skip


def _caption_keys(frame: pd.DataFrame) -> list[tuple[int, str, tuple[int, ...]]]:
    return [(r.image, r.lang, tuple(r.token_ids)) for r in frame.itertuples()]
