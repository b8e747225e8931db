"""Which images have a caption in both languages, and the feature activations of these captions side by side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import csc_array, csr_array

from core.config import LANGUAGES
from core.features.pooled import Pooled


class PairedCodes(NamedTuple):
    """Mean activations of the same images' captions, (n_images, n_features) each, row i being the same image."""

    en: csc_array
    ar: csc_array


def paired_images(n_positions: np.ndarray) -> np.ndarray:
    """Sample ids whose English and Arabic caption both have a position; ``n_positions`` is (2 * n_samples,)."""
    both = np.asarray(n_positions).reshape(-1, 2) > 0
    return np.flatnonzero(both.all(axis=1))


def caption_row(sample_id: np.ndarray, lang: str) -> np.ndarray:
    """The rows of pooled arrays that hold these images' captions in a language."""
    return len(LANGUAGES) * np.asarray(sample_id) + LANGUAGES.index(lang)


def paired_codes(pooled: Pooled, view: str, images: np.ndarray, first: int, last: int) -> PairedCodes:
    """Codes of the features first .. last - 1 on these images."""
    codes = csr_array(pooled.codes(view, first, last))
    return PairedCodes(*(csc_array(codes[caption_row(images, lang)]) for lang in LANGUAGES))


def paired_residuals(pooled: Pooled, view: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """Mean residuals of these images' captions by language, (n_images, d_model) each."""
    resid = pooled.resid(view)
    return {lang: resid[caption_row(images, lang)] for lang in LANGUAGES}
