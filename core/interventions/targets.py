"""Target sets: the features that tell images of women from those of men best, by rankings made on training images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.errors import TooLittleData

VIEW = "before"  # positions before the first gendered word
RANKINGS = ("auc", "d", "difference", "effect")


@dataclass(frozen=True)
class Ranked:
    """Features of one layer and language, the one that has most to do with gender first; lean +1 women, -1 men."""

    features: tuple[int, ...]
    leans: tuple[int, ...]
    separation: float  # mean |AUC - 0.5| on training images over these features

    def head(self, k: int) -> list[tuple[int, int]]:
        """(feature, lean) of the first k; fewer where fewer are known."""
        return list(zip(self.features[:k], self.leans[:k], strict=True))


def ranked(table: pd.DataFrame, layer: int, lang: str, ranking: str, k: int, alive: np.ndarray) -> Ranked:
    """The first ``k`` live features of a ranking of gender_features.

    ``alive`` (d_sae,) bool. A feature's lean is the side on which it is more active on training images. Nothing of the
    test images is read. Raises TooLittleData where none is ranked.
    """
    mine = table[(table["layer"] == layer) & (table["lang"] == lang) & (table["view"] == VIEW)]
    mine = mine.dropna(subset=[f"rank_{ranking}", "difference_train"])
    mine = mine[alive[mine["feature"].to_numpy(int)] & (mine["difference_train"] != 0).to_numpy()]
    mine = mine.sort_values([f"rank_{ranking}", "feature"], kind="stable").head(k)
    if mine.empty:
        raise TooLittleData(
            f"No feature of layer {layer} is ranked by gender on {lang} captions.",
            "There are too few training images of women and men, or no feature fires before the first gendered word.",
            "Use more samples, or other layers (interventions.layers).",
        )
    leans = np.sign(mine["difference_train"].to_numpy(float)).astype(int)
    away = np.abs(mine["auc_train"].to_numpy(float) - 0.5)
    separation = float(np.nanmean(away)) if np.isfinite(away).any() else 0.0
    return Ranked(tuple(map(int, mine["feature"])), tuple(map(int, leans)), separation)


def separations(sets: Mapping[tuple[int, str, str], Ranked], ranking: str) -> dict[int, float]:
    """How well each layer's target sets separate women from men, the mean over languages."""
    by_layer: dict[int, list[float]] = {}
    for (layer, _, name), chosen in sets.items():
        if name == ranking:
            by_layer.setdefault(layer, []).append(chosen.separation)
    return {layer: float(np.mean(values)) for layer, values in by_layer.items()}
