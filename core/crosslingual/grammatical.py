"""Arabic features that follow the grammatical gender of words, also of things, and features that follow the person.

A feature for cars is no feature for the feminine, so the units are words, not captions: with M_w the mean activation
over captions with the word w, AUC = P(M of a feminine word > M of a masculine one). The control is the English caption
of the same images, where grammar has no such gender.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import mannwhitneyu, rankdata

from core.crosslingual.pairs import PairedCodes
from core.intervals import q_values

FOLLOWS = ("word", "person", "both", "neither", "not enough data")
MOST_LABELLINGS = 50_000  # all ways to label the words are tried where there are no more than these
N_LABELLINGS = 20_000
MIN_WORDS = 5  # of either gender
LABEL_STREAM = 61
Columns = dict[str, NDArray]


def labellings(female: NDArray, seed: list[int]) -> NDArray:
    """All ways, or many at random, to call as many words feminine as are; (n_labellings, n_words) bool."""
    n, k = len(female), int(female.sum())
    if comb(n, k) <= MOST_LABELLINGS:
        chosen = np.array(list(combinations(range(n), k)))
        found = np.zeros((len(chosen), n), bool)
        np.put_along_axis(found, chosen, True, axis=1)
        return found
    rng = np.random.default_rng([*seed, LABEL_STREAM])
    drawn = np.argsort(rng.random((N_LABELLINGS - 1, n)), axis=1) < k
    return np.concatenate([female[None], drawn])


def word_genders(codes: PairedCodes, stands: csr_array, female: NDArray, tried: NDArray, first: int = 0) -> Columns:
    """Per feature: AUC of feminine over masculine words in Arabic and in English captions, and p by relabelling words.

    ``stands`` (n_images, n_words) says which words a caption has; ``female`` (n_words,). p_word_ar is two-sided for
    the Arabic AUC, p_word_difference for Arabic - English, of all ``tried`` labellings (the true one is among them).
    """
    k, rest = int(female.sum()), int((~female).sum())
    share = csr_array(stands.T / np.asarray(stands.sum(axis=0)).ravel()[:, None])
    ranks = {"ar": rankdata((share @ codes.ar).toarray(), axis=0), "en": rankdata((share @ codes.en).toarray(), axis=0)}

    def auc(labels: NDArray, of: NDArray) -> NDArray:
        return (labels.astype(np.float32) @ of.astype(np.float32) - k * (k + 1) / 2) / (k * rest)

    seen = {lang: auc(female[None], of)[0] for lang, of in ranks.items()}
    columns: Columns = {
        "feature": np.arange(first, first + codes.en.shape[1]),
        "auc_word_ar": seen["ar"],
        "auc_word_en": seen["en"],
    }
    centre = {"ar": 0.5, "difference": 0.0}
    value = {"ar": seen["ar"], "difference": seen["ar"] - seen["en"]}
    beyond = {name: np.zeros(len(seen["ar"]), np.int64) for name in centre}
    for labels in np.array_split(tried, max(1, len(tried) // 2000)):
        drawn = {"ar": auc(labels, ranks["ar"])}
        drawn["difference"] = drawn["ar"] - auc(labels, ranks["en"])
        for name, middle in centre.items():
            beyond[name] += (np.abs(drawn[name] - middle) >= np.abs(value[name] - middle) - 1e-5).sum(0)
    return columns | {f"p_word_{name}": n / len(tried) for name, n in beyond.items()}


def person_genders(arabic: csr_array, female: NDArray, train: NDArray) -> Columns:
    """Per feature of (n_images, n_features) Arabic codes: p on training images, AUC of women over men on held-out."""
    columns: Columns = {}
    for name, side in (("p_person", train), ("auc_person", ~train)):
        x = arabic[np.flatnonzero(side)].toarray()
        women, men = x[female[side]], x[~female[side]]
        varies = np.ptp(x, axis=0) > 0
        result = np.full(x.shape[1], 1.0 if name == "p_person" else 0.5)
        if varies.any():
            found = mannwhitneyu(women[:, varies], men[:, varies], axis=0, method="asymptotic")
            result[varies] = found.pvalue if name == "p_person" else found.statistic / (len(women) * len(men))
        columns[name] = result
    return columns


def class_follows(columns: Columns, fdr: float, min_images: int) -> Columns:
    """Adds q values (over all rows with enough captions) and ``follows``.

    word: the Arabic AUC and its difference from English are both beyond chance; person: women and men differ.
    """
    enough = columns["n_ar"] >= min_images
    names = ("word_ar", "word_difference", "person")
    q = {f"q_{name}": q_values(np.where(enough, columns[f"p_{name}"], np.nan)) for name in names}
    word, person = (q["q_word_ar"] <= fdr) & (q["q_word_difference"] <= fdr), q["q_person"] <= fdr
    choices = [~enough, word & person, word, person]
    return columns | q | {"follows": np.select(choices, ["not enough data", "both", "word", "person"], "neither")}
