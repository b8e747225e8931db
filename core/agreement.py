"""How alike two vectors of effects are that were measured on the same images, and how alike they could look.

Two languages (layers, methods) see the same images, so that an accident of these, more cars beside women than beside
men, moves both vectors of effects alike and would pass for agreement. And noise keeps vectors that are equal from
looking so, the more the fewer images there are. Both are mended by products of different images alone: with a_i, b_i
what image i adds to each vector, d = difference of means (women less men) and S_g the covariance within gender g,

    <d_a, d_b> = (mean difference of a) . (mean difference of b) - sum over g of trace(S_ab,g) / n_g

without bias, which is the mean over all disjoint halves of the images and both ways round (the crossnobis product:
Walther et al. 2016). From it the value, what the vectors look like; the ceiling, what they would look like if they were
equal but for noise; and their ratio, how alike they are (Spearman 1904), with Fieller's (1954) interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from core.intervals import shuffled_within

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]
Strata = tuple[NDArray, NDArray]
Kind = Literal["cosine", "identity", "correlation"]
N_SHUFFLES, MOST_UNITS = 200, 100
NAN = float("nan")
PAIRS = ((0, 1), (0, 0), (1, 1))


@dataclass(frozen=True)
class Agreement:
    """``value`` as it looks, ``floor`` the same with the images' genders dealt out anew, ``ceiling`` if the two were
    equal; ``ratio`` = value / ceiling, the agreement without noise: 1 for equal effects at any number of images. All
    with 95 % intervals (of the floor: range). NaN where the effects of one side cannot be told from noise, and of the
    ratio and the ceiling's ends where the ceiling is known beforehand.
    """

    value: float
    low: float
    high: float
    floor: float
    floor_low: float
    floor_high: float
    ceiling: float
    ceiling_low: float = NAN
    ceiling_high: float = NAN
    ratio: float = NAN
    ratio_low: float = NAN
    ratio_high: float = NAN


def agreement(
    a: NDArray, b: NDArray, female: Labels, kind: Kind, seed: int | list[int], strata: Strata | None = None
) -> Agreement:
    """Agreement of the effects (female - male) of two measurements of the same images, ``a`` and ``b`` (n_images, p).

    cosine: <a, b> / |a||b|. identity: 2<a, b> / (|a|^2 + |b|^2), 1 only where effects are equal and not merely
    proportional (Zegers and ten Berge 1985). correlation: the cosine of effects about their mean over the p columns.
    Intervals are over images (jackknife), for these p columns and no others. ``strata``, one (n_images,) a side: what
    is known of each image's measurement (such as the words that are compared) and takes no part: effects are those of
    a regression on gender and strata; for at most some hundred images. ValueError below three images of a gender.
    """
    female = np.asarray(female, bool)
    if min(female.sum(), (~female).sum()) < 3:
        raise ValueError(f"{female.sum()} images of women and {(~female).sum()} of men; 3 of each are needed")
    sides = [_columns(x, kind) for x in (a, b)]
    within = np.zeros(len(female), int) if strata is None else strata[0]
    rng = np.random.default_rng(seed)
    dealt = np.stack([shuffled_within(female, within, rng) for _ in range(N_SHUFFLES)])
    units: Labels = female
    if strata is None:
        own, left, mixed = _products(sides, female), _products_left_out(sides, female), _products(sides, dealt)
    else:
        own, left, mixed, units = _products_within(sides, female, dealt, strata)
    ends = float(student.ppf(0.975, len(female) - 2))
    value, ceiling = (f(own, kind) for f in (_value, _ceiling))
    value_error, ceiling_error = (_error(f(left, kind), units) for f in (_value, _ceiling))
    floor = _value(mixed, kind)
    low, high = np.nanquantile(floor, [0.025, 0.975])
    numbers = [
        *_about(float(value), value_error, ends),
        *(float(np.nanmean(floor)), float(low), float(high)),
        *_about(float(ceiling), ceiling_error, ends),
        *_fieller((float(own[0]), float(_same(own, kind))), (left[0], _same(left, kind)), units, ends),
    ]
    return Agreement(*numbers)


def _columns(x: NDArray, kind: Kind) -> Floats:
    x = np.asarray(x, np.float64)
    x = x - x.mean(0)
    return x - x.mean(1, keepdims=True) if kind == "correlation" else x


def _products(sides: list[Floats], female: Labels) -> Floats:
    """Of labels (n,) or (n_draws, n): the three products of PAIRS without any image's own, and the two lengths squared
    with them, (5,) or (5, n_draws)."""
    labels = np.atleast_2d(female).astype(np.float64)
    groups = [labels, 1 - labels]
    n = [g.sum(1) for g in groups]
    means = [[(g @ x) / k[:, None] for x in sides] for g, k in zip(groups, n, strict=True)]
    effect = [means[0][s] - means[1][s] for s in (0, 1)]
    found = []
    for s, r in PAIRS:
        noise = np.zeros(len(labels))
        each = np.einsum("ip,ip->i", sides[s], sides[r])
        for g, k, mean in zip(groups, n, means, strict=True):
            noise += ((g @ each) / k - np.einsum("dp,dp->d", mean[s], mean[r])) / (k - 1)
        found.append(np.einsum("dp,dp->d", effect[s], effect[r]) - noise)
    found += [np.einsum("dp,dp->d", e, e) for e in effect]
    return np.stack(found)[:, 0] if np.ndim(female) == 1 else np.stack(found)


def _products_left_out(sides: list[Floats], female: Labels) -> Floats:
    """The same (5, n) with each image left out in turn, without forming any vector anew."""
    groups = [np.flatnonzero(female), np.flatnonzero(~female)]
    sums = [[x[g].sum(0) for x in sides] for g in groups]
    found = np.zeros((5, len(female)))
    for at, other, own_sum, other_sum in zip(groups, groups[::-1], sums, sums[::-1], strict=True):
        k, m = len(at) - 1, len(other)
        inner = [[x[at] @ s for s in own_sum] for x in sides]  # of the images with the sums of their own group
        across = [[x[at] @ s for s in other_sum] for x in sides]
        for number, (s, r) in enumerate(PAIRS):
            each = np.einsum("ip,ip->i", sides[s][at], sides[r][at])
            beside = np.einsum("ip,ip->", sides[s][other], sides[r][other])
            rest = other_sum[s] @ other_sum[r]
            product = own_sum[s] @ own_sum[r] - inner[s][r] - inner[r][s] + each  # of the group's sums, without one
            mixed = own_sum[s] @ other_sum[r] + own_sum[r] @ other_sum[s] - across[s][r] - across[r][s]
            plain = product / k**2 + rest / m**2 - mixed / (k * m)
            if s == r:
                found[3 + s, at] = plain
            noise = ((each.sum() - each) / k - product / k**2) / (k - 1) + (beside / m - rest / m**2) / (m - 1)
            found[number, at] = plain - noise
    return found


def _products_within(
    sides: list[Floats], female: Labels, dealt: Labels, strata: Strata
) -> tuple[Floats, Floats, Floats, Labels]:
    """The products as they are (5,), with units left out in turn (5, n_units), and of labels ``dealt`` (5, n_draws);
    and which units are women's. A unit is an image, or where a gender has more than MOST_UNITS as many groups of it."""
    grams = [sides[s] @ sides[r].T for s, r in PAIRS]
    every = np.arange(len(female))

    def products(chosen: NDArray, labels: Labels) -> Floats:
        known = [g[np.ix_(chosen, chosen)] for g in grams]
        return _adjusted(known, labels[chosen], [s[chosen] for s in strata])

    groups = [np.array_split(at, min(len(at), MOST_UNITS)) for at in (np.flatnonzero(female), np.flatnonzero(~female))]
    left = np.stack([products(np.delete(every, unit), female) for group in groups for unit in group], axis=1)
    mixed = np.stack([products(every, labels) for labels in dealt], axis=1)
    return products(every, female), left, mixed, np.repeat([True, False], [len(group) for group in groups])


