"""Which features fire on the same images, beyond chance and beyond gender; and which do more together than apart.

Co-activation: with n images, n_i and n_j on which features i and j fire and n_ij on which both do,
PMI = log2(n n_ij / (n_i n_j)) (Church and Hanks 1990). Dealt out anew over the images, n_ij is hypergeometric, so the
null of the shuffle is known without drawing it. Interaction: the effect of ablating both less the sum of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csc_array, csr_array
from scipy.stats import hypergeom

from core.errors import UserError
from core.intervals import mean_interval, mean_p, q_values, ratio_interval

Pair = tuple[int, int]
ROUNDING = 1e-9  # relative; effects that differ by less from their sum add up


@dataclass(frozen=True)
class CoActivation:
    """Of pairs (n_pairs, 2) of features, columns (n_pairs,): counts, PMI in bits, conditional firing, nulls."""

    pairs: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]


class InteractionPatternAnalyzer:
    """Pairs of one layer's features, from the codes of n images in one language.

    ``codes`` (n_images, d_sae), sparse or dense: an entry other than 0 is an activation; ``groups`` (n_images,) are
    what must not count as a pattern of the features, such as the image's gender: the second null deals firings out anew
    within each group. Without them all images are one group. UserError where the numbers of images differ.
    """

    def __init__(self, codes: csc_array | csr_array | NDArray, groups: ArrayLike | None = None, min_images: int = 10):
        if np.ndim(codes) != 2:
            what, why = f"Codes of {np.ndim(codes)} axes have no pairs.", "They must be (n_images, d_sae)."
            raise UserError(what, why, "Encode one residual an image: encode(sae, residuals).")
        groups = np.zeros(codes.shape[0], int) if groups is None else groups
        if len(np.asarray(groups)) != codes.shape[0]:
            what = f"There are codes of {codes.shape[0]} images and groups of {len(np.asarray(groups))}."
            raise UserError(what, "Row i of the codes is image i.", "Give one group for each row, or none at all.")
        self.fires = csc_array(codes, copy=True)
        self.fires.eliminate_zeros()
        self.fires.data = np.ones_like(self.fires.data, dtype=np.float64)
        self.groups = np.asarray(groups)
        self.min_images = min_images
        self.n = len(self.groups)
        self.n_fires = np.asarray(self.fires.sum(0)).ravel().astype(np.int64)

    def pairs_among(self, features: Sequence[int]) -> NDArray[np.int64]:
        """All pairs (n_pairs, 2) of these features that fire on ``min_images`` images each, and are off on as many.

        UserError for a feature that there is not.
        """
        if beyond := [f for f in features if not 0 <= f < len(self.n_fires)]:
            what, why = f"There is no feature {beyond[0]}.", f"The codes have {len(self.n_fires)}, counted from 0."
            raise UserError(what, why, "Name features of the SAE that the codes were made with.")
        n = self.n_fires[list(features)]
        usable = sorted(
            {int(f) for f, k in zip(features, n, strict=True) if self.min_images <= k <= self.n - self.min_images}
        )
        found = [(a, b) for i, a in enumerate(usable) for b in usable[i + 1 :]]
        return np.array(found, np.int64).reshape(len(found), 2)

    def co_activation(self, pairs: NDArray[np.int64]) -> CoActivation:
        """n_a, n_b, n_both, pmi with the central 95 % of its shuffled null (pmi_low, pmi_high), p and q (two-sided),
        b_given_a and a_given_b; and pmi_within: log2 of n_both over its expectation when dealt out anew within groups,
        with p_within (one draw of each group's hypergeometric law after another)."""
        a, b = pairs[:, 0], pairs[:, 1]
        n_a, n_b = self.n_fires[a], self.n_fires[b]
        together = self._together(pairs, slice(None))
        with np.errstate(divide="ignore", invalid="ignore"):
            pmi = np.log2(self.n * together / (n_a * n_b))
            law = hypergeom(self.n, n_a, n_b)
            ends = [np.log2(self.n * law.ppf(q) / (n_a * n_b)) for q in (0.025, 0.975)]
            expected = sum((self._group_counts(pairs, g)[1] for g in np.unique(self.groups)), np.zeros(len(pairs)))
            within = np.log2(together / expected)
        p = np.minimum(1.0, 2 * np.minimum(law.cdf(together), law.sf(together - 1)))
        columns = {
            "n_a": n_a,
            "n_b": n_b,
            "n_both": together,
            "pmi": pmi,
            "pmi_low": ends[0],
            "pmi_high": ends[1],
            "p": p,
            "q": q_values(p),
            "b_given_a": together / np.maximum(n_a, 1),
            "a_given_b": together / np.maximum(n_b, 1),
            "pmi_within": within,
            "p_within": self._p_within(pairs, together),
        }
        return CoActivation(pairs, columns)

    def _together(self, pairs: NDArray[np.int64], images: Any) -> NDArray[np.int64]:
        fires = csr_array(self.fires)[images].tocsc() if not isinstance(images, slice) else self.fires
        used, place = np.unique(pairs, return_inverse=True)
        some = fires[:, used]
        counts = (some.T @ some).tocsr()  # sparse: only pairs that ever meet
        place = place.reshape(pairs.shape)
        found = np.asarray(counts[place[:, 0], place[:, 1]]).ravel() if len(pairs) else np.zeros(0)
        return found.astype(np.int64)

    def _group_counts(self, pairs: NDArray[np.int64], group: Any) -> tuple[NDArray, NDArray, int]:
        here = self.groups == group
        n = int(here.sum())
        fires = np.asarray(csr_array(self.fires)[here].sum(0)).ravel().astype(np.int64)
        ab = fires[pairs]
        return ab, ab[:, 0] * ab[:, 1] / max(n, 1), n

    def _p_within(self, pairs: NDArray[np.int64], together: NDArray[np.int64]) -> NDArray[np.float64]:
        """Two-sided p of n_both where firings are dealt out anew within groups: the laws of the groups, convolved."""
        groups = [self._group_counts(pairs, g) for g in np.unique(self.groups)]
        p = np.ones(len(pairs))
        for i in range(len(pairs)):
            law = np.ones(1)
            for ab, _, n in groups:
                law = np.convolve(law, hypergeom.pmf(np.arange(int(ab[i].min()) + 1), n, *ab[i]))
            k = together[i]
            p[i] = min(1.0, 2 * min(law[: k + 1].sum(), law[k:].sum()))
        return p

    def matched(self, pair: Pair, pool: Sequence[int], taken: set[int], rng: np.random.Generator) -> Pair | None:
        """Two other features of ``pool`` that fire about as often as the two of ``pair``; None where there are none."""
        found: list[int] = []
        for feature in pair:
            near = sorted(
                (f for f in pool if f not in taken and f not in found and f not in pair),
                key=lambda f: abs(self.n_fires[f] - self.n_fires[feature]),
            )[:5]
            if not near:
                return None
            found.append(int(near[rng.integers(len(near))]))
        return min(found), max(found)


def interaction(single_a: ArrayLike, single_b: ArrayLike, both: ArrayLike) -> dict[str, float]:
    """Mean effects over n images and what both do beyond the sum of each, with its interval and p (two-sided).

    Effects (n,) are changes of a score by ablation. ``size`` is the mean of |both - a - b|, and ``relative`` that size
    over the mean of |a| + |b|, with its interval: 0 where effects add up. Intervals and p are over images, NaN where
    too few of them change (core.intervals.MIN_VARIED).
    """
    a, b, ab = (np.asarray(x, float) for x in (single_a, single_b, both))
    if len(ab) < 2:
        names = ("effect_a", "effect_b", "effect_both", "interaction", "low", "high", "p_interaction", "size")
        return dict.fromkeys((*names, "relative", "relative_low", "relative_high"), float("nan"))
    beyond = np.where(np.abs(ab - a - b) > ROUNDING * (np.abs(a) + np.abs(b)), ab - a - b, 0.0)
    _, low, high = mean_interval(beyond)
    relative, *ends = ratio_interval(np.abs(beyond), np.abs(a) + np.abs(b))
    return {
        "effect_a": float(a.mean()),
        "effect_b": float(b.mean()),
        "effect_both": float(ab.mean()),
        "interaction": float(beyond.mean()),
        "low": float(low),
        "high": float(high),
        "p_interaction": float("nan") if np.isnan(low) else float(mean_p(beyond)),
        "size": float(np.abs(beyond).mean()),
        "relative": float(relative),
        "relative_low": float(max(ends[0], 0.0)),
        "relative_high": float(ends[1]),
    }
