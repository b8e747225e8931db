"""A request to write steered captions of an image, and what comes back step by step; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from core.errors import UserError

ROWS = ("before", "after", "control", "means", "prompt")
NEUTRAL_PROMPTS = {"en": "Use gender-neutral words.", "ar": "استخدم كلمات محايدة لا تدل على الجنس."}


@dataclass(frozen=True)
class FeatureEdit:
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
class Request:
    """The edits, how they act, and which references are written beside the steered captions.

    ``mode`` is add, clamp, scale or ablate. ``control`` are matched random features, ``means`` the difference of means
    at equal length, ``prompt`` a question that asks for neutral words. ``draw`` None is greedy; a number draws every
    word by chance, always the same.
    """

    edits: tuple[FeatureEdit, ...] = ()
    control: tuple[FeatureEdit, ...] = ()
    mode: str = "add"
    means: bool = False
    prompt: bool = False
    draw: int | None = None

    @property
    def rows(self) -> list[str]:
        """The rows that are to be written beside the captions as they were."""
        wanted = {
            "after": self.edits,
            "control": self.control,
            "means": self.means and self.edits,
            "prompt": self.prompt,
        }
        return [row for row in ROWS if wanted.get(row)]


@dataclass(frozen=True)
class Strip:
    """What was written of one caption: readable pieces, and at each the probability of words for women and for men.

    ``unmarked`` is that of generic masculines; ``left_out`` bounds what none of the three holds
    (``core.gender.word_mass``).
    """

    pieces: tuple[str, ...]
    female: tuple[float, ...]
    male: tuple[float, ...]
    unmarked: tuple[float, ...]
    left_out: tuple[float, ...]
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


def feature_edits(features: pd.DataFrame, strengths: Mapping[tuple[int, int], float]) -> tuple[FeatureEdit, ...]:
    """Edits of the features (layer, feature) by so many times their 99.9th percentile.

    ``features`` has columns layer, feature, alive and p999. Raises UserError for a feature that is not there or dead.
    """
    layers = {layer for layer, _ in strengths}
    there = features.loc[features["layer"].isin(list(layers)) & features["alive"] & (features["p999"] > 0)]
    names = zip(there["layer"].tolist(), there["feature"].tolist(), strict=True)
    known = dict(zip(names, there["p999"].tolist(), strict=True))
    if missing := [f"{layer}:{feature}" for layer, feature in strengths if (layer, feature) not in known]:
        raise UserError(
            f"There is no living feature {', '.join(missing)}.",
            "A feature is named by its layer and its number, and can be edited if it fires on some token of the run.",
            "Choose features whose row in features.parquet says alive.",
        )
    return tuple(FeatureEdit(*at, float(strength), known[at]) for at, strength in strengths.items())
