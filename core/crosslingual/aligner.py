"""Dictionaries of features trained on one language each: are they the same features?

Two such dictionaries share no numbering. Their features are matched on the training images, by the correlation of
caption means over the same images or by the cosine of decoder rows, and scored on held-out images. What a number means
is said by its floor (the images of one side shuffled; for decoders, directions at random with the same covariance) and
by its ceiling (the same language, trained from another seed).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from core.crosslingual.matching import (
    Candidates,
    Pairs,
    candidates,
    correlation_blocks,
    cosine_blocks,
    mutual_nearest,
    optimal_assignment,
    pair_correlations,
)
from core.crosslingual.measures import measure_row
from core.errors import UserError
from core.intervals import percentile_interval, resampled_counts

MATCHED_BY = ("activation", "decoder")
METHODS = ("mutual", "assignment")
FLOOR_STREAM, BOOTSTRAP_STREAM = 21, 22
HOLDS = 0.5  # a mutual match holds when its correlation on held-out images is at least this
BLOCK_PAIRS = 2048  # scored at once


@dataclass(frozen=True)
class Dictionary:
    """One language's SAE: which it is, its features' caption means (n_images, d_sae), decoder rows (d_sae, d_model).

    UserError where these have not the same number of features.
    """

    lang: str
    seed: int
    sae_id: str
    codes: csc_array
    decoder: NDArray

    def __post_init__(self) -> None:
        if self.codes.ndim != 2 or self.decoder.ndim != 2 or self.codes.shape[1] != len(self.decoder):
            what = f"Codes {self.codes.shape} and decoder {self.decoder.shape} are not those of one dictionary."
            why = "Codes are (n_images, d_sae), the decoder is (d_sae, d_model)."
            raise UserError(what, why, "Take both from one SAE: encode(sae, residuals) and sae.W_dec.numpy().")
        object.__setattr__(self, "codes", csc_array(self.codes))


@dataclass(frozen=True)
class Match:
    """Matched features of two dictionaries, with what they are worth on held-out images.

    ``bound`` is how good the assignment is for sure (1: optimal); ``n`` is the number of live features of the smaller
    side; ``correlation`` and ``cosine`` are one a pair; ``draws`` has the mean correlation and the share of the n
    features whose match holds in each bootstrap draw over held-out images.
    """

    matched_by: str
    method: str
    pairs: Pairs
    correlation: NDArray
    cosine: NDArray
    draws: NDArray
    bound: float
    n: int


class CrossLingualFeatureAligner:
    """Matches dictionaries; ``train`` (n_images,) bool says on which images, the others score."""

    def __init__(self, train: NDArray, n_bootstrap: int = 500, seed: int = 0):
        self.train, self.seed = np.asarray(train, bool), seed
        self.counts = resampled_counts(int((~self.train).sum()), n_bootstrap, [seed, BOOTSTRAP_STREAM])

    def match(self, a: Dictionary, b: Dictionary, matched_by: str = "activation") -> dict[str, Match]:
        """Both methods' matches of two dictionaries, by "activation" or "decoder"; UserError where they do not fit."""
        if matched_by not in MATCHED_BY:
            what, why = f"Features cannot be matched by {matched_by!r}.", f"Ways are {', '.join(MATCHED_BY)}."
            raise UserError(what, why, "Choose one of these.")
        for d in (a, b):
            if d.codes.shape[0] != len(self.train):
                what = f"The codes in {d.lang!r} are of {d.codes.shape[0]} images; the split is of {len(self.train)}."
                why = "Features are matched over the same images in both languages."
                raise UserError(what, why, "Give one row an image, in one order.")
        train, test = ([csc_array(d.codes[rows]) for d in (a, b)] for rows in (self.train, ~self.train))
        live = [np.flatnonzero(np.diff(codes.indptr) > 0) for codes in train]
        n_live = [len(part) for part in live]
        if matched_by == "activation":
            blocks = correlation_blocks(*(codes[:, part] for codes, part in zip(train, live, strict=True)))
        else:
            blocks = cosine_blocks(a.decoder[live[0]], b.decoder[live[1]])
        found = candidates(blocks, *n_live) if min(n_live) else _nothing(*n_live)
        matched = {"mutual": (mutual_nearest(found), float("nan")), "assignment": optimal_assignment(found)}
        return {
            method: self._scored(a, b, test, live, pairs, bound, matched_by, method)
            for method, (pairs, bound) in matched.items()
        }

    def floor(self, b: Dictionary, matched_by: str) -> Dictionary:
        """The same dictionary with nothing to be found: images shuffled on either side of the split, or the decoder
        drawn from a Gaussian of its own covariance."""
        rng = np.random.default_rng([self.seed, FLOOR_STREAM, b.seed])
        if matched_by == "activation":
            order = np.arange(len(self.train))
            for side in (np.flatnonzero(self.train), np.flatnonzero(~self.train)):
                order[side] = rng.permutation(side)
            return replace(b, codes=csc_array(b.codes.tocsr()[order]))
        values, vectors = np.linalg.eigh((b.decoder.T @ b.decoder).astype(np.float64))
        root = vectors * np.sqrt(np.maximum(values, 0))
        return replace(b, decoder=(rng.standard_normal(b.decoder.shape) @ root.T).astype(np.float32))

    def align(self, dictionaries: Sequence[Dictionary]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Rows of alignment.parquet (without layer) and of language_matches.parquet (first seeds, both directions)."""
        english = [d for d in dictionaries if d.lang == "en"]
        arabic = [d for d in dictionaries if d.lang == "ar"]
        if not english or not arabic:
            found = ", ".join(sorted({d.lang for d in dictionaries})) or "none"
            what, why = "There is no dictionary to compare with.", f"Languages given: {found}; en and ar are compared."
            raise UserError(what, why, "Give a Dictionary of either language at least.")
        rows, listed = [], []
        for matched_by in MATCHED_BY:
            between = [self.match(e, a, matched_by) for e in english for a in arabic]
            floor = [self.match(e, self.floor(a, matched_by), matched_by) for e in english for a in arabic]
            within = [
                self.match(one, other, matched_by)
                for group in (english, arabic)
                for i, one in enumerate(group)
                for other in group[i + 1 :]
            ]
            for method in METHODS:
                each = [[m[method] for m in matches] for matches in (between, floor, within)]
                rows += _rows(matched_by, method, *each, n_images=int((~self.train).sum()))
            listed += list(_listed(english[0], arabic[0], between[0]))
        return rows, listed

    def _scored(
        self,
        a: Dictionary,
        b: Dictionary,
        test: list[csc_array],
        live: list[NDArray],
        pairs: Pairs,
        bound: float,
        matched_by: str,
        method: str,
    ) -> Match:
        pairs = Pairs(live[0][pairs.a], live[1][pairs.b], pairs.similarity)
        unit = [
            d.decoder[p] / np.maximum(np.linalg.norm(d.decoder[p], axis=1, keepdims=True), 1e-12)
            for d, p in ((a, pairs.a), (b, pairs.b))
        ]
        correlation, total = [np.zeros(0)], np.zeros((2, len(self.counts)))
        for first in range(0, len(pairs.a), BLOCK_PAIRS):
            some = Pairs(*(part[first : first + BLOCK_PAIRS] for part in pairs))
            correlation.append(pair_correlations(*test, some))
            drawn = pair_correlations(*test, some, self.counts)
            total += [drawn.sum(axis=1), (drawn >= HOLDS).sum(axis=1)]
        n = min(len(live[0]), len(live[1]))
        draws = total / [[max(len(pairs.a), 1)], [max(n, 1)]]
        return Match(
            matched_by, method, pairs, np.concatenate(correlation), (unit[0] * unit[1]).sum(1), draws, bound, n
        )


def _rows(
    matched_by: str, method: str, between: list[Match], floor: list[Match], within: list[Match], n_images: int
) -> Iterator[dict[str, Any]]:
    """One row a score, each the mean over pairs of dictionaries."""
    names = {"view": "caption", "lang": "", "other": "", "matched_by": matched_by, "method": method}
    n_pairs = int(np.mean([len(m.pairs.a) for m in between]))
    sets = {"": between, "floor": floor, "ceiling": within}

    def numbers(score: str) -> dict[str, float]:
        told: dict[str, float] = {}
        for prefix, matches in sets.items():
            if matches:
                value, low, high = _summary(matches, score)
                start = f"{prefix}_" if prefix else ""
                told |= {prefix or "value": value, f"{start}low": low, f"{start}high": high}
        return told | _over_ceiling(between, floor, within, score)

    why = "" if n_pairs else "no feature of the two dictionaries could be matched"
    if method == "mutual":
        yield measure_row("matched_share", n_images, "held-out images", numbers("share"), why, **names)
    else:
        bound = float(np.mean([m.bound for m in between]))
        yield measure_row("assignment_bound", n_pairs, "features", {"value": bound, "ceiling": 1.0}, **names)
    yield measure_row("matched_correlation", n_images, "held-out images", numbers("correlation"), why, **names)
    yield measure_row("matched_cosine", n_pairs, "pairs of features", numbers("cosine"), why, **names)


def _over_ceiling(between: list[Match], floor: list[Match], within: list[Match], score: str) -> dict[str, float]:
    """How far a score lies from its floor to its ceiling, over held-out images drawn once for all three; of cosines
    over pairs of features. Nothing where floor and ceiling cannot be told apart."""
    sets = [[m for m in matches if len(m.pairs.a)] for matches in (between, floor, within)]
    if not all(sets):
        return {}
    value, least, most = (_summary(matches, score) for matches in sets)
    if not most[1] > least[2]:
        return {}
    ratio = (value[0] - least[0]) / (most[0] - least[0])
    if score == "cosine":
        top, bottom = ((part[2] - part[1]) / 2 / (most[0] - least[0]) for part in (value, most))
        half = float(np.hypot(top, ratio * bottom))  # the pairs of either are others
        return {"ratio": ratio, "ratio_low": ratio - half, "ratio_high": ratio + half}
    which = ("correlation", "share").index(score)
    drawn = [np.mean([m.draws[which] for m in matches], axis=0) for matches in sets]
    gap = drawn[2] - drawn[1]
    low, high = percentile_interval(np.where(gap > 0, drawn[0] - drawn[1], np.nan) / np.where(gap > 0, gap, 1))
    return {"ratio": ratio, "ratio_low": float(low), "ratio_high": float(high)}


def _summary(matches: list[Match], score: str) -> tuple[float, float, float]:
    """Mean of a score over pairs of dictionaries; interval over held-out images, for cosines over features."""
    matches = [m for m in matches if len(m.pairs.a)]
    if not matches:
        return (float("nan"),) * 3
    if score == "cosine":
        value = float(np.mean([m.cosine.mean() for m in matches]))
        error = float(np.mean([m.cosine.std() / np.sqrt(len(m.cosine)) for m in matches]))
        return value, value - 1.96 * error, value + 1.96 * error
    each = [m.correlation.mean() if score == "correlation" else (m.correlation >= HOLDS).sum() / m.n for m in matches]
    which = ("correlation", "share").index(score)
    low, high = percentile_interval(np.mean([m.draws[which] for m in matches], axis=0))
    return float(np.mean(each)), float(low), float(high)


def _listed(a: Dictionary, b: Dictionary, matches: dict[str, Match]) -> Iterator[dict[str, Any]]:
    """Every matched pair of the assignment, and whether it is mutual as well."""
    mutual = set(zip(matches["mutual"].pairs.a.tolist(), matches["mutual"].pairs.b.tolist(), strict=True))
    assigned = matches["assignment"]
    columns = (
        assigned.pairs.a.tolist(),
        assigned.pairs.b.tolist(),
        assigned.pairs.similarity.tolist(),
        assigned.correlation.tolist(),
        assigned.cosine.tolist(),
    )
    for feature_en, feature_ar, similarity, correlation, cosine in zip(*columns, strict=True):
        yield {
            "matched_by": assigned.matched_by,
            "sae_en": a.sae_id,
            "sae_ar": b.sae_id,
            "feature_en": feature_en,
            "feature_ar": feature_ar,
            "similarity": similarity,
            "correlation": correlation,
            "cosine": cosine,
            "mutual": (feature_en, feature_ar) in mutual,
        }


def _nothing(n_a: int, n_b: int) -> Candidates:
    empty = csc_array((n_a, n_b), dtype=np.float32).tocsr()
    return Candidates(empty, np.zeros(n_a, np.float32), np.zeros(n_b, np.float32))
