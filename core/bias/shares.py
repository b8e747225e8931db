"""Shares of captions that name a man, with intervals for captions that come several from one image."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.bias import NAMED
from core.bias.likeness import likeness
from core.intervals import q_values

Floats = NDArray[np.float64]
MARGIN = 0.1  # a share nearer than this to 0.5 is no lean: single trainings differ by as much (docs/controls.md)
ONE_IMAGE = "one image: how far its captions speak for other images is not known"
NO_CAPTION = "no caption to count"
NUMBERS = ("share", "low", "high", "p_even", "p_beyond", "n_effective")


def grouped(hits: pd.Series, n: pd.Series, value: pd.Series) -> pd.DataFrame:
    """Share of ``hits`` among ``n`` captions by group: value (index), n_images, n_hits, n, NUMBERS and why.

    ``hits``, ``n`` and ``value`` by image; images without a caption to count say nothing. low, high: 95 % interval with
    images as units (core.bias.likeness). p_even: two-sided, of the share being 0.5. p_beyond: of its lying within
    MARGIN of 0.5, at the border, where such a share is most often mistaken (minimum-effect test, Murphy and Myors
    1999). n_effective: captions of as many different images that would tell as much. A group of one image has a share
    and nothing else, a group without a caption not even that; ``why`` says so.
    """
    table = pd.DataFrame({"n_hits": hits, "n": n}).groupby(value).sum()
    table.index.name = "value"
    table[list(NUMBERS)] = np.nan
    counted = n > 0
    table["n_images"] = counted.groupby(value).sum()
    table["why"] = np.select([table["n"] == 0, table["n_images"] == 1], [NO_CAPTION, ONE_IMAGE], "")
    if counted.any():
        names, code = np.unique(value[counted].to_numpy(), return_inverse=True)
        table.loc[names, list(NUMBERS)] = _numbers(hits[counted].to_numpy(int), n[counted].to_numpy(int), code)
        table.loc[table["why"] == ONE_IMAGE, list(NUMBERS[1:])] = np.nan
    return table


def _numbers(hits: NDArray[np.int64], n: NDArray[np.int64], code: NDArray[np.int64]) -> Floats:
    """NUMBERS of each group (n_groups, 6)."""
    said, total, squares = (np.bincount(code, values) for values in (hits, n, n.astype(float) ** 2))
    model, share = likeness(hits, n, code), said / total
    low, high = model.interval()
    tests = []
    for margin in (0.0, MARGIN):
        lower = model.below(0.5 + margin) + model.below(0.5 - margin)
        upper = model.above(0.5 - margin) + model.above(0.5 + margin)
        tests.append(np.minimum(1.0, np.minimum(lower, upper)))
    return np.column_stack(
        [
            share,
            np.where(said == 0, 0.0, np.minimum(low, share)),
            np.where(said == total, 1.0, np.maximum(high, share)),
            *tests,
            total / (1 + model.rho * (squares / total - 1)),
        ]
    )


def shared_error(said: pd.DataFrame, other: pd.DataFrame, value: pd.Series) -> float:
    """Correlation of the errors that two shares of a group have by the accidents of its images, as low as it may be.

    ``said`` and ``other`` are image counts (columns male and female) in two languages, ``value`` each image's group.
    The estimate is pooled over groups; back comes the lower end of its one-sided 95 % interval (Fisher 1921), since a
    difference of shares is the surer the more of their errors they share.
    """
    value = value[value.index.isin(said.index.union(other.index))]
    errors = []
    for counts in (said, other):
        here = counts[["male", "female"]].reindex(value.index, fill_value=0)
        n, hits = here.sum(axis=1), here["male"]
        share = hits.groupby(value).transform("sum") / n.groupby(value).transform("sum").clip(lower=1)
        errors.append((hits - n * share).to_numpy(float))
    squares = [float(error @ error) for error in errors]
    freedom = len(value) - value.nunique()
    if freedom < 4 or not min(squares):
        return 0.0 if freedom >= 4 else -1.0
    r = float(errors[0] @ errors[1]) / np.sqrt(squares[0] * squares[1])
    return float(np.tanh(np.arctanh(np.clip(r, -0.999, 0.999)) - 1.645 / np.sqrt(freedom - 2)))


def image_counts(said: pd.DataFrame, reading: str = "named") -> pd.DataFrame:
    """From one row a caption (sample_id and ``reading``) one row an image, its captions counted by what they name."""
    ids, row = np.unique(said["sample_id"].to_numpy(int), return_inverse=True)
    column = pd.Categorical(said[reading], categories=list(NAMED)).codes
    counts = np.bincount(row * len(NAMED) + column, minlength=len(ids) * len(NAMED)).reshape(-1, len(NAMED))
    return pd.DataFrame(counts, index=pd.Index(ids, name="sample_id"), columns=list(NAMED))


def group_shares(counts: pd.DataFrame, value: pd.Series, evidence: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a group of images: counts, and p_male among captions that say one gender, with interval, p and q.

    ``counts`` as of ``image_counts`` by what captions name, and ``evidence`` by what p_male is to rest on, where that
    is another reading; ``value`` by sample_id is the group. Images without a value are left out. A group whose captions
    say no gender has no p_male (NaN). q is taken over the groups (Benjamini and Hochberg).
    """
    value = value.reindex(counts.index).dropna()
    counts = counts.reindex(index=value.index, columns=list(NAMED), fill_value=0)
    said = counts if evidence is None else evidence.reindex(index=value.index, fill_value=0)
    shares = grouped(said["male"], said["male"] + said["female"], value)
    table = counts.groupby(value).sum()
    table.index.name = "value"
    table = table.rename(columns={name: f"n_{name}" for name in NAMED})
    table.insert(0, "n_images", counts.groupby(value).size())
    table.insert(1, "n_captions", table[[f"n_{name}" for name in NAMED]].sum(axis=1))
    table["n_counted"] = shares["n"]
    table[["p_male", "low", "high"]] = shares[["share", "low", "high"]]
    for name in ("even", "beyond"):
        table[f"p_{name}"] = shares[f"p_{name}"]
        table[f"q_{name}"] = q_values(shares[f"p_{name}"])
    table["n_effective"], table["why"] = shares["n_effective"], shares["why"]
    return table.reset_index()
