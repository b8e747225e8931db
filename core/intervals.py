"""Intervals that hold at 20 units, and multiplicity: shares, AUC, means and ratios in closed form, bootstrap, q values.

A unit is what was drawn independently, here an image; everything that comes from one unit is taken together. How often
each interval holds the truth: ``python -m core.scoreboard.intervals``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv
from scipy.stats import binomtest, false_discovery_control, norm
from scipy.stats import t as student

MIN_VARIED = 5  # units whose value is not 0, below which a mean of rare values has no interval
MORE_DIGITS = 3  # behind which an end is at its null for whoever reads
BISECTIONS = 40  # halvings of an interval within 0 to 1
Floats = NDArray[np.float64]


def wilson(hits: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper end of the interval of the share hits / n, of any shape; NaN where n is 0 (Wilson 1927)."""
    hits, n = np.asarray(hits, float), np.asarray(n, float)
    z = norm.ppf(0.5 + level / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = hits / n
        middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    low, high = np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
    return np.minimum(low, share), np.maximum(high, share)  # at 0 and 1 a rounding error may leave the share outside


def clopper_pearson(hits: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Exact interval of the share hits / n, of any shape; NaN where n is 0 (Clopper and Pearson 1934).

    Wilson's holds a share of 0.01 among 20 in .84 of cases where this holds it in .95 or more; differences of shares
    are Newcombe's of Wilson's ends, which hold there.
    """
    hits, n = np.broadcast_arrays(np.asarray(hits, float), np.asarray(n, float))
    tail, known = (1 - level) / 2, n > 0
    low = np.where(known & (hits > 0), betaincinv(np.maximum(hits, 1e-9), n - hits + 1, tail), 0.0)
    high = np.where(known & (hits < n), betaincinv(hits + 1, np.maximum(n - hits, 1e-9), 1 - tail), 1.0)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def difference(
    a: ArrayLike,
    a_low: ArrayLike,
    a_high: ArrayLike,
    b: ArrayLike,
    b_low: ArrayLike,
    b_high: ArrayLike,
    r: float = 0.0,
) -> tuple[Floats, Floats, Floats]:
    """a - b with its interval from those of both, whose errors have correlation ``r`` (Newcombe 1998, method 10).

    0 for separate images; on the same images accidents are shared, and r is not 0 (Zou 2007 has the general form).
    """
    a, a_low, a_high = (np.asarray(x, float) for x in (a, a_low, a_high))
    b, b_low, b_high = (np.asarray(x, float) for x in (b, b_low, b_high))
    value = a - b
    down, up = (
        np.sqrt(np.maximum(one**2 + other**2 - 2 * r * one * other, 0))
        for one, other in ((a - a_low, b_high - b), (a_high - a, b - b_low))
    )
    return value, value - down, value + up


def quotient(
    a: tuple[float, float, float], b: tuple[float, float, float], r: float = 0.0
) -> tuple[float, float, float]:
    """a / b with its interval from (value, low, high) of both, whose errors have correlation ``r``; NaN unless b's lies
    above 0 (Donner and Zou 2012, Statistical Methods in Medical Research 21, 347: all R for which the interval of
    a - R b, as in ``difference``, holds 0)."""
    (top, top_low, top_high), (bottom, bottom_low, bottom_high) = a, b
    if not bottom_low > 0:
        return float("nan"), float("nan"), float("nan")
    ends = []
    for side, end in ((-1, top_low), (1, top_high)):
        own, other = abs(top - end), bottom_high - bottom if side * end < 0 else bottom - bottom_low
        square = bottom**2 - other**2
        middle = top * bottom - r * own * other
        spread = middle**2 - square * (top**2 - own**2)
        ends.append((middle + side * np.sqrt(max(spread, 0.0))) / square if square > 0 else side * float("inf"))
    return top / bottom, float(ends[0]), float(ends[1])


def paired_shares(only_a: int, only_b: int, both: int, n: int) -> tuple[float, float, float, float]:
    """Share of a less that of b on the same ``n`` units with its 95 % interval, and p of their being equal.

    Of the units ``only_a`` have a alone. Interval: Newcombe (1998, Statistics in Medicine 17, 2635, method 10); p:
    McNemar's exact test. Shares of the same images must not be told apart by whether their own intervals overlap.
    """
    a, b, c, total = (float(x) for x in (only_a, only_b, both, n))
    if not total:
        return float("nan"), float("nan"), float("nan"), float("nan")
    rest = total - a - b - c
    margins = (c + a) * (b + rest) * (c + b) * (a + rest)
    crossed = c * rest - a * b
    crossed = max(crossed - total / 2, 0.0) if crossed > 0 else crossed
    r = crossed / np.sqrt(margins) if margins > 0 else 0.0
    one, two = ((hits / total, *wilson(hits, total)) for hits in (c + a, c + b))
    value, low, high = difference(one[0], one[1], one[2], two[0], two[1], two[2], r=float(r))
    p = binomtest(int(a), int(a + b)).pvalue if a + b else 1.0
    return float(value), float(low), float(high), float(p)


def paired_ratio(n_a: int, n_b: int, n_both: int) -> tuple[float, float, float]:
    """Units that have a over those that have b, with its 95 % interval; ``n_both`` have both. NaN where none has b.

    Bonett and Price (2006, Journal of Educational and Behavioral Statistics 31, 403): Wilson's intervals of both among
    the units that have either, narrowed by how far the two go together; holds where a is in none of them.
    """
    if n_b <= 0:
        return float("nan"), float("nan"), float("nan")
    either = n_a + n_b - n_both
    apart = np.sqrt((n_a + n_b - 2 * n_both + 2) / ((n_a + 1) * (n_b + 1)))
    alone = [np.sqrt((1 - (n + 1) / (either + 2)) / (n + 1)) for n in (n_a, n_b)]
    level = 2 * norm.cdf(norm.ppf(0.975) * apart / sum(alone)) - 1
    (low_a, high_a), (low_b, high_b) = (wilson(n, either, float(level)) for n in (n_a, n_b))
    return n_a / n_b, float(low_a / high_b), float(high_a / low_b)


def auc_variance(auc: ArrayLike, n_a: ArrayLike, n_b: ArrayLike) -> Floats:
    """Variance of an AUC of n_a against n_b values without ties where the true one is ``auc`` (Newcombe 2006, 5)."""
    auc, n_a, n_b = (np.asarray(x, float) for x in (auc, n_a, n_b))
    pairs = (1 - auc) / (2 - auc) + auc / (1 + auc)
    return auc * (1 - auc) * (1 + ((n_a + n_b) / 2 - 1) * pairs) / (n_a * n_b)


def auc_interval(
    auc: ArrayLike, n_a: ArrayLike, n_b: ArrayLike, spread: ArrayLike = 1.0, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Interval of an AUC: all values that lie no farther from it than z of *their own* standard errors.

    Newcombe (2006, Statistics in Medicine 25, 559, method 5): at 1 it has a lower end, and near 1 it holds what the
    estimate's own variance does not. ``spread`` multiplies the variance where there are ties, or folds, or values that
    scatter otherwise.
    """
    auc, n_a, n_b, spread = np.broadcast_arrays(*(np.asarray(x, float) for x in (auc, n_a, n_b, spread)))
    z, ends = norm.ppf(0.5 + level / 2), []
    for edge in (0.0, 1.0):
        inside, outside = auc.copy(), np.full(auc.shape, edge)
        for _ in range(BISECTIONS):
            middle = (inside + outside) / 2
            within = np.abs(auc - middle) <= z * np.sqrt(spread * auc_variance(middle, n_a, n_b))
            inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
        ends.append(np.where(np.isnan(auc), np.nan, inside))
    return ends[0], ends[1]


def skewed_interval(
    value: ArrayLike, error: ArrayLike, skew: ArrayLike, freedom: ArrayLike, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Interval of a value with standard error ``error`` whose distribution has skewness ``skew`` (of the estimate).

    Hall's (1992, JRSS B 54, 221) cubic transformation, with Student's t for ``freedom`` degrees: where values are rare
    or skewed the end on the long side lies farther off. Skewness 0 gives the usual t interval.
    """
    value, error, skew = (np.asarray(x, float) for x in (value, error, skew))
    skew = np.where(np.abs(skew) < 1e-6, 1e-6, skew)
    q = student.ppf(0.5 + level / 2, np.asarray(freedom, float))
    low, high = (value - error * 3 / skew * (np.cbrt(1 + skew * (side - skew / 6)) - 1) for side in (q, -q))
    return low, high


def skewed_p(value: ArrayLike, error: ArrayLike, skew: ArrayLike, freedom: ArrayLike) -> Floats:
    """p of a value being no more than 0, one-sided: the test that ``skewed_interval`` turns round.

    1 where value and error are 0; without error a value above 0 has p = 0.
    """
    value, error, skew = (np.asarray(x, float) for x in (value, error, skew))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = value / error
        p = student.sf(t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6, np.asarray(freedom, float))
    return np.where(error > 0, p, np.where(value > 0, 0.0, 1.0))


def two_groups(x: ArrayLike, first: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean of the units ``first`` (n_units,) less that of the others, of ``x`` (n_units, ...), with its standard error,
    the skewness of that estimate and Welch's degrees of freedom: what ``skewed_interval`` and ``skewed_p`` take."""
    x = np.asarray(x, float)
    groups = [x[first], x[~first]]
    means = [g.mean(0) for g in groups]
    away = [g - m for g, m in zip(groups, means, strict=True)]
    variance = [(a**2).sum(0) / (len(a) * max(len(a) - 1, 1)) for a in away]
    cubes = [(a**3).sum(0) / len(a) ** 3 for a in away]
    both = variance[0] + variance[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        skew = np.where(both > 0, (cubes[0] - cubes[1]) / both**1.5, 0.0)
        welch = both**2 / sum(v**2 / max(len(a) - 1, 1) for v, a in zip(variance, away, strict=True))
    return means[0] - means[1], np.sqrt(both), skew, np.where(both > 0, welch, 1.0)


def mean_interval(values: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Mean over units (axis 0) with its interval; ``values`` (n_units, ...), NaN units left out.

    Nothing where fewer than MIN_VARIED values differ from 0 while others are 0: such a mean rests on a handful of
    units, and no interval made from these holds what the next hundred would give.
    """
    values = np.asarray(values, float)
    known = ~np.isnan(values)
    n = known.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, values, 0).sum(0) / n
        return mean, *influence_interval(mean, np.where(known, values - mean, 0) / n, n, (known & (values != 0)).sum(0))


def mean_p(values: ArrayLike) -> Floats:
    """Two-sided p of the mean over units (axis 0) being 0, by the test that ``mean_interval`` turns round."""
    values = np.asarray(values, float)
    n, mean = len(values), values.mean(0)
    error, skew, freedom = _moments((values - mean) / n, n, (values != 0).sum(0))
    sides = [skewed_p(side * mean, error, side * skew, freedom) for side in (1, -1)]
    return np.minimum(1.0, 2 * np.minimum(*sides))


def ratio_interval(top: ArrayLike, bottom: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Sum of ``top`` over sum of ``bottom`` (n_units, ...) with its interval over units (linearised)."""
    top, bottom = np.asarray(top, float), np.asarray(bottom, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = top.sum(0) / bottom.sum(0)
        return ratio, *influence_interval(ratio, (top - ratio * bottom) / bottom.sum(0), len(top), (top != 0).sum(0))


def influence_interval(
    value: ArrayLike, influence: ArrayLike, n: ArrayLike, n_varied: ArrayLike | None = None
) -> tuple[Floats, Floats]:
    """Interval of an estimate that is a sum of parts of ``n`` units, ``influence`` (n_units, ...) about their mean.

    ``n_varied``: units with a value other than 0; NaN where these are fewer than MIN_VARIED and not all of them.
    """
    influence, n = np.asarray(influence, float), np.asarray(n)
    low, high = skewed_interval(value, *_moments(influence, n, n if n_varied is None else n_varied))
    known = n >= 2
    if n_varied is not None:
        known = known & ((np.asarray(n_varied) >= MIN_VARIED) | (np.asarray(n_varied) == n))
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def _moments(influence: Floats, n: ArrayLike, n_varied: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Standard error and skewness of a sum of ``influence`` (n_units, ...), and the degrees of freedom of that error.

    Where values have long tails the variance of few is itself hardly known: its degrees of freedom are those of the
    chi-square with the same variance, 2 / (g / n + 2 / (n - 1)), g their excess of kurtosis (Box 1953, Biometrika 40,
    318); and no more than the units that are not 0 give. Values without long tails keep n - 1.
    """
    n, n_varied = np.asarray(n, float), np.asarray(n_varied, float)
    squares = (influence**2).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        unbiased = np.where(n > 2, np.sqrt(n * (n - 1)) / (n - 2), 1.0)
        skew = np.where(squares > 0, unbiased * (influence**3).sum(0) / squares**1.5, 0.0)
        error = np.sqrt(squares * n / (n - 1))
        tail = np.where(squares > 0, n * (influence**4).sum(0) / squares**2 - 3, 0.0)
        excess = (n - 1) * ((n + 1) * tail + 6) / ((n - 2) * (n - 3))  # unbiased where values are normal
        freedom = np.where(n > 3, 2 / np.maximum(excess / n + 2 / (n - 1), 2 / (n - 1)), n - 1)
    return error, skew, np.maximum(np.minimum(freedom, n_varied - 1), 1)


def told(value: float, low: float, high: float, null: float = 0.0, form: str = ".2f") -> str:
    """A number with its interval, as pages print it: "0.41 [0.12, 0.70]", in the same digits throughout.

    Where an end that is not ``null`` would be rounded to it, all three get as many digits more as say on which side it
    lies, if MORE_DIGITS are enough. ``form`` is a format of Python with its digits, such as ".2f", "+.2f" or ".0%".
    """
    sign, digits, kind = form[: form.index(".")], int(form[form.index(".") + 1 : -1]), form[-1]
    ways = [f"{sign}.{digits + more}{kind}" for more in range(MORE_DIGITS + 1)]
    ends = [end for end in (low, high) if end != null]
    way = next((w for w in ways if all(_as_told(end, w) != _as_told(null, w) for end in ends)), form)
    return f"{value:{way}} [{low:{way}}, {high:{way}}]"


def _as_told(number: float, way: str) -> float:
    return float(f"{number:{way}}".rstrip("%"))


def resampled_counts(n_units: int, n_draws: int, seed: int | list[int]) -> NDArray[np.int32]:
    """How often each unit stands in each bootstrap draw, (n_draws, n_units): weights for means, sums and products."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=n_draws).astype(np.int32)


def percentile_interval(draws: ArrayLike, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval over the first axis of bootstrap draws (n_draws, ...), NaN draws left out (Efron 1979)."""
    tail = (1 - level) / 2
    draws = np.asarray(draws, float)
    quantile = np.nanquantile if np.isnan(draws).any() else np.quantile  # the former is many times slower
    low, high = quantile(draws, [tail, 1 - tail], axis=0)
    return low, high


def q_values(p: ArrayLike) -> NDArray[np.float64]:
    """Benjamini and Hochberg's (1995) adjusted p over all finite entries together; NaN stays NaN."""
    p = np.asarray(p, float)
    q = np.full(p.shape, np.nan)
    tested = np.isfinite(p)
    if tested.any():
        q[tested] = false_discovery_control(p[tested])
    return q


def hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Hochberg's (1988) adjusted p of a few questions, such as the same one in two languages; NaN are not asked.

    The least of them is at most 5 % in one of twenty runs in which there is nothing in either.
    """
    p = np.asarray(p, float)
    adjusted, asked = np.full(p.shape, np.nan), np.flatnonzero(np.isfinite(p))
    least = 1.0
    for rank, place in enumerate(asked[np.argsort(-p[asked], kind="stable")], 1):
        least = min(least, rank * p[place])
        adjusted[place] = least
    return adjusted


def shuffled_within(
    labels: NDArray[np.bool_], stratum: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Labels (n,) dealt out anew among the places of each stratum (n,)."""
    order = np.lexsort((rng.random(len(labels)), stratum))
    mixed = np.empty_like(labels)
    mixed[np.argsort(stratum, kind="stable")] = labels[order]
    return mixed
