"""How much of the image's gender captions give away when their words for it are masked (LIC, caption leakage).

A classifier reads masked captions and says women or men. Of image i it says so with confidence s_i; its score is

    LIC = mean over images of s_i [right],    LIC of the model's captions - LIC of people's,

women and men counted alike (Hirota et al. 2022, arXiv 2203.15395, eq. 2 and 3). Beside it stands the share that is
right, of which chance is 1/2; chance of LIC depends on how sure the classifier is, and is measured with labels dealt
out anew. Every image is scored by a classifier that read no caption of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import t as student
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from core.bias.measures import Measured, not_enough
from core.intervals import percentile_interval
from core.words.captions import Hit

MASK, UNKNOWN = "xmaskx", "xunknownx"  # words, so that the classifier may read them; no caption has them
METRICS = ("lic", "leakage_accuracy")
N_FOLDS = 5
N_REFERENCES = 3  # draws of one reference an image; the model's caption is one an image as well
N_SHUFFLES = 20
DIFFERENCE = "greedy-reference"
Scores = NDArray[np.float64]


def masked(text: str, hits: Sequence[Hit], roles: Mapping[str, str]) -> str:
    """The caption without what says gender: persons, pronouns, and what agrees with them, in the place of one mask.

    A role keeps what it is and loses its gender (``roles``: form of a woman -> form of a man): Arabic roles all have
    one, and masking them would leave nothing of what English says by "nurse". A role that says no person (in the dress
    of a police officer) has its grammar, and loses it too. Words for persons of either gender stay.
    """
    out, at = [], 0
    for hit in [hit for hit in hits if hit.gender != "neutral"]:
        word = _without_gender(hit.form or hit.word, roles) if hit.word_class == "role" else MASK
        out += [_without_gender(text[at : hit.start], roles), word]
        at = hit.end
    return " ".join([*out, _without_gender(text[at:], roles)])


def _without_gender(text: str, roles: Mapping[str, str]) -> str:
    def one(found: re.Match[str]) -> str:
        word = found.group()
        article = "ال" if word.startswith("ال") and word[2:] in roles else ""
        return article + roles.get(word[len(article) :], word[len(article) :])

    return re.sub(r"\w+", one, text)


def aligned(texts: Sequence[str], vocabulary: set[str], split: Any) -> list[str]:
    """People's captions with words that the model never writes as UNKNOWN, as in the paper (section 4.2)."""
    return [" ".join(w if w in vocabulary else UNKNOWN for w in split(text)) for text in texts]


def leakage(
    own: Sequence[str], people: Sequence[Sequence[str]], female: NDArray[np.bool_], seed: int, min_images: int
) -> dict[tuple[str, str], Measured]:
    """(metric, "greedy" | "reference" | "greedy-reference") -> value, interval and floor.

    ``own`` (n_images,) masked captions of the model, ``people`` the masked references of each image, ``female`` what
    the image shows. Interval: Student's t over images, women and men apart; the classifiers are not trained again for
    it. Control: the same with the images' labels dealt out anew, the same deal for both writers (N_SHUFFLES).
    """
    female = np.asarray(female, bool)
    n, few = len(female), min(int(female.sum()), int((~female).sum()))
    keys = [(metric, source) for metric in METRICS for source in ("greedy", "reference", DIFFERENCE)]
    if few < max(min_images, N_FOLDS) or not all(people):
        why = f"{few} images of the rarer gender with captions of both writers; {max(min_images, N_FOLDS)} are needed"
        return dict.fromkeys(keys, not_enough(n, why))
    rng = np.random.default_rng([seed, 7])
    drawn = [[texts[int(rng.integers(len(texts)))] for texts in people] for _ in range(N_REFERENCES)]
    split = CountVectorizer(token_pattern=r"(?u)\w+").build_analyzer()
    vocabulary = {word for text in own for word in split(text)}
    corpora = [_words(own), *(_words(aligned(texts, vocabulary, split)) for texts in drawn)]
    labels = np.stack([female, *(rng.permutation(female) for _ in range(N_SHUFFLES))])
    with threadpool_limits(1):
        scores = np.stack([[_scores(words, y, seed) for y in labels] for words in corpora])
    by_source = {"greedy": scores[0], "reference": scores[1:].mean(0)}  # (1 + N_SHUFFLES, 2 metrics, n_images)
    by_source[DIFFERENCE] = by_source["greedy"] - by_source["reference"]
    return {
        (metric, source): _measured(by_source[source][:, i], labels, -1.0 if source == DIFFERENCE else 0.0)
        for metric, source in keys
        for i in (METRICS.index(metric),)
    }


