"""Automatic labels: the word or annotated attribute whose presence best predicts that a feature fires."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from core.features.tokens import LANGUAGES
from core.intervals import wilson
from core.run.schema.features import LABELS

VIEWS = ("caption", "image")  # where firing is looked at; the first where both predict alike
MAX_CANDIDATES = 2_000  # the most frequent of a language
MIN_PRESENT = 10  # training images on which a candidate must be there, and not be there
MIN_FIRES = 5  # images of a split on which a feature must fire, and not fire
FEATURES_AT_ONCE = 512  # bounds the table candidates x features
RARE, UNPREDICTED, UNCERTAIN = "fires too rarely or always", "nothing predicts it well enough", "held out, not certain"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Candidates:
    """What a language's features may be called, and on which images it is present."""

    lang: str
    names: tuple[str, ...]
    kinds: tuple[str, ...]  # word, attribute
    present: csr_array  # (n_images, n_candidates) float32 of 0 and 1
    rows: NDArray[np.int64]  # (n_images,) their caption rows
    is_train: NDArray[np.bool_]  # (n_images,)


def words_of(text: str) -> list[str]:
    """Words of a text in small letters, without Arabic vowel signs and tatweel, as they are looked for as labels."""
    bare = re.sub("[\u064b-\u0652\u0670\u0640]", "", unicodedata.normalize("NFC", text).casefold())
    return re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", bare)


def attributes_of(attributes: str, gender: str = "") -> list[str]:
    """ "name: value" of the annotations in a JSON object that are texts or whole numbers, and of the image's gender.

    Fractions and yes/no marks are left out: they say how an image came to be, not what is to be seen.
    """
    known = json.loads(attributes or "{}")
    shown = {k: v for k, v in known.items() if isinstance(v, str | int) and not isinstance(v, bool) and v != ""}
    if gender in ("female", "male", "neutral"):
        shown["gender"] = gender
    return [f"{name}: {value}" for name, value in shown.items()]


def candidates(
    lang: str,
    captions: Mapping[int, str],
    attributes: Mapping[int, Sequence[str]],
    is_train: Sequence[bool] | NDArray[np.bool_],
) -> Candidates:
    """Words of the captions and attributes of the images, by sample_id, that are neither too rare nor everywhere.

    Counted on the training images only; at most MAX_CANDIDATES, the most frequent, annotations first among equals.
    """
    samples = sorted(captions)
    train = np.asarray(is_train, bool)[samples]
    said = [set(attributes.get(s, ())) for s in samples], [set(words_of(captions[s])) for s in samples]
    chosen: list[tuple[int, str, str]] = []
    for kind, found in zip(("attribute", "word"), said, strict=True):
        counts = Counter(name for names, in_train in zip(found, train, strict=True) if in_train for name in names)
        inside = range(MIN_PRESENT, int(train.sum()) - MIN_PRESENT + 1)
        chosen += [(-n, kind, name) for name, n in counts.items() if n in inside]
    chosen = sorted(chosen)[:MAX_CANDIDATES]
    place = {(kind, name): i for i, (_, kind, name) in enumerate(chosen)}
    rows, columns = [], []
    for kind, found in zip(("attribute", "word"), said, strict=True):
        for row, names in enumerate(found):
            here = [place[kind, name] for name in sorted(names) if (kind, name) in place]
            rows += [row] * len(here)
            columns += here
    shape = (len(samples), len(chosen))
    present = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    caption = np.asarray(samples, np.int64) * len(LANGUAGES) + LANGUAGES.index(lang)
    return Candidates(lang, tuple(c[2] for c in chosen), tuple(c[1] for c in chosen), present, caption, train)


class Choice(NamedTuple):
    """The best candidate of each feature by the training images (-1: none), and its AUC, (n_features,)."""

    candidate: NDArray[np.int64]
    auc: Floats


def choose(fires: csc_array, there: Candidates) -> Choice:
    """Of every feature the candidate whose presence best tells the images that fire it from those that do not.

    ``fires`` (n_images, n_features) of 0 and 1. The AUC of a yes/no predictor is
    (1 + P(present | fires) - P(present | silent)) / 2. Counted as sparse products, FEATURES_AT_ONCE features at a time.
    """
    train = np.flatnonzero(there.is_train)
    words = csr_array(there.present[train].T)
    n_present = words.sum(1)
    best = np.full(fires.shape[1], -1, np.int64)
    auc = np.full(fires.shape[1], np.nan)
    if not words.shape[0]:
        return Choice(best, auc)
    fires = csc_array(fires.tocsr()[train])
    n_fires = np.diff(fires.indptr)
    n_silent = len(train) - n_fires
    known = (n_fires >= MIN_FIRES) & (n_silent >= MIN_FIRES)
    for first in range(0, fires.shape[1], FEATURES_AT_ONCE):
        part = np.flatnonzero(known[first : first + FEATURES_AT_ONCE]) + first
        if len(part):
            both = (words @ fires[:, part]).toarray()
            score = both * (1 / n_fires[part] + 1 / n_silent[part])  # P(present | fires) - P(present | silent) is
            score -= n_present[:, None] / n_silent[part]  # both / fires - (present - both) / silent
            best[part] = score.argmax(0)
            auc[part] = (1 + score.max(0)) / 2
    return Choice(best, auc)


