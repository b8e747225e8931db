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
from core.multiplicity import ROUNDING, two_samples

FOLLOWS = ("word", "person", "both", "neither", "not enough data")
MOST_LABELLINGS = 50_000  # all ways to label the words are tried where there are no more than these
N_LABELLINGS = 20_000
MIN_WORDS = 5  # of either gender
LABEL_STREAM = 61
WORD_LEVEL = 0.01  # of any feature that follows no word being said to, over all layers
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


def word_genders(
    codes: PairedCodes, stands: csr_array, female: NDArray, tried: NDArray, enough: NDArray, first: int = 0
) -> tuple[Columns, NDArray]:
    """Per feature: AUC of feminine over masculine words in Arabic and English captions, and how far it follows words.

    ``stands`` (n_images, n_words) says which words a caption has; ``female`` (n_words,). size_word is the smaller of
    two |t| (Welch) of feminine against masculine words: of Arabic means, and of what is left of these when English
    means of the same images are taken out (regression over words). p_word is counted over all ``tried`` labellings (the
    true one is among them). Also the largest size_word of each labelling (n_tried,), over features that are ``enough``
    (n_features,), for ``layer_p``.
    """
    k, rest = int(female.sum()), int((~female).sum())
    share = csr_array(stands.T / np.asarray(stands.sum(axis=0)).ravel()[:, None])
    means = {lang: (share @ getattr(codes, lang)).toarray().astype(float) for lang in ("ar", "en")}
    ranks = {lang: female @ rankdata(m, axis=0) for lang, m in means.items()}
    auc = {lang: (total - k * (k + 1) / 2) / (k * rest) for lang, total in ranks.items()}
    ar, en = (_standard(means[lang]) for lang in ("ar", "en"))
    left = ar - (ar * en).mean(0) * en
    left = np.where(np.abs(left) > 1e-6, left, 0.0)  # the same in both languages but for rounding
    seen, beyond, largest = np.zeros(len(enough)), np.zeros(len(enough), np.int64), []
    for labels in np.array_split(tried, max(1, len(tried) // 2000)):
        both = [two_samples(x, female, labels, np.zeros(len(female), int)) for x in (ar, left)]
        size = np.minimum(*both)
        seen = size[0]
        beyond += (size[1:] >= seen * (1 - ROUNDING)).sum(0)
        largest.append(size[1:, enough].max(1, initial=0.0))
    columns: Columns = {"feature": np.arange(first, first + len(enough)), "size_word": seen}
    columns |= {"auc_word_ar": auc["ar"], "auc_word_en": auc["en"], "p_word": beyond / len(tried)}
    return columns, np.concatenate(largest)


def _standard(x: NDArray) -> NDArray:
    spread = x.std(0)
    return np.divide(x - x.mean(0), spread, out=np.zeros_like(x), where=spread > 0)


def layer_p(size: NDArray, largest: NDArray) -> NDArray:
    """p of size_word (n_features,) over all features of a layer: the share of labellings whose ``largest`` reaches it.

    Max-T (Westfall and Young 1993): a p counted from 20,000 labellings feature by feature and then multiplied by
    thousands of features would lose whatever stands alone.
    """
    reached = len(largest) - np.searchsorted(np.sort(largest), size * (1 - ROUNDING))
    return np.maximum(reached, 1) / len(largest)


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
    """Adds p_word_adjusted (over all features and layers), q_person (over all rows with enough captions), ``follows``.

    word: more of the word's gender than chance, in Arabic and beyond English; person: women and men differ.
    """
    enough = columns["n_ar"] >= min_images
    layers = len(np.unique(columns["layer"])) if "layer" in columns else 1
    adjusted = np.where(enough, np.minimum(1.0, columns["p_word_layer"] * layers), np.nan)
    q_person = q_values(np.where(enough, columns["p_person"], np.nan))
    word, person = adjusted <= WORD_LEVEL, q_person <= fdr
    follows = np.select(
        [~enough, word & person, word, person], ["not enough data", "both", "word", "person"], "neither"
    )
    return columns | {"p_word_adjusted": adjusted, "q_person": q_person, "follows": follows}
