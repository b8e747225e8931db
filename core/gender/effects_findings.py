"""Which effects are findings: chosen on training images over all that was tested, found again on held-out images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.config import GenderConfig
from core.features.pooled import Pooled
from core.gender.effects import cells, enough, image_codes, images_of
from core.gender.effects_ranks import auc_and_p, auc_interval, select_rows, sparse_ranks
from core.intervals import q_values

MAX_ENTRIES = 4_000_000  # of the codes of one block and view
VIEWS = ("before", "caption")


def is_finding(columns: Mapping[str, np.ndarray], fdr: float) -> NDArray[np.bool_]:
    """Where q_train is within ``fdr``, and held out the AUC lies on the same side of 0.5 and its interval excludes it.

    Reads q_train, auc_train, auc_test, auc_low_test and auc_high_test, of one shape; NaN is no finding.
    """
    side = np.sign(columns["auc_train"] - 0.5)
    clear = np.where(side > 0, columns["auc_low_test"] > 0.5, columns["auc_high_test"] < 0.5)
    return (columns["q_train"] <= fdr) & (side != 0) & clear


def findings(
    pooled: Mapping[int, Pooled],
    gender: Sequence[str] | np.ndarray,
    is_train: Sequence[bool] | np.ndarray,
    config: GenderConfig,
    views: Sequence[str] = VIEWS,
) -> list[dict[str, Any]]:
    """The findings of every view, layer and language: one dict a cell with any, layer, view, lang and arrays.

    ``gender`` ("female", "male", others are left out) and ``is_train`` are by sample, (n_samples,) each; the same as
    the column ``finding`` of gender_features, and nothing else of it, so that it can be asked again with shuffled
    labels. Arrays: feature, auc_train, q_train, auc_test, auc_low_test, auc_high_test.
    """
    gender, is_train = np.asarray(gender, str), np.asarray(is_train, bool)
    found = []
    for view in sorted(views):
        tested = [_tested(layer, pooled[layer], view, gender, is_train, config) for layer in sorted(pooled)]
        tests = [test for of_layer in tested for test in of_layer]
        if not tests:
            continue
        q = q_values(np.concatenate([test["p_train"] for test in tests]))
        borders = np.cumsum([len(test["p_train"]) for test in tests])[:-1]
        for test, q_train in zip(tests, np.split(q, borders), strict=True):
            chosen = np.flatnonzero(q_train <= config.fdr)
            if len(chosen):
                held_out = _held_out(pooled[test["layer"]], test, chosen, gender, is_train, config.min_images)
                held_out |= {"auc_train": test["auc_train"][chosen], "q_train": q_train[chosen]}
                kept = is_finding(held_out, config.fdr)
                if kept.any():
                    names = {name: test[name] for name in ("layer", "view", "lang")}
                    found.append({**names, "feature": chosen[kept], **{k: v[kept] for k, v in held_out.items()}})
    return found


def count_findings(
    pooled_by_layer: Mapping[int, Pooled],
    gender_labels: Sequence[str] | np.ndarray,
    is_train: Sequence[bool] | np.ndarray,
    config: GenderConfig,
    views: Sequence[str] = VIEWS,
) -> int:
    """How many findings there are in all (see ``findings``); with shuffled labels there should be none.

    Shuffle with ``shuffled_labels``: labels stay with images, both languages together, within train and test.
    """
    return sum(len(cell["feature"]) for cell in findings(pooled_by_layer, gender_labels, is_train, config, views))


def shuffled_labels(gender: Sequence[str] | np.ndarray, is_train: Sequence[bool] | np.ndarray, seed: int) -> np.ndarray:
    """``gender`` (n_samples,) with women and men exchanged at random among each other, within train and within test."""
    labels, is_train = np.asarray(gender, str).copy(), np.asarray(is_train, bool)
    rng = np.random.default_rng(seed)
    for split in (True, False):
        rows = np.flatnonzero(np.isin(labels, ("female", "male")) & (is_train == split))
        labels[rows] = labels[rng.permutation(rows)]
    return labels


def _tested(
    layer: int, pooled: Pooled, view: str, gender: np.ndarray, is_train: np.ndarray, config: GenderConfig
) -> list[dict[str, Any]]:
    """AUC and p on the training images, by language; NaN where too few images or never firing."""
    groups = {
        cell: images_of(pooled.n_positions[view], cell.lang, gender, is_train)
        for cell in cells((view,), pooled.languages)
    }
    found = {}
    for cell, images in groups.items():
        if enough(images, "train", config.min_images):
            found[cell] = {"auc_train": np.full(pooled.d_sae, np.nan), "p_train": np.full(pooled.d_sae, np.nan)}
    for first, last in pooled.blocks(MAX_ENTRIES) if found else ():
        codes = pooled.codes(view, first, last)
        for cell, columns in found.items():
            inside, female = groups[cell].among("train")
            x = select_rows(image_codes(codes, groups[cell]), inside)
            auc, p = auc_and_p(sparse_ranks(x), female)
            fires = np.diff(x.indptr) > 0
            columns["auc_train"][first:last] = np.where(fires, auc, np.nan)
            columns["p_train"][first:last] = np.where(fires, p, np.nan)
    return [{"layer": layer, "view": view, "lang": cell.lang, **columns} for cell, columns in found.items()]


def _held_out(
    pooled: Pooled,
    test: Mapping[str, Any],
    chosen: np.ndarray,
    gender: np.ndarray,
    is_train: np.ndarray,
    min_images: int,
) -> dict[str, np.ndarray]:
    """AUC and its interval of the chosen features on the test images; NaN where those are too few."""
    names = ("auc_test", "auc_low_test", "auc_high_test")
    images = images_of(pooled.n_positions[test["view"]], test["lang"], gender, is_train)
    inside, female = images.among("test")
    if not enough(images, "test", min_images):
        return {name: np.full(len(chosen), np.nan) for name in names}
    parts = []
    for first, last in pooled.blocks(MAX_ENTRIES):
        within = chosen[(chosen >= first) & (chosen < last)] - first
        if len(within):
            x = image_codes(pooled.codes(test["view"], first, last)[:, within], images)
            x = select_rows(x, inside)
            auc, _ = auc_and_p(sparse_ranks(x), female)
            parts.append((auc, *auc_interval(x, female, auc)))
    return dict(zip(names, (np.concatenate(column) for column in zip(*parts, strict=True)), strict=True))
