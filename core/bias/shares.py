"""Shares of captions that name a man, with intervals for captions that come several from one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from core.bias import NAMED
from core.intervals import q_values, wilson

Floats = NDArray[np.float64]
MARGIN = 0.1  # a share nearer than this to 0.5 is no lean: single trainings differ by as much (docs/controls.md)


@dataclass(frozen=True)
class Dispersion:
    """How much more images of one group differ than draws of one coin would: ``phi`` >= 1, and its freedom."""

    phi: float
    freedom: int


def dispersion(hits: ArrayLike, n: ArrayLike, group: ArrayLike) -> Dispersion:
    """Pooled over groups: sum of (hits - n p)^2 against sum of n p (1 - p), p by group (quasi-binomial).

    ``hits`` of ``n`` captions an image, ``group`` (n_images,) codes. Groups of one image say nothing of it. phi is 1
    where no image has two captions. Source: McCullagh and Nelder (1989), section 4.5.
    """
    hits, n, group = np.asarray(hits, float), np.asarray(n, float), np.asarray(group)
    seen = n > 0
    hits, n, group = hits[seen], n[seen], group[seen]
    if not len(n) or n.max() <= 1:
        return Dispersion(1.0, 0)
    _, codes = np.unique(group, return_inverse=True)
    size, total = np.bincount(codes), np.bincount(codes, n)
    p = np.bincount(codes, hits) / total
    squares = np.bincount(codes, (hits - n * p[codes]) ** 2)
    several = size > 1
    expected = (total * p * (1 - p))[several].sum()
    freedom = int((size[several] - 1).sum())
    if expected <= 0:
        return Dispersion(1.0, freedom)
    spread = (squares[several] * size[several] / (size[several] - 1)).sum()
    return Dispersion(max(1.0, float(spread / expected)), freedom)


def clustered_wilson(hits: ArrayLike, n: ArrayLike, phi: float) -> tuple[Floats, Floats]:
    """Wilson's interval of hits / n with n / phi effective captions (Rao and Scott 1992); NaN where n is 0."""
    return wilson(np.asarray(hits, float) / phi, np.asarray(n, float) / phi)


def p_even(hits: ArrayLike, n: ArrayLike, found: Dispersion) -> Floats:
    """Two-sided p of the share being 0.5: score test over images by Student's t; NaN where n is 0."""
    hits, n = np.asarray(hits, float), np.asarray(n, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = (hits / n - 0.5) / np.sqrt(0.25 * found.phi / n)
    return 2 * student.sf(np.abs(score), found.freedom or np.inf)


def p_beyond(hits: ArrayLike, n: ArrayLike, found: Dispersion, margin: float) -> Floats:
    """p of the share lying within ``margin`` of 0.5: minimum-effect test (Murphy and Myors 1999); NaN where n is 0.

    With margin 0 it is ``p_even``. The p is that of the border, where such a share is most often mistaken.
    """
    hits, n = np.asarray(hits, float), np.asarray(n, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        off, error = np.abs(hits / n - 0.5), np.sqrt((0.25 - margin**2) * found.phi / n)
        near, far = (off - margin) / error, (off + margin) / error
    freedom = found.freedom or np.inf
    return student.sf(near, freedom) + student.sf(far, freedom)


def difference(
    a: ArrayLike, a_low: ArrayLike, a_high: ArrayLike, b: ArrayLike, b_low: ArrayLike, b_high: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """a - b with its interval from those of both, taken as independent (Newcombe 1998, method 10)."""
    a, a_low, a_high = (np.asarray(x, float) for x in (a, a_low, a_high))
    b, b_low, b_high = (np.asarray(x, float) for x in (b, b_low, b_high))
    value = a - b
    return value, value - np.hypot(a - a_low, b_high - b), value + np.hypot(a_high - a, b - b_low)


def image_counts(said: pd.DataFrame, reading: str = "named") -> pd.DataFrame:
    """From one row a caption (sample_id and ``reading``) one row an image, its captions counted by what they name."""
    ids, row = np.unique(said["sample_id"].to_numpy(int), return_inverse=True)
    column = pd.Categorical(said[reading], categories=list(NAMED)).codes
    counts = np.bincount(row * len(NAMED) + column, minlength=len(ids) * len(NAMED)).reshape(-1, len(NAMED))
    return pd.DataFrame(counts, index=pd.Index(ids, name="sample_id"), columns=list(NAMED))


def grouped(hits: pd.Series, n: pd.Series, value: pd.Series) -> tuple[pd.DataFrame, Dispersion]:
    """Share of ``hits`` among ``n`` captions by group: value (index), n_hits, n, share, low, high.

    ``hits``, ``n`` and ``value`` by image. A group without a caption to count has no share (NaN).
    """
    found = dispersion(hits, n, value)
    table = pd.DataFrame({"n_hits": hits, "n": n}).groupby(value).sum()
    table.index.name = "value"
    with np.errstate(divide="ignore", invalid="ignore"):
        table["share"] = table["n_hits"].to_numpy(float) / table["n"].to_numpy(float)
    table["low"], table["high"] = clustered_wilson(table["n_hits"], table["n"], found.phi)
    return table, found


def group_shares(counts: pd.DataFrame, value: pd.Series, evidence: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a group of images: counts, and p_male among captions that say one gender, with interval, p and q.

    ``counts`` as of ``image_counts`` by what captions name, and ``evidence`` by what p_male is to rest on, where that
    is another reading; ``value`` by sample_id is the group. Images without a value are left out. A group whose captions
    say no gender has no p_male (NaN). q is taken over the groups (Benjamini and Hochberg).
    """
    value = value.reindex(counts.index).dropna()
    counts = counts.reindex(index=value.index, columns=list(NAMED), fill_value=0)
    said = counts if evidence is None else evidence.reindex(index=value.index, fill_value=0)
    shares, found = grouped(said["male"], said["male"] + said["female"], value)
    table = counts.groupby(value).sum()
    table.index.name = "value"
    table = table.rename(columns={name: f"n_{name}" for name in NAMED})
    table.insert(0, "n_images", counts.groupby(value).size())
    table.insert(1, "n_captions", table[[f"n_{name}" for name in NAMED]].sum(axis=1))
    table["n_counted"] = shares["n"]
    table[["p_male", "low", "high"]] = shares[["share", "low", "high"]]
    hits, total = shares["n_hits"].to_numpy(), shares["n"].to_numpy()
    table["p_even"], table["p_beyond"] = p_even(hits, total, found), p_beyond(hits, total, found, MARGIN)
    for name in ("even", "beyond"):
        table[f"q_{name}"] = q_values(table[f"p_{name}"])
    return table.reset_index()
