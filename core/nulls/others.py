"""Labels and alignment of a random dictionary, by the functions that the run's own are made by."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from core.crosslingual.clbas import clbas
from core.crosslingual.pairs import paired_codes, paired_images
from core.crosslingual.sharing import gendered_codes
from core.features.labels import Candidates, label_rows
from core.features.pooled import Pooled
from core.nulls.codes import CaptionCodes
from core.nulls.findings import TOO_FEW, Asked

VIEW, MAX_ENTRIES = "caption", 4_000_000
ALIGNED_VIEW = "before"
STREAM = 0xA11


def label_counts(codes: Pooled | CaptionCodes, there: Candidates, threshold: float) -> dict[str, Any]:
    """A row of null_labels: how many features get a label from whole captions, and how well labels fit."""
    n = labelled = 0
    fits: list[float] = []
    for first, last in codes.blocks(MAX_ENTRIES):
        for row in label_rows({VIEW: codes.codes(VIEW, first, last)}, there, threshold):
            if row["auc_test"] is not None:
                n, labelled = n + 1, labelled + bool(row["label"])
                fits.append(row["auc_test"])
    middle = float(np.median(fits)) if fits else None
    return {"lang": there.lang, "n_features": n, "n_labelled": labelled, "auc": middle}


def alignment_row(codes: Pooled | CaptionCodes, asked: Asked, samples: NDArray[np.int64], seed: int) -> dict[str, Any]:
    """CLBAS of a dictionary's own features over these images: a row of null_alignment."""
    known = cast(Pooled, codes)
    images = np.intersect1d(paired_images(codes.n_positions[ALIGNED_VIEW]), samples)
    gender, train = asked.gender[images], asked.is_train[images]
    row: dict[str, Any] = {"view": ALIGNED_VIEW}
    sides = [(gender == g) & (train == side) for g in ("female", "male") for side in (True, False)]
    if min(int(side.sum()) for side in sides) < asked.config.min_images:
        return row | {"why": TOO_FEW}
    blocks = ((a, paired_codes(known, ALIGNED_VIEW, images, a, b)) for a, b in codes.blocks(MAX_ENTRIES))
    found = gendered_codes(blocks, gender, train, asked.config.min_images)
    if not len(found.selected()):
        return row | {"why": "no feature fires on enough captions"}
    told = clbas(found, [seed, STREAM])
    names = ("value", "low", "high", "floor", "floor_low", "floor_high", "ceiling", "ceiling_low", "ceiling_high")
    numbers = {name: float(getattr(told, name)) for name in names}
    return (
        row
        | {"n_features": len(found.selected()), "why": ""}
        | {name: None if np.isnan(value) else value for name, value in numbers.items()}
    )
