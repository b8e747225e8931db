"""How well a probe tells gender at a layer of the run's model, beside the same model with weights drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.nulls.findings import TOO_FEW, Asked, whole_residual
from core.nulls.scores import difference, mean_auc


def layer_rows(
    own: NDArray, random: NDArray, n_positions: NDArray, languages: Sequence[str], asked: Asked
) -> list[dict[str, Any]]:
    """Rows of null_layers of one view, without layer and view; residuals (n_captions, d_model), NaN where none."""
    rows = []
    for lang in languages:
        told, null = (whole_residual(resid, n_positions, lang, asked) for resid in (own, random))
        row: dict[str, Any] = {"lang": lang, "why": TOO_FEW}
        if told is not None and null is not None:
            female = told.female
            row |= {"n_female_test": int(female.sum()), "n_male_test": int((~female).sum()), "why": ""}
            for name, of in (
                ("auc", mean_auc(told)),
                ("random_auc", mean_auc(null)),
                ("difference", difference(told, null)),
            ):
                row |= {name: of.value, f"{name}_low": of.low, f"{name}_high": of.high}
        rows.append({k: None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()})
    return rows
