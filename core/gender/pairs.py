"""Images of women and of men that fire a feature alike, side by side, and the share of each among its strongest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csc_array

from core.config import GenderConfig
from core.features.tokens import LANGUAGES
from core.gender.effects import take_rows
from core.gender.tables import TOO_FEW
from core.intervals import clopper_pearson

ALIKE = 0.1  # the activations of a pair differ by this share of the larger at most
LOOKED_AT = 256  # images a gender, strongest first, among which pairs are looked for
VIEWS = ("image", "before", "caption")


class Strongest(NamedTuple):
    """The largest pooled activation of each gendered image."""

    values: csc_array  # (n_gendered, n_features)
    sample: np.ndarray  # (n_gendered,) sample ids
    female: np.ndarray  # (n_gendered,) bool
    is_train: np.ndarray  # (n_gendered,) bool


def strongest(codes: Mapping[str, csc_array], gender: np.ndarray, is_train: np.ndarray) -> Strongest:
    """An image's activation: the largest of its views (image, before, caption) in either language.

    ``codes`` (n_captions, n_features) by view; ``gender`` and ``is_train`` by sample.
    """
    sample = np.flatnonzero(np.isin(gender, ("female", "male")))
    row = np.full(len(gender), -1, np.int32)
    row[sample] = np.arange(len(sample))
    values = None
    for view in VIEWS:
        for lang in range(len(LANGUAGES)) if view in codes else ():
            place = np.full(codes[view].shape[0], -1, np.int32)
            place[lang :: len(LANGUAGES)] = row
            part = take_rows(codes[view], place, len(sample))
            values = part if values is None else values.maximum(part)
    if values is None:
        raise ValueError(f"Images are compared in the views {', '.join(VIEWS)}; there are {', '.join(codes)}.")
    values = csc_array(values)
    values.sort_indices()
    return Strongest(values, sample, gender[sample] == "female", np.asarray(is_train, bool)[sample])


def pair_rows(images: Strongest, config: GenderConfig) -> list[dict[str, Any]]:
    """Rows of gender_pairs without their key, one a feature.

    Pairs are looked for from the strongest image down: an image that no image of the other gender equals within
    ``ALIKE`` is passed over. The lift is that of the held-out images that fire the feature most.
    """
    x, test = images.values, ~images.is_train
    n = {"female": int((test & images.female).sum()), "male": int((test & ~images.female).sum())}
    column = np.repeat(np.arange(x.shape[1]), np.diff(x.indptr))
    order = np.lexsort((x.indices, -x.data, column))
    rows = []
    for first, last in zip(x.indptr[:-1], x.indptr[1:], strict=True):
        entry = order[first:last]
        image, value = x.indices[entry], x.data[entry]
        women = images.female[image]
        pairs = matched(value[women][:LOOKED_AT].tolist(), value[~women][:LOOKED_AT].tolist(), config.n_matched)
        row: dict[str, Any] = {"n_pairs": len(pairs), "n_female": n["female"], "n_male": n["male"]}
        for number, (name, chosen) in enumerate((("female", women), ("male", ~women))):
            where = [pair[number] for pair in pairs]
            row[f"sample_{name}"] = images.sample[image[chosen][where]].tolist() if where else []
            row[f"activation_{name}"] = value[chosen][where].tolist() if where else []
        top = women[test[image]][: max(2 * config.n_matched, config.min_images)]
        rows.append(row | {"n_top": len(top), "n_top_female": int(top.sum())})
    return [row | found for row, found in zip(rows, lifts(rows, n["female"], n["male"], config), strict=True)]


def matched(women: list[float], men: list[float], n: int) -> list[tuple[int, int]]:
    """Places of up to ``n`` pairs of like values in two falling lists, strongest first, each place used once."""
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < len(women) and j < len(men) and len(pairs) < n:
        if abs(women[i] - men[j]) <= ALIKE * max(women[i], men[j]):
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif women[i] > men[j]:
            i += 1
        else:
            j += 1
    return pairs


def lifts(rows: Sequence[Mapping[str, Any]], n_female: int, n_male: int, config: GenderConfig) -> list[dict[str, Any]]:
    """Share of each gender among the strongest over its share in all held-out images, with its interval.

    ``rows`` hold n_top and n_top_female. The share in all is taken as known. Nothing, and why, where fewer than
    ``min_images`` fire or either gender has fewer.
    """
    n_top, women = (np.array([row[name] for row in rows], float) for name in ("n_top", "n_top_female"))
    found: dict[str, np.ndarray] = {}
    for name, hits, n in (("female", women, n_female), ("male", n_top - women, n_male)):
        low, high = clopper_pearson(hits, n_top)
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = {"": hits / n_top, "_low": low, "_high": high}
            found |= {f"lift_{name}{end}": share * (n_female + n_male) / n for end, share in ends.items()}
    known = np.minimum(n_top, min(n_female, n_male)) >= config.min_images
    return [
        {"why": "", **{name: float(values[i]) for name, values in found.items()}} if known[i] else {"why": TOO_FEW}
        for i in range(len(rows))
    ]
