"""Which effects are findings, and all that stage gender says of one layer, block by block of features.

A finding is chosen on training images over all that was tested, and found again on held-out images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csc_array

from core.config import GenderConfig
from core.features.labels import Candidates, label_rows, label_table
from core.features.pooled import Pooled
from core.gender.effects import (
    BOTH,
    Cell,
    Images,
    auc_and_p,
    auc_interval,
    cell_scores,
    cells,
    enough,
    image_codes,
    images_of,
    select_rows,
    sparse_ranks,
)
from core.gender.pairs import VIEWS, pair_rows, strongest
from core.gender.rankings import agreement, ranks
from core.intervals import q_values
from core.run.schema.gender import GENDER_FEATURES, GENDER_PAIRS, GENDER_RANKINGS

MAX_ENTRIES = 4_000_000  # of the codes of one block and view
CAPTION_VIEWS = ("before", "caption")
UNTESTED = ("q_train", "finding")  # wait until all layers are there
Effects = Mapping[str, Mapping[str, np.ndarray]]
"""By language, the columns effect_* and n_effect_* (d_sae,) of the layer; {} where none were taken."""


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
    views: Sequence[str] = CAPTION_VIEWS,
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
    views: Sequence[str] = CAPTION_VIEWS,
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


@dataclass(frozen=True)
class World:
    """What is known of the images: gender and split by sample, what features may be called, settings and seed."""

    gender: np.ndarray
    is_train: np.ndarray
    candidates: Sequence[Candidates]
    config: GenderConfig
    seed: int


class LayerTables(NamedTuple):
    """The rows of one layer; ``features`` lacks q_train and finding (null) until ``finish``."""

    features: pa.Table
    rankings: pa.Table
    pairs: pa.Table
    labels: pa.Table


class _Block(NamedTuple):
    feature: np.ndarray  # numbers of the live features
    scores: dict[Cell, tuple[dict[str, np.ndarray], np.ndarray]]
    pairs: list[dict[str, Any]]
    labels: list[list[dict[str, Any]]]  # by feature, then language


def describe_layer(
    pooled: Pooled, world: World, effects: Effects, progress: Callable[[int, int], None] = lambda *_: None
) -> LayerTables:
    """Everything about one layer's live features; memory is bounded by a block of features, not by the layer."""
    views = tuple(view for view in VIEWS if view in pooled.views)
    groups = {
        c: images_of(pooled.n_positions[c.view], c.lang, world.gender, world.is_train)
        for c in cells(views, pooled.languages)
    }
    blocks = []
    for first, last in pooled.blocks(MAX_ENTRIES, max_features=2048):
        codes = {view: pooled.codes(view, first, last) for view in views}
        alive = np.flatnonzero(np.sum([np.diff(x.indptr) for x in codes.values()], axis=0))
        if len(alive):
            blocks.append(_block(pooled.layer, first, alive, codes, groups, world))
        progress(last, pooled.d_sae)
    return _tables(pooled, groups, blocks, effects)


def _block(
    layer: int,
    first: int,
    alive: np.ndarray,
    codes: Mapping[str, csc_array],
    groups: Mapping[Cell, Images],
    world: World,
) -> _Block:
    codes = {view: csc_array(x[:, alive]) if len(alive) < x.shape[1] else x for view, x in codes.items()}
    scores = {}
    for number, (cell, images) in enumerate(groups.items()):
        x = image_codes(codes[cell.view], images)
        scores[cell] = cell_scores(x, images, world.config, [world.seed, layer, number])
    pairs = pair_rows(strongest(codes, world.gender, world.is_train), world.config)
    named = [label_rows(codes, there, world.config.label_auc) for there in world.candidates]
    labels = [[of_lang[i] for of_lang in named] for i in range(len(alive))]
    return _Block(first + alive, scores, pairs, labels)