class Score(NamedTuple):
    """How a choice does on the test images, (n_features,) each."""

    auc: Floats
    low: Floats
    high: Floats
    n_fires: NDArray[np.int64]
    n_silent: NDArray[np.int64]


def score(fires: csc_array, there: Candidates, chosen: NDArray[np.int64], level: float = 0.95) -> Score:
    """Held-out AUC of the chosen candidates, with Newcombe's interval of a difference of shares (1998, method 10).

    NaN where nothing was chosen or too few test images fire, or do not.
    """
    test = np.flatnonzero(~there.is_train)
    fires = csc_array(fires.tocsr()[test])
    present = csc_array(there.present[test])
    column = np.repeat(np.arange(fires.shape[1]), np.diff(fires.indptr))
    dense = np.zeros((len(test), len(there.names) + 1), bool)  # the last stands for no candidate
    dense[present.indices, np.repeat(np.arange(len(there.names)), np.diff(present.indptr))] = True
    both = np.bincount(column, dense[fires.indices, chosen[column]], fires.shape[1])
    n_fires, n_present = np.diff(fires.indptr), dense.sum(0)[chosen]
    n_silent = len(test) - n_fires
    known = (chosen >= 0) & (n_fires >= MIN_FIRES) & (n_silent >= MIN_FIRES)
    with np.errstate(divide="ignore", invalid="ignore"):
        yes, no = both / n_fires, (n_present - both) / n_silent
        (yes_low, yes_high), (no_low, no_high) = wilson(both, n_fires, level), wilson(n_present - both, n_silent, level)
        low = yes - no - np.hypot(yes - yes_low, no_high - no)
        high = yes - no + np.hypot(yes_high - yes, no - no_low)
    parts = (np.where(known, (1 + x) / 2, np.nan) for x in (yes - no, low, high))
    return Score(*parts, n_fires, n_silent)


def label_rows(codes: Mapping[str, csc_array], there: Candidates, threshold: float) -> list[dict[str, Any]]:
    """Rows of labels without layer, feature and sae_id, one a feature, from codes (n_captions, n_features) by view.

    The candidate and the view in which it predicts are chosen on the training images. It becomes the label where its
    held-out AUC reaches ``threshold`` and the interval lies above 0.5.
    """
    found = {}
    for view in (v for v in VIEWS if v in codes):
        x = codes[view].tocsr()[there.rows]
        fires = csc_array(csr_array((np.ones_like(x.data), x.indices, x.indptr), shape=x.shape))
        choice = choose(fires, there)
        found[view] = choice, score(fires, there, choice.candidate)
    views = list(found)
    trained = np.stack([np.nan_to_num(found[view][0].auc, nan=-1) for view in views])
    rows = []
    for feature, best in enumerate(trained.argmax(0).tolist()):
        choice, held_out = found[views[best]]
        number = int(choice.candidate[feature])
        auc, low, high = (float(part[feature]) for part in held_out[:3])
        why = RARE if np.isnan(auc) else UNPREDICTED if auc < threshold else UNCERTAIN if low <= 0.5 else ""
        name, kind = (there.names[number], there.kinds[number]) if number >= 0 else ("", "")
        rows.append(
            {
                "lang": there.lang,
                "label": "" if why else name,
                "kind": kind,
                "candidate": name,
                "view": views[best] if name else "",
                "auc_train": _or_none(choice.auc[feature]),
                "auc_test": _or_none(auc),
                "auc_low_test": _or_none(low),
                "auc_high_test": _or_none(high),
                "why": why,
                "n_fires_test": int(held_out.n_fires[feature]),
                "n_silent_test": int(held_out.n_silent[feature]),
                "n_candidates": len(there.names),
            }
        )
    return rows


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def label_table(
    layer: int, sae_id: str, features: Iterable[int], rows: Iterable[Sequence[Mapping[str, Any]]]
) -> pa.Table:
    """The table labels of one layer: the rows of each feature, in the order of ``features``."""
    key = {"layer": layer, "sae_id": sae_id}
    found = [{**key, "feature": f, **row} for f, of_feature in zip(features, rows, strict=True) for row in of_feature]
    return LABELS.of_rows(found)
