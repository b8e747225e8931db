"""Which features of a shared dictionary belong to one language, and which do the same in both, on the same images.

Index of a feature: L = (m_ar - m_en) / (m_ar + m_en), m being its mean activation over the captions of the same images;
-1 is English only, +1 Arabic only. Two nulls: swapping the languages within each image says whether L is chance;
shuffling which captions belong together says whether the feature answers to the same images in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array
from scipy.stats import hypergeom

from core.errors import UserError
from core.intervals import percentile_interval, q_values, skewed_interval

CLASSES = ("shared", "english", "arabic", "leaning english", "leaning arabic", "unclear", "not enough data")
SPECIFIC = 0.8  # beyond this index nine tenths of a feature's activation lie in one language
SHARED = 1 / 3  # within this index a feature is at most twice as strong in one language
SWAP_STREAM, SHUFFLE_STREAM = 1, 3
MORE_FIRINGS = 2  # a language, taken to be seen beside those that were
Columns = dict[str, NDArray]


@dataclass(frozen=True)
class LanguageFeatureProfile:
    """What one feature does in the two languages, over captions of the same ``n_images`` images.

    ``n_en`` and ``n_ar`` count images on whose captions it fires, ``rate_`` is their share and ``mean_`` its mean
    activation. ``language_index`` is -1 for English only to 1 for Arabic only, with its 95 % interval (low, high) and
    what swapped languages give (null_low, null_high); ``pair_correlation`` is that of the two languages' activations
    over images. p and q are those of "no more of one language" and of "no more on the same images than by chance";
    ``language_class`` is one of CLASSES.
    """

    feature: int
    n_images: int
    n_en: int
    n_ar: int
    rate_en: float
    rate_ar: float
    mean_en: float
    mean_ar: float
    language_index: float
    low: float
    high: float
    null_low: float
    null_high: float
    pair_correlation: float
    p_language: float
    q_language: float
    p_pairs: float
    q_pairs: float
    language_class: str


class LanguageSpecificFeatureIdentifier:
    """Measures features block by block (``measure``), then classes all of them together (``classify``)."""

    def __init__(self, n_permutations: int = 500, fdr: float = 0.05, min_images: int = 20, seed: int = 0):
        self.n_permutations, self.fdr, self.min_images, self.seed = n_permutations, fdr, min_images, seed
        self._draws: tuple[NDArray, NDArray] | None = None

    def measure(self, en: csc_array | NDArray, ar: csc_array | NDArray, first: int = 0) -> Columns:
        """Columns of the features in two (n_images, n_features) arrays of caption means, row i being one image.

        Also ``chance_english`` and ``chance_arabic``, how often the swapped data pass for specific, and
        ``p_pairs_shuffled``, the test of ``p_pairs`` where nothing is to be found. Arrays may be dense. UserError
        where their shapes differ or an activation is negative.
        """
        en, ar = _codes(en, ar)
        n = en.shape[0]
        signs, shuffled = self._random(n)
        sums = {lang: np.asarray(c.sum(axis=0), float).ravel() for lang, c in (("en", en), ("ar", ar))}
        fired = {lang: np.diff(c.indptr) for lang, c in (("en", en), ("ar", ar))}
        total = sums["en"] + sums["ar"]
        difference = csr_array((ar - en).T)
        with np.errstate(divide="ignore", invalid="ignore"):
            index = (sums["ar"] - sums["en"]) / total
            null = (difference @ signs.T) / total[:, None]
        silent = total == 0
        null[silent] = 0
        low, high = index_interval(en, ar)
        null_low, null_high = percentile_interval(null.T)
        square = np.asarray(difference.multiply(difference).sum(axis=1)).ravel()
        columns: Columns = {
            "feature": np.arange(first, first + en.shape[1]),
            "n_images": np.full(en.shape[1], n),
            "n_en": fired["en"],
            "n_ar": fired["ar"],
            "rate_en": fired["en"] / n,
            "rate_ar": fired["ar"] / n,
            "mean_en": sums["en"] / n,
            "mean_ar": sums["ar"] / n,
            "language_index": index,
            "low": low,
            "high": high,
            "null_low": null_low,
            "null_high": null_high,
            "pair_correlation": _pair_correlation(en, ar),
            "p_language": _p_swapped(index, null, total, square),
            "p_pairs": _p_pairs(en, ar),
            "p_pairs_shuffled": _p_pairs(en, csc_array(csr_array(ar)[shuffled])),
            "chance_english": (null < -SPECIFIC).mean(axis=1),
            "chance_arabic": (null > SPECIFIC).mean(axis=1),
        }
        for name in ("language_index", "low", "high", "null_low", "null_high", "p_language"):
            columns[name] = np.where(silent, np.nan, columns[name])
        return columns

    def classify(self, columns: Columns) -> Columns:
        """Adds q_language, q_pairs and language_class; q is taken over all rows given (all features and layers).

        english, arabic: q_language within the bound and the whole interval beyond +-SPECIFIC. shared: the whole
        interval within +-SHARED and q_pairs within the bound. leaning: q_language within the bound, no more.
        """
        enough = np.maximum(columns["n_en"], columns["n_ar"]) >= self.min_images
        q_language = q_values(np.where(enough, columns["p_language"], np.nan))
        q_pairs = q_values(np.where(enough, columns["p_pairs"], np.nan))
        low, high, differs = columns["low"], columns["high"], q_language <= self.fdr
        alike = (np.abs(low) <= SHARED) & (np.abs(high) <= SHARED) & (q_pairs <= self.fdr)
        choices = [
            ~enough,
            alike,
            differs & (high < -SPECIFIC),
            differs & (low > SPECIFIC),
            differs & (high < 0),
            differs & (low > 0),
        ]
        names = ["not enough data", "shared", "english", "arabic", "leaning english", "leaning arabic"]
        kind = np.select(choices, names, "unclear")
        return columns | {"q_language": q_language, "q_pairs": q_pairs, "language_class": kind}

    def count_classes(self, classified: Columns) -> list[dict[str, object]]:
        """How many features are in each class, and how many would be where nothing is to be found (``chance``).

        For the languages' own: with languages swapped within images. For shared: with pairs shuffled.
        """
        kinds, enough = classified["language_class"], classified["language_class"] != "not enough data"
        found_shuffled = q_values(np.where(enough, classified["p_pairs_shuffled"], np.nan)) <= self.fdr
        alike = (np.abs(classified["low"]) <= SHARED) & (np.abs(classified["high"]) <= SHARED)
        chance = {
            "shared": float((found_shuffled & alike).sum()),
            "english": float(np.nansum(classified["chance_english"][enough])),
            "arabic": float(np.nansum(classified["chance_arabic"][enough])),
        }
        return [
            {
                "language_class": kind,
                "n": int((kinds == kind).sum()),
                "n_tested": int(enough.sum()),
                "chance": chance.get(kind, np.nan),
            }
            for kind in CLASSES
        ]

    def profiles(self, en: csc_array | NDArray, ar: csc_array | NDArray) -> list[LanguageFeatureProfile]:
        """Measure and class all features of one pair of arrays."""
        return list(profiles_of(self.classify(self.measure(en, ar))))

    def _random(self, n: int) -> tuple[NDArray, NDArray]:
        """Signs (a language swap each) and one shuffle of the images; the same for every block."""
        if self._draws is None or self._draws[0].shape[1] != n:
            rng = np.random.default_rng([self.seed, SWAP_STREAM])
            signs = 1 - 2 * rng.integers(0, 2, (self.n_permutations, n)).astype(np.float32)
            shuffled = np.random.default_rng([self.seed, SHUFFLE_STREAM]).permutation(n)
            self._draws = signs, shuffled
        return self._draws


def index_interval(en: csc_array, ar: csc_array) -> tuple[NDArray, NDArray]:
    """95 % interval of each feature's index, from (n_images, n_features) codes: linearised ratio with images as units.

    In either language MORE_FIRINGS firings of typical size (sum of squares over sum) are added, as Agresti and Coull
    (1998) add to a share: of a feature that fired on 25 English captions and no Arabic one the next firing may be an
    Arabic one, and only then can an index of -1 have an interval. t has as many degrees of freedom as there are images
    that carry the sums (Kish's effective number).
    """
    n = en.shape[0]
    both, difference = csc_array(en + ar), csc_array(ar - en)
    total, gap = (np.asarray(x.sum(axis=0), float).ravel() for x in (both, difference))
    squares, crossed, gaps = (
        np.asarray(a.multiply(b).sum(axis=0), float).ravel()
        for a, b in ((both, both), (both, difference), (difference, difference))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        typical, carried = squares / total, total**2 / squares
        whole = total + 2 * MORE_FIRINGS * typical
        index = gap / whole
        scatter = gaps - 2 * index * crossed + index**2 * squares + 2 * MORE_FIRINGS * typical**2 * (1 + index**2)
        error = np.sqrt(np.maximum(scatter, 0) * n / max(n - 1, 1)) / whole
        low, high = skewed_interval(index, error, 0.0, np.maximum(carried, 1))
        measured = gap / total
    return np.minimum(np.maximum(low, -1), measured), np.maximum(np.minimum(high, 1), measured)


def profiles_of(classified: Columns) -> Iterator[LanguageFeatureProfile]:
    """One profile a row of what ``classify`` returned."""
    names = [f.name for f in fields(LanguageFeatureProfile)]
    for row in zip(*(classified[name].tolist() for name in names), strict=True):
        yield LanguageFeatureProfile(*row)


def _codes(en: csc_array | NDArray, ar: csc_array | NDArray) -> tuple[csc_array, csc_array]:
    """Both languages' codes, sparse; UserError where they cannot be compared."""
    if en.ndim != 2 or en.shape != ar.shape:
        what = f"Codes of shape {en.shape} in English and {ar.shape} in Arabic cannot be compared."
        why = "Row i is the same image in both, and column j the same feature of one shared SAE."
        raise UserError(what, why, "Encode captions of the same images with one SAE, one row an image.")
    made = csc_array(en), csc_array(ar)
    if any((codes.data < 0).any() for codes in made):
        why = "The index of a feature compares its mean activations, which an SAE never makes negative."
        raise UserError("There are negative activations.", why, "Give codes of an SAE: encode(sae, residuals).")
    return made


def _p_swapped(index: NDArray, null: NDArray, total: NDArray, square: NDArray) -> NDArray:
    """Two-sided p of a language swap; below what the permutations can tell, the bound of Hoeffding (1963).

    A sum of d_i with random signs exceeds t with probability at most exp(-t^2 / 2 sum d_i^2), a side.
    """
    n_draws = null.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        extreme = (np.abs(null) >= np.abs(index)[:, None] * (1 - 1e-5)).sum(axis=1)
        bound = 2 * np.exp(-np.square(index * total) / (2 * square))
    p = (1 + extreme) / (1 + n_draws)
    return np.where(bound < 1 / (1 + n_draws), bound, p)


def _p_pairs(en: csc_array, ar: csc_array) -> NDArray:
    """One-sided p that a feature is high on the same images in both languages no more than in shuffled pairs.

    High: it fires, or, where it fires on most captions, it is above its median. The number of images high in both is
    hypergeometric when pairs are shuffled (Fisher's exact test), so no shuffling is needed.
    """
    high = [_high(c) for c in (en, ar)]
    sizes = [np.diff(h.indptr) for h in high]
    overlap = np.asarray(high[0].multiply(high[1]).sum(axis=0)).ravel()
    tested = (np.minimum(*sizes) > 0) & (np.maximum(*sizes) < en.shape[0])
    p = np.ones(en.shape[1])
    p[tested] = hypergeom.sf(overlap[tested] - 1, en.shape[0], sizes[0][tested], sizes[1][tested])
    return np.clip(p, 0, 1)


def _high(codes: csc_array) -> csc_array:
    """1.0 where a caption is high on a feature, with one entry for each such caption."""
    n, counts = codes.shape[0], np.diff(codes.indptr)
    threshold = np.zeros(codes.shape[1])
    for feature in np.flatnonzero(counts > n / 2):
        values = np.sort(codes.data[codes.indptr[feature] : codes.indptr[feature + 1]])
        threshold[feature] = values[len(values) - n // 2 - 1]  # as many captions as the upper half lie above
    kept = codes.data > np.repeat(threshold, counts)
    indptr = np.concatenate([[0], np.cumsum(kept)])[codes.indptr]
    return csc_array((np.ones(int(kept.sum())), codes.indices[kept], indptr), shape=codes.shape)


def _pair_correlation(en: csc_array, ar: csc_array) -> NDArray:
    """Pearson's correlation over images of a feature's activation in the two languages; NaN where one is constant."""
    n = en.shape[0]
    mean = [np.asarray(c.sum(axis=0), float).ravel() / n for c in (en, ar)]
    variance = [
        np.asarray(c.multiply(c).sum(axis=0), float).ravel() / n - m**2 for c, m in zip((en, ar), mean, strict=True)
    ]
    covariance = np.asarray(en.multiply(ar).sum(axis=0), float).ravel() / n - mean[0] * mean[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return covariance / np.sqrt(np.maximum(variance[0], 0) * np.maximum(variance[1], 0))
