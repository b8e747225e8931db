"""Columns of the tables gender_features, gender_rankings and gender_pairs, and how a block of effects becomes rows."""

from __future__ import annotations

GENDERS = ("female", "male", "neutral")
SPLITS = ("train", "test")
RANKINGS = ("auc", "d", "difference", "effect")
TOO_FEW, SILENT = "too few images", "never fires"
