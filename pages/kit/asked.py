"""What a visitor of the laboratory asks of the model, and what comes back step by step; nothing here needs torch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from core.config import LANGUAGES as LANGUAGES  # the order of columns, and of the numbers that words are drawn with

MODES = {"Add": "add", "Hold at": "clamp", "Multiply": "scale", "Remove": "ablate"}
ROWS = ("before", "after", "control", "means", "prompt")
NEUTRAL_PROMPTS = {"en": "Use gender-neutral words.", "ar": "استخدم كلمات محايدة لا تدل على الجنس."}


@dataclass(frozen=True)
class Knob:
    """One feature and how far it is turned, in units of its 99.9th percentile of activation."""

    layer: int
    feature: int
    strength: float
    p999: float

    @property
    def push(self) -> float:
        """The strength in units of activation."""
        return self.strength * self.p999


@dataclass(frozen=True)
class Asked:
    """The edits, how they act, and which reference columns are written beside them.

    `control` are matched random features, `means` the difference of means at equal norm, `prompt` a question that asks
    for neutral words. `draw` None is greedy; a number draws every word by chance, always the same.
    """

    pushed: tuple[Knob, ...] = ()
    control: tuple[Knob, ...] = ()
    mode: str = "add"
    means: bool = False
    prompt: bool = False
    draw: int | None = None

    @property
    def rows(self) -> list[str]:
        """The rows that are to be written beside the captions as they were."""
        wanted = {
            "after": self.pushed,
            "control": self.control,
            "means": self.means and self.pushed,
            "prompt": self.prompt,
        }
        return [row for row in ROWS if wanted.get(row)]


@dataclass(frozen=True)
class Strip:
    """What was written of one caption: readable pieces, and at each the probability of words for women and for men."""

    pieces: tuple[str, ...]
    female: tuple[float, ...]
    male: tuple[float, ...]
    ids: tuple[int, ...] = ()


@dataclass
class Step:
    """The captions after one more token: text and strip by (row, language); rows are those of ROWS."""

    texts: dict[tuple[str, str], str]
    finished: bool = False
    sizes: dict[str, float] = field(default_factory=dict)  # row -> mean |change| / |residual| at the edited positions
    capped: dict[str, float] = field(default_factory=dict)  # row -> share of the edited positions at which the cap bit
    strips: dict[tuple[str, str], Strip] = field(default_factory=dict)
    meter: list[dict[str, Any]] = field(default_factory=list)  # measure, layer, row, lang, value
    moved: list[dict[str, Any]] = field(default_factory=list)  # layer, feature, size, before and after by language
    source: str = "live"  # or "cached": written when the run was computed
    seconds: tuple[float, float] = (0.0, 0.0)  # to the first new word, and to the last
    scaled: dict[int, float] = field(default_factory=dict)  # layer -> factor on the random control, for equal length


def matched_controls(
    features: pd.DataFrame, knobs: Sequence[Knob], seed: int, n_near: int = 20, mode: str = "add"
) -> list[Knob]:
    """For each knob a random living feature of its layer that fires about as often, pushed by the same amount.

    It is drawn from the `n_near` features nearest in log density, the knobs' own left out; `features` has layer,
    feature, alive, density and p999. What is multiplied gets the same factor. The same seed gives the same features;
    a layer without others gives none.
    """
    taken = {(knob.layer, knob.feature) for knob in knobs}
    found = []
    for knob in knobs:
        layer = features[(features["layer"] == knob.layer) & features["alive"] & (features["density"] > 0)]
        own = layer.loc[layer["feature"] == knob.feature, "density"]
        layer = layer[[(knob.layer, int(f)) not in taken for f in layer["feature"]]]
        if own.empty or layer.empty:
            continue
        distance = np.abs(np.log(layer["density"].to_numpy(float)) - np.log(float(own.iloc[0])))
        near = layer.iloc[np.argsort(distance, kind="stable")[:n_near]]
        row = near.iloc[random.Random(f"{seed}:{knob.layer}:{knob.feature}").randrange(len(near))]
        taken.add((knob.layer, int(row["feature"])))
        p999 = float(row["p999"])
        push = knob.push / p999 if p999 else 0.0
        found.append(Knob(knob.layer, int(row["feature"]), knob.strength if mode == "scale" else push, p999))
    return found