def leakage_rows(found: Mapping[tuple[str, str], Measured], lang: str) -> Iterator[dict[str, Any]]:
    """As rows of bias_metrics."""
    for (metric, source), one in found.items():
        key = {"metric": metric, "lang": lang, "source": source, "attribute": "", "group": "labelled"}
        yield {**key, "unit": "images", "floor": float("nan"), **one._asdict()}


def captions_by_image(said: pd.DataFrame, sample_ids: Sequence[int]) -> list[list[str]]:
    """The texts of each image, in the order of ``sample_ids``; ``said`` has columns sample_id and text."""
    texts = said.groupby("sample_id")["text"].agg(list)
    return [list(texts.get(i, [])) for i in sample_ids]


def _words(texts: Sequence[str]) -> csr_array:
    """(n_images, n_words) which words are in a caption; a word of one caption tells nothing of another."""
    counts = CountVectorizer(token_pattern=r"(?u)\w+", binary=True).fit_transform([*texts, MASK])
    counts = csr_array(cast(Any, counts))[: len(texts)].astype(np.float64)
    kept = np.flatnonzero(np.asarray(counts.sum(axis=0)).ravel() >= 2)
    return csr_array(counts[:, kept]) if len(kept) else csr_array((len(texts), 1), dtype=np.float64)


def _scores(words: csr_array, female: NDArray[np.bool_], seed: int) -> Scores:
    """(2, n_images): confidence where right, else 0; and right (1/2 where the classifier cannot say)."""
    p = np.zeros(len(female))
    for train, test in StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(female, female):
        reader = LogisticRegression(C=1.0, class_weight="balanced", solver="liblinear", intercept_scaling=10)
        p[test] = reader.fit(words[train], female[train]).predict_proba(words[test])[:, 1]
    sure = np.maximum(p, 1 - p)
    right = np.where(np.isclose(p, 0.5), 0.5, (p > 0.5) == female)
    return np.stack([sure * right, right])


def _measured(scores: Scores, labels: NDArray[np.bool_], least: float) -> Measured:
    """Of ``scores`` (1 + draws, n_images), between ``least`` and 1, and the labels that they were made with."""
    sides = [scores[0][labels[0] == side] for side in (True, False)]
    value = float(np.mean([side.mean() for side in sides]))
    variances = []
    for side in sides:  # one more image at each end: where all are alike, the interval keeps a width
        squares = ((side - side.mean()) ** 2).sum() + (1 - side.mean()) ** 2 + (least - side.mean()) ** 2
        variances.append(squares / (len(side) + 1) / len(side) / 4)
    total = sum(variances)
    df = total**2 / sum(v**2 / (len(side) - 1) for v, side in zip(variances, sides, strict=True))
    half = float(student.ppf(0.975, df) * np.sqrt(total))
    floor = [
        np.mean([s[y == side].mean() for side in (True, False)]) for s, y in zip(scores[1:], labels[1:], strict=True)
    ]
    low, high = percentile_interval(floor)
    ends = max(least, value - half), min(1.0, value + half)
    return Measured(value, *ends, scores.shape[1], float(np.mean(floor)), float(low), float(high))
