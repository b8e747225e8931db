"""All tables about both languages, from what was found layer by layer; multiplicity is controlled over all layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from core.config import CrosslingualConfig
from core.crosslingual.grammatical import class_follows
from core.crosslingual.language import Columns, LanguageSpecificFeatureIdentifier
from core.crosslingual.shared_dictionary import joined
from core.crosslingual.sharing import class_sharing
from core.crosslingual.tables import TABLES, table_of_columns, table_of_rows

Rows = list[dict[str, Any]]
Part = tuple[Rows, Columns]
PARTS = ("languages", "residuals", "gender", "words", "overlap", "separate")


def assembled(
    parts: Iterable[tuple[int, str, str, Part]], layers: Sequence[int], config: CrosslingualConfig, instead: Rows
) -> dict[str, pa.Table]:
    """The tables of TABLES by name, from (layer, its sae_id, name of the part, the part).

    Rows name their ``table``, or are of clbas. ``instead`` are the rows of alignment where nothing could be compared.
    """
    rows: dict[str, Rows] = {name: [] for name in TABLES}
    columns: dict[str, list[Columns]] = {"languages": [], "gender": [], "words": []}
    for layer, sae_id, name, (found, part) in parts:
        for row in found:
            rows[row.get("table", "clbas")].append({"layer": layer, **row})
        if part:
            n = len(part["feature"])
            columns[name].append(part | {"layer": np.full(n, layer), "sae_id": np.full(n, sae_id, dtype=object)})
    rows["alignment"] = instead or rows["alignment"]
    classed, rows["language_classes"] = _classify(joined(columns["languages"]), layers, config)
    gender, words = joined(columns["gender"]), joined(columns["words"])
    by_column = {
        "language_features": classed,
        "shared_gender": class_sharing(gender, config.fdr) if gender else {},
        "grammatical_gender": class_follows(words, config.fdr, config.min_images) if words else {},
    }
    tables = {name: table_of_rows(name, rows[name]) for name in TABLES}
    return tables | {name: table_of_columns(name, found) for name, found in by_column.items()}


def _classify(columns: Columns, layers: Sequence[int], config: CrosslingualConfig) -> tuple[Columns, Rows]:
    """The classes of all features, and how many of each a layer has."""
    if not columns:
        return {}, []
    identifier = LanguageSpecificFeatureIdentifier(fdr=config.fdr, min_images=config.min_images)
    classed = identifier.classify(columns)
    return classed, [
        {"layer": layer, **row}
        for layer in layers
        for row in identifier.count_classes({k: v[classed["layer"] == layer] for k, v in classed.items()})
    ]
