"""The tables of stage mechanisms: their columns, and rows turned into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

I16, I32, F64, TEXT = pa.int16(), pa.int32(), pa.float64(), pa.string()


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


def _reals(*names: str) -> dict[str, pa.DataType]:
    return dict.fromkeys(names, F64)


HEADS_SCHEMA = _schema(
    lang=TEXT,
    layer=I32,
    part=TEXT,
    head=I32,
    **_reals(
        "effect",
        "low",
        "high",
        "effect_train",
        "mean_female",
        "mean_male",
        "shuffled_low",
        "shuffled_high",
        "random_low",
        "random_high",
        "p",
        "q",
    ),
    finding=pa.bool_(),
    **_reals("image_share", "image_low", "image_high", "image_even"),
    n_female=I32,
    n_male=I32,
    n_female_train=I32,
    n_male_train=I32,
    readout_r=F64,
    why=TEXT,
)
MAPS_SCHEMA = _schema(
    lang=TEXT, layer=I32, head=I32, sample_id=I32, gender=TEXT, word=TEXT, patch_map=pa.list_(pa.float32())
)
SPECTRA_SCHEMA = _schema(
    layer=I32,
    head=I32,
    matrix=TEXT,
    rank=I32,
    **_reals("entropy", "effective_rank", "participation", "norm", "trace", "copying"),
    singular_values=pa.list_(F64),
    **_reals("random_effective_rank", "random_participation"),
)
READINGS_SCHEMA = _schema(
    lang=TEXT,
    head_layer=I32,
    head=I32,
    view=TEXT,
    in_layer=I32,
    out_layer=I32,
    sae_id=TEXT,
    **_reals(
        *(
            f"{name}{end}"
            for name in ("cosine", "word_cosine")
            for end in ("", "_low", "_high", "_shuffled_low", "_shuffled_high", "_random_low", "_random_high")
        )
    ),
    **_reals("gain", "random_gain"),
    features=pa.list_(I32),
    feature_cosines=pa.list_(F64),
    shuffled_cosine=F64,
    n_female=I32,
    n_male=I32,
)
PAIRS_SCHEMA = _schema(
    lang=TEXT,
    layer=I32,
    sae_id=TEXT,
    feature_a=I32,
    feature_b=I32,
    kind=TEXT,
    n_images=I32,
    n_a=I32,
    n_b=I32,
    n_both=I32,
    **_reals(
        "pmi",
        "pmi_low",
        "pmi_high",
        "p",
        "q",
        "b_given_a",
        "a_given_b",
        "pmi_within",
        "p_within",
        "q_within",
        "predicted_a",
        "predicted_b",
    ),
    n_ablated=I32,
    **_reals("effect_a", "effect_b", "effect_both", "interaction", "low", "high", "size", "relative"),
)
PATCHED_SCHEMA = _schema(
    lang=TEXT,
    layer=I32,
    feature=I32,
    sae_id=TEXT,
    chosen=TEXT,
    n_images=I32,
    n_fires=I32,
    **_reals("true", "low", "high", "gradient", "integrated", "direct", "gradient_train"),
)
CHECKS_SCHEMA = _schema(
    lang=TEXT,
    layer=I32,
    method=TEXT,
    chosen=TEXT,
    **_reals("r", "low", "high", "spearman", "slope", "control_low", "control_high"),
    n=I32,
    n_images=I32,
    why=TEXT,
)
SCHEMAS = {
    "head_effects": HEADS_SCHEMA,
    "head_attention": MAPS_SCHEMA,
    "weight_spectra": SPECTRA_SCHEMA,
    "head_readings": READINGS_SCHEMA,
    "feature_pairs": PAIRS_SCHEMA,
    "patching": PATCHED_SCHEMA,
    "patching_checks": CHECKS_SCHEMA,
}


def table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table; a number that is not known is null. Raises ValueError for a column that no schema has."""
    unknown = {name for row in rows for name in row} - set(schema.names)
    if unknown:
        raise ValueError(f"no column {', '.join(sorted(unknown))}")
    plain = [{n: _plain(row.get(n)) for n in schema.names} for row in rows]
    return pa.Table.from_pylist(plain, schema=schema)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value
