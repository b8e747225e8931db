"""The tables of the stage crosslingual: their columns, and how columns and rows become them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from core.crosslingual.measures import MEASURE_FIELDS

_KINDS = {"i": pa.int32(), "f": pa.float64(), "s": pa.string(), "b": pa.bool_()}


def _schema(text: str) -> pa.Schema:
    """A schema from "name:kind name name:kind ..."; a name without a kind has that of the name before it."""
    kind, fields = "s", []
    for word in text.split():
        name, _, given = word.partition(":")
        kind = given or kind
        fields.append((name, _KINDS[kind]))
    return pa.schema(fields)


_FEATURE = "layer:i feature sae_id:s"
_MEASURE = f"{' '.join(f'{name}:f' for name in MEASURE_FIELDS)} n:i unit:s why"
SCHEMAS: dict[str, pa.Schema] = {
    "language_features": _schema(
        f"{_FEATURE} n_images:i n_en n_ar rate_en:f rate_ar mean_en mean_ar language_index low high null_low null_high "
        "pair_correlation p_language q_language p_pairs q_pairs language_class:s"
    ),
    "language_classes": _schema("layer:i language_class:s n:i n_tested chance:f"),
    "alignment": _schema(f"layer:i view:s measure lang other matched_by method {_MEASURE}"),
    "language_saes": _schema("layer:i lang:s seed:i language_sae_id:s d_sae:i k n_train_tokens explained_variance:f"),
    "language_matches": _schema(
        "layer:i matched_by:s sae_en sae_ar feature_en:i feature_ar similarity:f correlation cosine mutual:b"
    ),
    "gender_directions": _schema(f"layer:i view:s measure lang other {_MEASURE}"),
    "clbas": _schema("layer:i view:s dictionary score case value:f low high n_features:i n_female n_male why:s"),
    "shared_gender": _schema(
        f"{_FEATURE} view train_effect_en:f effect_en low_en high_en p_en q_en train_effect_ar effect_ar low_ar "
        "high_ar p_ar q_ar difference_low difference_high n_female:i n_male sharing:s"
    ),
    "grammatical_gender": _schema(
        f"{_FEATURE} n_en:i n_ar n_words_female n_words_male auc_word_ar:f auc_word_en p_word_ar q_word_ar "
        "p_word_difference q_word_difference auc_person p_person q_person follows:s"
    ),
}


def table_of_columns(name: str, columns: dict[str, NDArray]) -> pa.Table:
    """A table from arrays, those that the schema does not know left out; NaN becomes null. Without arrays, empty."""
    schema = SCHEMAS[name]
    if not columns:
        return schema.empty_table()
    arrays = [pa.array(np.asarray(columns[f.name]).tolist(), f.type, from_pandas=True) for f in schema]
    return pa.table(arrays, schema=schema)


def table_of_rows(name: str, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """A table from rows; names that a row lacks are empty text or null."""
    schema = SCHEMAS[name]
    full = [{f.name: row.get(f.name, "" if f.type == pa.string() else None) for f in schema} for row in rows]
    return pa.Table.from_pylist(full, schema=schema)