def _adjusted(grams: list[Floats], female: Labels, strata: Sequence[NDArray]) -> Floats:
    """The products (5,) of effects adjusted for strata, from inner products of images (n, n), by PAIRS.

    With w the weights of an effect and M what a regression leaves over, an image's own product is taken out as
    w_i w_i r_i . r_i / (M M)_ii, r the residuals (HC2: MacKinnon and White 1985), which without strata is the same as
    the covariance within the genders.
    """
    weights, bases = zip(*(_regression(female, stratum) for stratum in strata), strict=True)
    makers = [np.eye(len(female)) - base @ base.T for base in bases]
    found = []
    for gram, (s, r) in zip(grams, PAIRS, strict=True):
        own = weights[s] * weights[r]
        left = ((gram - bases[s] @ (bases[s].T @ gram)) * makers[r]).sum(1)
        share = (makers[s] * makers[r]).sum(1)
        some = np.abs(own) > 1e-12
        found.append(weights[s] @ gram @ weights[r] - (own[some] * left[some] / share[some]).sum())
    return np.array([*found, *(w @ g @ w for w, g in zip(weights, grams[1:], strict=True))])


def _regression(female: Labels, stratum: NDArray) -> tuple[Floats, Floats]:
    """Weights (n,) that make the difference of women and men within strata, and an orthonormal basis (n, q) of what a
    regression on gender and strata takes out."""
    _, place, counts = np.unique(stratum, return_inverse=True, return_counts=True)
    dummies = (place[:, None] == np.arange(len(counts))) / np.sqrt(counts)
    apart = female - dummies @ (dummies.T @ female)
    length = float(apart @ apart)
    if length < 1e-9:  # every stratum is of one gender
        return np.full(len(female), np.nan), dummies
    return apart / length, np.column_stack([dummies, apart / np.sqrt(length)])


