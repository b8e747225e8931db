"""What was changed and on which images: the rows of intervention_arms and intervention_images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from core.config import LANGUAGES
from core.interventions.designs import TARGET, Arm
from core.interventions.inputs import Inputs, fresh_file

DEVELOPMENT, CONFIRMATION = "development", "confirmation"


def images_table(inputs: Inputs) -> pd.DataFrame:
    """Every image of both phases."""
    files = dict(zip(inputs.samples["sample_id"], inputs.samples["image_file"], strict=True))
    phases = (DEVELOPMENT, inputs.development), (CONFIRMATION, inputs.confirming)
    return pd.DataFrame(
        [
            {
                "phase": phase,
                "image": s.image,
                "sample_id": s.sample_id,
                "gender": s.gender,
                "attributes": s.attributes,
                "image_file": files.get(s.sample_id) or fresh_file(s),
            }
            for phase, subjects in phases
            for s in subjects
        ]
    )


def arms_table(
    inputs: Inputs, moved: Mapping[int, Mapping[str, float]], tried: Sequence[Arm], confirmed: Sequence[Arm]
) -> pd.DataFrame:
    """Every arm with its features; ``moved``: how far its edits moved the residuals, by the arm's number."""
    return pd.DataFrame(
        [
            _arm_row(inputs, moved[number], number, phase, arm)
            for phase, arms, first in ((DEVELOPMENT, tried, 0), (CONFIRMATION, confirmed, len(tried)))
            for number, arm in enumerate(arms, start=first)
        ]
    )


def _arm_row(inputs: Inputs, moved: Mapping[str, float], number: int, phase: str, arm: Arm) -> dict[str, Any]:
    row: dict[str, Any] = {"arm": number, "phase": phase, **vars(arm), "sae_id": None, "dictionary_id": None}
    row |= moved
    here = inputs.settings.languages if arm.sets else ()
    chosen: dict[str, list] = {lang: inputs.writer.set_of(arm, lang) if lang in here else [] for lang in LANGUAGES}
    for lang in LANGUAGES:
        row[f"features_{lang}"] = [f for f, _ in chosen[lang]]
        row[f"leans_{lang}"] = [lean for _, lean in chosen[lang]]
    every = [f for lang in LANGUAGES for f, _ in chosen[lang]]
    other = inputs.writer.untrained.get(arm.dictionary)
    if every:
        column = other.column if other else partial(inputs.column, arm.layer)
        row["dictionary_id" if other else "sae_id"] = inputs.writer.dictionary_name(arm)
        row["firing_rate"] = float(np.mean(column("density")[every]))
        row["activation"] = float(np.mean(column("mean")[every]))
    distance = (other.sets if other else inputs.feature_sets).distance
    control = arm.draw != TARGET
    apart = [distance[arm.layer, lang, arm.ranking, arm.draw, arm.uniform][: arm.k] for lang in here if control]
    row["distance"] = float(np.mean(np.concatenate(apart))) if apart else float("nan")
    return {"firing_rate": float("nan"), "activation": float("nan"), **row}