def _tables(pooled: Pooled, groups: Mapping[Cell, Images], blocks: Sequence[_Block], effects: Effects) -> LayerTables:
    if not blocks:
        return LayerTables(
            *(t.arrow.empty_table() for t in (GENDER_FEATURES, GENDER_RANKINGS, GENDER_PAIRS)),
            label_table(pooled.layer, pooled.sae_id, [], []),
        )
    feature = np.concatenate([block.feature for block in blocks])
    cell_columns, rankings = [], []
    for cell in groups:
        names = blocks[0].scores[cell][0]
        columns = {name: np.concatenate([block.scores[cell][0][name] for block in blocks]) for name in names}
        columns |= _effects_of(cell, effects, feature)
        columns |= ranks(columns)
        shuffled = np.concatenate([block.scores[cell][1] for block in blocks], axis=-1)
        key = {"layer": pooled.layer, "sae_id": pooled.sae_id, "lang": cell.lang, "view": cell.view}
        rankings += [{**key, **row} for row in agreement(columns, shuffled)]
        side = np.nan_to_num(columns["auc_train"], nan=0.5) - 0.5
        columns["direction"] = np.where(side > 0, "female", np.where(side < 0, "male", ""))
        cell_columns.append(
            {**columns, "lang": np.full(len(feature), cell.lang), "view": np.full(len(feature), cell.view)}
        )
    together = {name: np.stack([c[name] for c in cell_columns], 1).ravel() for name in cell_columns[0]}
    together |= {"feature": np.repeat(feature, len(groups)), "layer": np.full(len(feature) * len(groups), pooled.layer)}
    key = {"layer": pooled.layer, "sae_id": pooled.sae_id}
    pairs = [
        {**key, "feature": f, **row}
        for f, row in zip(feature.tolist(), (row for block in blocks for row in block.pairs), strict=True)
    ]
    labels = (rows for block in blocks for rows in block.labels)
    return LayerTables(
        _features_table(together, pooled.sae_id),
        GENDER_RANKINGS.of_rows(rankings),
        GENDER_PAIRS.of_rows(pairs),
        label_table(pooled.layer, pooled.sae_id, feature.tolist(), labels),
    )


def _effects_of(cell: Cell, effects: Effects, feature: np.ndarray) -> dict[str, np.ndarray]:
    if cell.lang != BOTH and cell.lang in effects:
        return {name: values[feature] for name, values in effects[cell.lang].items()}
    names = [f"effect_{part}" for part in ("train", "test", "low_test", "high_test")]
    counts = {f"n_effect_{split}": np.zeros(len(feature), np.int32) for split in ("train", "test")}
    return {**{name: np.full(len(feature), np.nan) for name in names}, **counts}


def _features_table(columns: Mapping[str, np.ndarray], sae_id: str) -> pa.Table:
    n, arrays = len(columns["feature"]), []
    for field in GENDER_FEATURES.arrow:
        if field.name in UNTESTED:
            arrays.append(pa.nulls(n, field.type))
        elif field.name == "sae_id":
            arrays.append(pa.array([sae_id] * n, field.type))
        else:
            arrays.append(_array(columns[field.name], field.type))
    return pa.table(arrays, schema=GENDER_FEATURES.arrow)


def _array(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Null for NaN."""
    if not np.issubdtype(values.dtype, np.floating):
        return pa.array(values.tolist() if values.dtype.kind == "U" else values, kind)
    missing = np.isnan(values)
    if pa.types.is_integer(kind):
        values = np.where(missing, 0, values).astype(np.int64)
    return pa.array(values, kind, mask=missing, safe=False)


def finish(layers: Sequence[pa.Table], fdr: float) -> list[pa.Table]:
    """Fill q_train and finding: Benjamini and Hochberg over all features, layers and languages of a view together."""
    names = ("p_train", "auc_train", "auc_test", "auc_low_test", "auc_high_test")
    columns = {name: np.concatenate([_numbers(table, name) for table in layers]) for name in names}
    view = np.concatenate([table["view"].to_numpy(zero_copy_only=False) for table in layers])
    q = np.full(len(view), np.nan)
    for name in sorted(set(view.tolist())):
        q[view == name] = q_values(columns["p_train"][view == name])
    finding = is_finding({**columns, "q_train": q}, fdr)
    finished, first = [], 0
    for table in layers:
        last = first + len(table)
        for name, values in (
            ("q_train", _array(q[first:last], pa.float64())),
            ("finding", pa.array(finding[first:last])),
        ):
            table = table.set_column(table.schema.get_field_index(name), name, values)
        finished.append(table.cast(GENDER_FEATURES.arrow))
        first = last
    return finished


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy(zero_copy_only=False).astype(float)