def _value(products: Floats, kind: Kind) -> Floats:
    return products[0] / _length(products, kind)


def _ceiling(products: Floats, kind: Kind) -> Floats:
    return _same(products, kind) / _length(products, kind)


def _length(products: Floats, kind: Kind) -> Floats:
    """Of the vectors with their noise, which is what a value is divided by."""
    middle = (products[3] + products[4]) / 2 if kind == "identity" else np.sqrt(products[3] * products[4])
    return np.where(middle > 0, middle, np.nan)


def _same(products: Floats, kind: Kind) -> Floats:
    """What the product would be if the effects were equal (identity) or of one direction; NaN where one is noise."""
    if kind == "identity":
        return (products[1] + products[2]) / 2
    both = (products[1] > 0) & (products[2] > 0)
    return np.where(both, np.sqrt(np.abs(products[1] * products[2])), np.nan)


def _deviations(left_out: Floats, female: Labels) -> Floats:
    """What is squared and summed for a jackknife variance of two samples."""
    return np.concatenate(
        [np.sqrt((g.sum() - 1) / g.sum()) * (left_out[g] - left_out[g].mean()) for g in (female, ~female)]
    )


def _error(left_out: Floats, female: Labels) -> float:
    return float(np.sqrt((_deviations(left_out, female) ** 2).sum()))


def _about(value: float, error: float, ends: float) -> tuple[float, float, float]:
    return float(value), float(np.maximum(value - ends * error, -1)), float(np.minimum(value + ends * error, 1))


def _fieller(
    seen: tuple[float, float], left_out: tuple[Floats, Floats], female: Labels, ends: float
) -> tuple[float, float, float]:
    """seen[0] / seen[1] with all ratios that the data do not refuse; NaN unless the denominator is clearly above 0."""
    top, bottom = seen
    t, b = (_deviations(x, female) for x in left_out)
    tt, tb, bb = (ends**2 * x for x in (t @ t, t @ b, b @ b))
    a = bottom**2 - bb
    if not (bottom > 0 and a > 0):  # NaN fails as well
        return NAN, NAN, NAN
    middle, spread = top * bottom - tb, (top * bottom - tb) ** 2 - a * (top**2 - tt)
    half = np.sqrt(max(spread, 0.0))
    return float(top / bottom), float((middle - half) / a), float((middle + half) / a)
