"""Ready-made sets of features: those of a layer that tell images of women, or of men, most clearly."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

SET_SIZE = 3


def gender_sets(features: pd.DataFrame, n: int = SET_SIZE) -> dict[str, list[int]]:
    """Of "female" and of "male" the ``n`` features that fire more for it, clearest first; [] where there are none.

    ``features`` are one layer's rows of gender_features in one view, both languages. A feature counts that is a finding
    in one language at least and leans to the other gender in none; the order is that of the mean AUC over the languages
    on the training images, so that held-out images have no say in the choice.
    """
    found: dict[str, list[int]] = {}
    for gender, sign in (("female", 1), ("male", -1)):
        rows = features.assign(lean=sign * (features["auc_train"].astype(float) - 0.5).fillna(0.0))
        mine = rows.groupby("feature").agg(lean=("lean", "mean"), least=("lean", "min"), sure=("finding", "any"))
        mine = mine[mine["sure"] & (mine["least"] >= 0) & (mine["lean"] > 0)].reset_index()
        ranked = mine.sort_values(["lean", "feature"], ascending=[False, True], kind="stable")
        found[gender] = [int(f) for f in ranked["feature"].head(n)]
    return found


def edits_key(edits: Iterable[tuple[int, int, float]]) -> str:
    """How a setting of the laboratory is named: "layer:feature:strength" of every edit, in order of layer and feature.

    Strengths are in units of the feature's 99.9th percentile; "" is no edit.
    """
    return ",".join(f"{layer}:{feature}:{strength:g}" for layer, feature, strength in sorted(edits))
