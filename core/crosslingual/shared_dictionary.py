"""All comparisons of English and Arabic at one layer that need its pooled captions and the shared dictionary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from core.config import CrosslingualConfig
from core.crosslingual.clbas import CASES, OVER, VARIANTS, GenderedCodes, control_table
from core.crosslingual.contrastive import ContrastiveLanguageAnalyzer
from core.crosslingual.earlier import earlier_rows
from core.crosslingual.grammatical import MIN_WORDS, labellings, layer_p, person_genders, word_genders
from core.crosslingual.language import Columns, LanguageSpecificFeatureIdentifier
from core.crosslingual.overlap import gendered, overlap_rows
from core.crosslingual.pairs import PairedCodes, paired_codes, paired_images, paired_residuals
from core.crosslingual.sharing import gender_sharing, gendered_codes
from core.features.pooled import Pooled

VIEWS = ("prompt", "before", "caption")  # image tokens come before the question: there the languages cannot differ
GENDER_VIEWS = ("before", "caption")
GENDER_STREAM, WORD_STREAM, OVERLAP_STREAM = 71, 72, 73


@dataclass(frozen=True)
class SharedDictionary:
    """``gender`` and ``train`` are (n_samples,): who is shown ("female", "male", other), which images select."""

    pooled: Pooled
    gender: NDArray
    train: NDArray
    config: CrosslingualConfig
    seed: int

    def images(self, view: str) -> NDArray:
        """Sample ids with a position of the view in both languages."""
        return paired_images(self.pooled.n_positions[view])

    def blocks(self, view: str, images: NDArray) -> Iterator[tuple[int, PairedCodes]]:
        """(first feature, codes) of all features, a bounded number at a time."""
        for first, last in self.pooled.blocks():
            yield first, paired_codes(self.pooled, view, images, first, last)

    def languages(self) -> Columns:
        """What ``LanguageSpecificFeatureIdentifier.measure`` says of all features on whole captions."""
        c = self.config
        identifier = LanguageSpecificFeatureIdentifier(c.n_permutations, c.fdr, c.min_images, self.seed)
        images = self.images("caption")
        return joined(identifier.measure(*codes, first) for first, codes in self.blocks("caption", images))

    def residuals(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Rows of alignment.parquet and of gender_directions.parquet, without layer."""
        similarity, directions = [], []
        for number, view in enumerate(VIEWS):
            images = self.images(view)
            key = [self.seed, self.pooled.layer, number]
            analyzer = ContrastiveLanguageAnalyzer(self.config.n_permutations, self.config.min_images, key)
            x, train = paired_residuals(self.pooled, view, images), self.train[images]
            similarity += [{"view": view, **row} for row in analyzer.similarity(x, train)]
            directions += [{"view": view, **row} for row in analyzer.directions(x, self.gender[images], train)]
        return similarity, directions

    def gender_scores(self) -> tuple[list[dict[str, Any]], Columns]:
        """Rows of clbas.parquet (without layer) and columns of shared_gender.parquet, both for each gender view."""
        rows, columns = [], []
        for number, view in enumerate(GENDER_VIEWS):
            images = self.images(view)
            gender, train = self.gender[images], self.train[images]
            why = too_few_of_a_gender(gender, train, self.config.min_images)
            if why:
                rows += no_scores(view, "shared", why)
                continue
            codes = gendered_codes(self.blocks(view, images), gender, train, self.config.min_images)
            key = [self.seed, GENDER_STREAM, self.pooled.layer, number]
            rows += scored(codes, view, "shared", self.config.n_bootstrap, key)
            found = gender_sharing(codes)
            columns.append(found | {"view": np.full(len(found["feature"]), view, dtype=object)})
        return rows, joined(columns)

    def overlap(self) -> list[dict[str, Any]]:
        """Rows of feature_overlap and of earlier_scores, without layer, for each gender view with enough images."""
        rows: list[dict[str, Any]] = []
        for number, view in enumerate(GENDER_VIEWS):
            images = self.images(view)
            gender = self.gender[images]
            n = {f"n_{g}": int((gender == g).sum()) for g in ("female", "male")}
            if min(n.values()) < 2 * self.config.min_images:  # a half of them ranks a language
                continue
            effects = gendered(self.blocks(view, images), gender, self.config.min_images)
            known = images[np.isin(gender, ("female", "male"))]
            key = [self.seed, OVERLAP_STREAM, self.pooled.layer, number]
            found = {
                "feature_overlap": overlap_rows(effects, key),
                "earlier_scores": earlier_rows(effects, paired_residuals(self.pooled, view, known), key),
            }
            rows += [{"table": table, "view": view, **n, **row} for table, part in found.items() for row in part]
        return rows

    def words(self, stands: csr_array, female: NDArray) -> Columns:
        """Columns of grammatical_gender.parquet, without layer; empty where too few words of a gender are known.

        ``stands`` (n_samples, n_words): which words for things each Arabic caption has; ``female`` (n_words,).
        """
        images = self.images("caption")
        gender, train = self.gender[images], self.train[images]
        few = min(int(female.sum()), int((~female).sum())) < MIN_WORDS
        if few or too_few_of_a_gender(gender, train, self.config.min_images):
            return {}
        known, tried = np.isin(gender, ("female", "male")), labellings(female, [self.seed, WORD_STREAM])
        rows, parts, largest = stands[images], [], np.zeros(len(tried))
        for first, codes in self.blocks("caption", images):
            arabic = csr_array(codes.ar)
            persons = person_genders(arabic[np.flatnonzero(known)], gender[known] == "female", train[known])
            fired = {"n_ar": np.diff(codes.ar.indptr), "n_en": np.diff(codes.en.indptr)}
            enough = fired["n_ar"] >= self.config.min_images
            found, most = word_genders(codes, rows, female, tried, enough, first)
            largest = np.maximum(largest, most)
            parts.append(found | persons | fired)
        columns = joined(parts)
        columns |= {"p_word_layer": layer_p(columns["size_word"], largest)}
        columns |= {"n_labellings": np.full(len(columns["feature"]), len(tried))}
        words = {"n_words_female": int(female.sum()), "n_words_male": int((~female).sum())}
        return columns | {name: np.full(len(columns["feature"]), n) for name, n in words.items()}


