"""Made-up pooled codes of a few images, in the format of stage pool."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from scipy.sparse import csc_array

from core.features.pooled import FOLDER, Pooled


def genders(n_images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Half women, half men, a third of them test images."""
    rng = np.random.default_rng(seed)
    return np.where(rng.permutation(n_images) % 2, "female", "male").astype("<U8"), rng.permutation(n_images) % 3 > 0


def noise(n_captions: int, n_features: int, seed: int = 0) -> np.ndarray:
    """Activations that have nothing to do with anything: most features sparse, some dense, one dead."""
    rng = np.random.default_rng(seed)
    x = np.abs(rng.normal(1, 0.5, (n_captions, n_features))) * (
        rng.random((n_captions, n_features)) < rng.uniform(0.05, 1, n_features)
    )
    x[:, -1] = 0
    return x.astype(np.float32)


def write_pooled(run_dir: Path, layer: int, codes: Mapping[str, Any], **resid: np.ndarray) -> Pooled:
    """A layer's file from codes (n_captions, d_sae), dense or sparse, and residuals by view; zeros without."""
    tensors = {}
    for view, given in codes.items():
        x = csc_array(given)
        x.sort_indices()
        n = x.shape[0]
        tensors |= {f"n.{view}": np.ones(n, np.int32), f"resid.{view}": resid.get(view, np.zeros((n, 2), np.float32))}
        tensors |= {f"indptr.{view}": x.indptr.astype(np.int64), f"indices.{view}": x.indices.astype(np.int32)}
        tensors |= {f"data.{view}": x.data.astype(np.float32)}
    (run_dir / FOLDER).mkdir(parents=True, exist_ok=True)
    save_file(tensors, run_dir / FOLDER / f"layer_{layer:02d}.safetensors", metadata={"sae_id": f"sae{layer}"})
    return Pooled(run_dir, layer)
