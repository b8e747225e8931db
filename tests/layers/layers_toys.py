"""Residuals in which gender is planted where a test says, and rows of the tables that speak of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.config import LayersConfig

QUICK = LayersConfig(n_folds=4, n_bootstrap=100, n_controls=2, min_per_type=2)


def images(n: int = 120, n_types: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Which images show a woman (half of them), and their types."""
    rng = np.random.default_rng(seed)
    return rng.permutation(n) % 2 == 0, rng.integers(n_types, size=n)


def residuals(female: np.ndarray, strength: float, d_model: int = 24, seed: int = 0) -> np.ndarray:
    """Noise (n, d_model) float32 with gender ``strength`` standard deviations apart along one direction."""
    rng = np.random.default_rng([seed, d_model])
    x = rng.standard_normal((len(female), d_model))
    x[:, 0] += strength * (female - 0.5)
    turn, _ = np.linalg.qr(rng.standard_normal((d_model, d_model)))
    return (x @ turn).astype(np.float32)


def auc_row(rows: list[dict[str, Any]], lang: str = "en", trained_on: str = "", measure: str = "auc") -> dict[str, Any]:
    """The one row of a measure."""
    (row,) = [r for r in rows if (r["lang"], r["trained_on"], r["measure"]) == (lang, trained_on or lang, measure)]
    return row
