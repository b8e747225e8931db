"""Columns of the tables gender_features, gender_rankings and gender_pairs, and how a block of effects becomes rows."""

from __future__ import annotations

import pyarrow as pa

GENDERS = ("female", "male", "neutral")
SPLITS = ("train", "test")
RANKINGS = ("auc", "d", "difference", "effect")
TOO_FEW, SILENT = "too few images", "never fires"

_PARTS = ("train", "test", "low_test", "high_test")
_KEY = (("layer", pa.int32()), ("feature", pa.int32()), ("sae_id", pa.string()))
_SCORES = ("auc", "d", "difference")

FEATURES_SCHEMA = pa.schema(
    [
        *_KEY,
        ("lang", pa.string()),
        ("view", pa.string()),
        *((f"n_{gender}_{split}", pa.int32()) for split in SPLITS for gender in GENDERS),
        *((f"rate_{gender}_{split}", pa.float32()) for split in SPLITS for gender in GENDERS),
        *((f"mean_{gender}_{split}", pa.float32()) for split in SPLITS for gender in GENDERS),
        *((f"{score}_{part}", pa.float32()) for score in _SCORES for part in _PARTS),
        *((p, pa.float64()) for p in ("p_train", "q_train", "p_test")),
        *((f"effect_{part}", pa.float32()) for part in _PARTS),
        ("n_effect_train", pa.int32()),
        ("n_effect_test", pa.int32()),
        *((f"rank_{ranking}", pa.int32()) for ranking in RANKINGS),
        ("finding", pa.bool_()),
        ("direction", pa.string()),
        ("why", pa.string()),
    ]
)

RANKINGS_SCHEMA = pa.schema(
    [
        ("layer", pa.int32()),
        ("sae_id", pa.string()),
        ("lang", pa.string()),
        ("view", pa.string()),
        ("ranking_a", pa.string()),
        ("ranking_b", pa.string()),
        ("n_features", pa.int32()),
        ("spearman", pa.float64()),
        ("spearman_shuffled_low", pa.float64()),
        ("spearman_shuffled_high", pa.float64()),
        ("k", pa.int32()),
        ("overlap", pa.int32()),
        ("overlap_chance", pa.float64()),
        ("overlap_chance_low", pa.int32()),
        ("overlap_chance_high", pa.int32()),
        ("why", pa.string()),
    ]
)

PAIRS_SCHEMA = pa.schema(
    [
        *_KEY,
        ("n_pairs", pa.int32()),
        ("sample_female", pa.list_(pa.int32())),
        ("sample_male", pa.list_(pa.int32())),
        ("activation_female", pa.list_(pa.float32())),
        ("activation_male", pa.list_(pa.float32())),
        ("n_top", pa.int32()),
        ("n_top_female", pa.int32()),
        ("n_female", pa.int32()),
        ("n_male", pa.int32()),
        *((f"lift_{gender}{part}", pa.float32()) for gender in ("female", "male") for part in ("", "_low", "_high")),
        ("why", pa.string()),
    ]
)