def scored(codes: GenderedCodes, view: str, dictionary: str, n_bootstrap: int, seed: list[int]) -> list[dict[str, Any]]:
    """The control table of one dictionary and view as rows of clbas.parquet, without layer."""
    names = {"view": view, "dictionary": dictionary}
    n = {"n_features": len(codes.selected()), "n_female": int(codes.female.sum()), "n_male": int((~codes.female).sum())}
    if not n["n_features"]:
        return no_scores(view, dictionary, "no feature fires on enough captions")
    return [names | row | n | {"why": ""} for row in control_table(codes, n_bootstrap, seed)]


def no_scores(view: str, dictionary: str, why: str) -> list[dict[str, Any]]:
    """The same rows without numbers."""
    empty = {"value": None, "low": None, "high": None, "n_features": 0, "n_female": 0, "n_male": 0, "why": why}
    return [
        {"view": view, "dictionary": dictionary, "score": score, "case": case, **empty}
        for score in ("clbas", *VARIANTS)
        for case in (*CASES, *([OVER] if score == "clbas" else []))
    ]


def too_few_of_a_gender(gender: NDArray, train: NDArray, fewest: int) -> str:
    """Why nothing is said, or "" where both genders have enough images on either side of the split."""
    for side, name in ((train, "training"), (~train, "held-out")):
        n = {g: int(((gender == g) & side).sum()) for g in ("female", "male")}
        if min(n.values()) < fewest:
            return f"{n['female']} {name} images of women and {n['male']} of men; {fewest} of each are needed"
    return ""


def joined(parts: Any) -> Columns:
    """Columns of several blocks one after another; {} where there is no block."""
    parts = list(parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
