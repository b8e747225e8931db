"""Is it gender that the two languages share, or anything that an image shows? The same alignment for other contrasts.

A contrast sets the images that show one value of an annotated attribute (pizza, twemoji, pink), or whose captions by
people hold one word, against the rest, with women, men and others alike often on both sides. Its direction and its
effects on features are compared between the languages by the functions that compare those of gender.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from core.agreement import Agreement, agreement
from core.crosslingual.clbas import clbas
from core.crosslingual.pairs import LANGUAGES, PairedCodes, paired_codes, paired_images, paired_residuals
from core.crosslingual.sharing import gendered_codes
from core.features.pooled import Pooled
from core.nulls.beside import MIN_OTHERS
from core.nulls.codes import VIEWS
from core.nulls.findings import TOO_FEW

MAX_ENTRIES, STREAM = 4_000_000, 0xC02
GENDER, ANNOTATION, WORD = "gender", "annotation", "word"
DIRECTION, CLBAS = "direction_cosine", "clbas"
OFTEN = 0.5  # share of images beyond which it is the rest that is the value
PER_ATTRIBUTE, N_WORDS = 6, 12  # the most frequent values of an attribute; words where too little is annotated
LETTERS = 3  # "an" says how the next word begins
MIN_HELD_OUT = 10  # images on either side
FEW_SHOW_IT = "too few images on one side"


@dataclass(frozen=True)
class Contrast:
    """``name`` ("object: pizza") against the rest: who shows it and who is compared, (n_images,) bool each."""

    name: str
    source: str
    present: NDArray[np.bool_]
    asked: NDArray[np.bool_]


def other_contrasts(
    attributes: Sequence[Mapping[str, Any]],
    words: Sequence[Sequence[str]],
    wanted: Sequence[str],
    gender: NDArray,
    is_train: NDArray[np.bool_],
    seed: int,
) -> list[Contrast]:
    """By a fixed rule: the PER_ATTRIBUTE most frequent values, on at most half of the training images, of each of the
    ``wanted`` attributes; where these are fewer than MIN_OTHERS also the N_WORDS most frequent words of LETTERS."""
    known = [[f"{name}: {a[name]}" for name in wanted if a.get(name) not in (None, "")] for a in attributes]
    found = []
    for name in wanted:
        of = [[value for value in values if value.startswith(f"{name}: ")] for values in known]
        found += [(ANNOTATION, value, of) for value in _frequent(of, is_train)[:PER_ATTRIBUTE]]
    if len(found) < MIN_OTHERS:
        long = [[word for word in of if len(word) >= LETTERS] for of in words]
        found += [(WORD, word, long) for word in _frequent(long, is_train)[:N_WORDS]]
    rng = np.random.default_rng([seed, STREAM])
    made = []
    for source, value, of in found:
        present = np.array([value in values for values in of], bool)
        asked = np.zeros(len(present), bool)
        for side in (is_train, ~is_train):
            asked |= balanced(present, gender, side, rng)
        made.append(Contrast(value, source, present, asked))
    return made


def gender_contrast(gender: NDArray) -> Contrast:
    """Women against men, the others left out."""
    return Contrast(GENDER, GENDER, gender == "female", np.isin(gender, ("female", "male")))


def _frequent(of: Sequence[Sequence[str]], is_train: NDArray[np.bool_]) -> list[str]:
    counts = Counter(value for values, train in zip(of, is_train, strict=True) if train for value in set(values))
    fit = [(n, value) for value, n in counts.items() if n <= OFTEN * is_train.sum()]
    return [value for _, value in sorted(fit, key=lambda one: (-one[0], one[1]))]


def balanced(
    present: NDArray[np.bool_], gender: NDArray, side: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """All images of ``side`` that show it and as many of the rest as leave each gender as frequent there as here."""
    kept = np.zeros(len(present), bool)
    groups = []
    for g in np.unique(gender):
        mine = side & (gender == g)
        yes, no = np.flatnonzero(mine & present), np.flatnonzero(mine & ~present)
        if len(yes) and len(no):
            groups.append((yes, rng.permutation(no)))
    times = min((len(no) / len(yes) for yes, no in groups), default=0.0)
    for yes, no in groups:
        kept[yes] = True
        kept[no[: int(times * len(yes))]] = True
    return kept


@threadpool_limits.wrap(limits=1)  # sums in another order end in other bytes
def contrast_rows(
    pooled: Pooled, contrasts: Sequence[Contrast], is_train: NDArray[np.bool_], min_images: int, seed: int
) -> list[dict[str, Any]]:
    """Rows of null_others of a layer: the direction over training images, CLBAS of the run's features over held-out
    ones, as stage crosslingual has them for gender."""
    return [row for view in VIEWS for row in _of_view(pooled, view, contrasts, is_train, min_images, [seed, STREAM])]


def _of_view(
    pooled: Pooled,
    view: str,
    contrasts: Sequence[Contrast],
    is_train: NDArray[np.bool_],
    min_images: int,
    seed: list[int],
) -> list[dict[str, Any]]:
    images = paired_images(pooled.n_positions[view])
    resid, train = paired_residuals(pooled, view, images), is_train[images]
    blocks = [(a, paired_codes(pooled, view, images, a, b)) for a, b in pooled.blocks(MAX_ENTRIES)]
    rows = []
    for number, one in enumerate(contrasts):
        present, asked = one.present[images], one.asked[images]
        sides = [asked & side & (present == value) for side in (train, ~train) for value in (True, False)]
        n = [int(side.sum()) for side in sides]
        for measure, counts, enough in (
            (DIRECTION, n[:2], min(n[:2]) >= min_images),
            (CLBAS, n[2:], min(n[:2]) >= min_images and min(n[2:]) >= MIN_HELD_OUT),
        ):
            row: dict[str, Any] = {"view": view, "contrast": one.name, "source": one.source, "measure": measure}
            row |= {"n_with": counts[0], "n_without": counts[1], "why": ""}
            found = None
            if not enough:
                row["why"] = TOO_FEW if one.source == GENDER else FEW_SHOW_IT
            elif measure == DIRECTION:
                here = asked & train
                en, ar = (resid[lang][here] for lang in LANGUAGES)
                found = agreement(en, ar, present[here], "cosine", [*seed, number])
            else:
                found = _clbas(blocks, present, asked, train, min_images, [*seed, number])
                row["why"] = "" if found else "no feature fires on enough captions"
            numbers = asdict(found) if found else {}
            rows.append(row | {name: None if np.isnan(value) else value for name, value in numbers.items()})
    return rows


def _clbas(
    blocks: Sequence[tuple[int, PairedCodes]],
    present: NDArray[np.bool_],
    asked: NDArray[np.bool_],
    train: NDArray[np.bool_],
    min_images: int,
    seed: list[int],
) -> Agreement | None:
    side = np.where(asked, np.where(present, "female", "male"), "left out")  # of a contrast, in gender's place
    codes = gendered_codes(blocks, side, train, min_images)
    return clbas(codes, seed) if len(codes.selected()) else None
