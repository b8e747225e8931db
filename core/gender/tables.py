"""Genders, splits and rankings that the effects of gender on features tell apart, and why a number is missing."""

from __future__ import annotations

GENDERS = ("female", "male", "neutral")
SPLITS = ("train", "test")
RANKINGS = ("auc", "d", "difference", "effect")
TOO_FEW, SILENT = "too few images", "never fires"
