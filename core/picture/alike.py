"""Which images of a run are most like a picture in what fires on them, beside how alike the run's own images are.

Likeness is the cosine of two images' codes: square roots of the mean activation of each feature over the image tokens,
less their mean over the run's images. The root keeps a few strong features from deciding alone, and taking off the mean
keeps features that fire on every image from making all of them alike. Two images of the run are at 0 on average.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array, hstack

from core.config import LANGUAGES
from core.features.pooled import Pooled

MOST_IMAGES = 4_000  # images of a run that a picture is compared with
N_USUAL = 250  # of them whose own nearest are looked for
VIEW = "image"


@dataclass(frozen=True)
class Usual:
    """How alike images of a run are: two of them on average, and one of them to the nearest other.

    ``nearest`` is the median over images, ``low`` and ``high`` the 5th and 95th percentile; ``n`` images were asked.
    """

    pairs: float
    nearest: float
    low: float
    high: float
    n: int


class ImageCodes:
    """The codes of a run's images at a layer: ``sample_ids`` (n,) and ``roots`` (n, d_sae), sparse.

    Of a run with more than ``most`` images so many are drawn, always the same.
    """

    def __init__(self, sample_ids: np.ndarray, means: csr_array, sae_id: str = ""):
        self.sample_ids, self.sae_id = np.asarray(sample_ids), sae_id
        self.roots = csr_array(means).sqrt().astype(np.float32)
        self.mean = np.asarray(self.roots.sum(0), np.float64).ravel() / max(1, len(self.sample_ids))
        self._square = float(self.mean @ self.mean)
        self._along = np.asarray(self.roots @ self.mean, np.float64)
        own = np.asarray(self.roots.multiply(self.roots).sum(1), np.float64).ravel()
        self._length = np.sqrt(np.maximum(own - 2 * self._along + self._square, 0))

    @classmethod
    def of_run(cls, run_dir: str | Path, layer: int, lang: str, most: int = MOST_IMAGES, seed: int = 0) -> ImageCodes:
        """The codes of the image tokens as read with ``lang``; UserError where the run has not pooled."""
        pooled = Pooled(run_dir, layer)
        rows = np.arange(LANGUAGES.index(lang), pooled.n_captions, len(LANGUAGES))
        rows = rows[pooled.n_positions[VIEW][rows] > 0]
        if len(rows) > most:
            rows = np.sort(np.random.default_rng([seed, layer]).choice(rows, most, replace=False))
        blocks = [csr_array(pooled.codes(VIEW, first, last).tocsr()[rows]) for first, last in pooled.blocks()]
        return cls(rows // len(LANGUAGES), csr_array(hstack(blocks, format="csr")), pooled.sae_id)

    def likeness(self, means: Float[np.ndarray, " d_sae"]) -> Float[np.ndarray, " n"]:
        """Of a picture with these mean activations to each image, -1 to 1; 0 to all where nothing sets it apart."""
        root = np.sqrt(np.asarray(means, np.float64))
        length = float(np.linalg.norm(root - self.mean))
        inner = self.roots @ root - self._along - float(root @ self.mean) + self._square
        return _over(inner, self._length * length)

    def nearest(
        self, means: Float[np.ndarray, " d_sae"], n: int = 6, without: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """sample_ids and likeness of the ``n`` images that are most like it, the most alike first.

        ``without`` is an image that is not to be among them: the picture itself.
        """
        found = self.likeness(means)
        order = np.lexsort((self.sample_ids, -found))
        order = order[self.sample_ids[order] != (-1 if without is None else without)][:n]
        return self.sample_ids[order], found[order]

    def usual(self, n: int = N_USUAL, seed: int = 0) -> Usual | None:
        """How alike images of the run are, from ``n`` of them against all; None where there are not two."""
        total = len(self.sample_ids)
        if total < 2:
            return None
        asked = np.sort(np.random.default_rng(seed).choice(total, min(n, total), replace=False))
        inner = (self.roots[asked] @ self.roots.T).toarray() - self._along[asked, None] - self._along + self._square
        found = _over(inner, self._length[asked, None] * self._length)
        others = np.ones_like(found, bool)
        others[np.arange(len(asked)), asked] = False
        nearest = np.where(others, found, -np.inf).max(1)
        low, median, high = np.quantile(nearest, [0.05, 0.5, 0.95])
        return Usual(float(found[others].mean()), float(median), float(low), float(high), len(asked))


def _over(inner: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.clip(np.divide(inner, lengths, out=np.zeros_like(inner), where=lengths > 1e-9), -1, 1)
