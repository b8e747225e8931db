"""Measures of bias: how well shares agree with another table, captions against the image's gender, and amplification.

Agreement over groups is correlation, calibration error and slope. Errors are captions that name the other gender than
the image shows, or none. Bias is amplified where captions tie gender to a role (or another attribute) more than the
references do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from core.intervals import (
    clopper_pearson,
    difference,
    influence_interval,
    percentile_interval,
    resampled_counts,
    wilson,
)

MIN_GROUPS = 8  # below which a correlation over groups says nothing
METRICS = ("correlation", "calibration_error", "slope")
NAN = float("nan")
OTHER = {"female": "male", "male": "female"}
RATES = ("error", "omission", "unmarked", "both")
GENDERS = ("male", "female")
AMPLIFICATIONS = ("amplification_zhao", "amplification_directional")


class Measured(NamedTuple):
    """A value with its interval and what it would be by chance; NaN and ``why`` where there is not enough data."""

    value: float
    low: float
    high: float
    n: int
    control: float
    control_low: float
    control_high: float
    why: str = ""


def not_enough(n: int, why: str) -> Measured:
    """No value, and the reason."""
    return Measured(NAN, NAN, NAN, n, NAN, NAN, NAN, why)


def agreement(known: ArrayLike, found: ArrayLike, n_draws: int, seed: int | list[int]) -> dict[str, Measured]:
    """Pearson's r, mean absolute difference, and slope of ``found`` on ``known`` (n_groups,) each.

    Intervals: bootstrap over groups, whose own error (images, draws) is part of how they scatter. Control: ``known``
    dealt out anew over the groups. NaN groups are left out.
    """
    known, found = np.asarray(known, float), np.asarray(found, float)
    usable = np.isfinite(known) & np.isfinite(found)
    known, found = known[usable], found[usable]
    n = len(known)
    if n < MIN_GROUPS:
        return dict.fromkeys(METRICS, not_enough(n, f"{n} groups; a comparison over groups needs {MIN_GROUPS}"))
    even = np.ones((1, n))
    value = _all(even, known, found)
    drawn = _all(resampled_counts(n, n_draws, seed), known, found)
    rng = np.random.default_rng([*([seed] if isinstance(seed, int) else seed), 1])
    dealt = rng.permuted(np.tile(known, (n_draws, 1)), axis=1)
    chance = _all(np.ones((n_draws, n)), dealt, found)
    result = {}
    for name in METRICS:
        if not np.isfinite(value[name][0]):
            result[name] = not_enough(n, "the values are the same in all groups")
            continue
        low, high = percentile_interval(drawn[name])
        control_low, control_high = percentile_interval(chance[name])
        result[name] = Measured(
            float(value[name][0]),
            float(low),
            float(high),
            n,
            float(np.nanmean(chance[name])),
            float(control_low),
            float(control_high),
        )
    return result


def _all(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """The three metrics for each row of ``weights`` (n_draws, n_groups); x and y (n_groups,) or one row a draw."""
    total = weights.sum(1)
    dx = x - ((weights * x).sum(1) / total)[:, None]
    dy = y - ((weights * y).sum(1) / total)[:, None]
    xx, yy, xy = (weights * dx * dx).sum(1), (weights * dy * dy).sum(1), (weights * dx * dy).sum(1)
    xx, yy = np.where(xx < 1e-12, np.nan, xx), np.where(yy < 1e-12, np.nan, yy)
    error = (weights * np.abs(x - y)).sum(1) / total
    return {"correlation": xy / np.sqrt(xx * yy), "calibration_error": error, "slope": xy / xx}


def says(named: pd.Series, gender: pd.Series, counted: pd.Series | None = None) -> pd.DataFrame:
    """Of each caption (one bool a column): error, it says the other gender alone; omission, it names neither;
    unmarked, it says a gender by the generic masculine alone; both.

    ``counted`` is the reading that errors are judged by, where it is not ``named``.
    """
    return pd.DataFrame(
        {
            "error": (named if counted is None else counted) == gender.map(OTHER),
            "omission": named.isin(["neutral", "none"]),
            "unmarked": named == "unmarked",
            "both": named == "both",
        }
    )


def error_rates(
    named: pd.Series, gender: pd.Series, min_images: int, counted: pd.Series | None = None
) -> dict[tuple[str, str], Measured]:
    """(rate, "female" | "male" | "female-male") -> its value, one caption an image, with an interval over images.

    ``gender`` is what the image shows; other values than female and male are left out. ``counted`` as in ``says``: by
    words that both genders must say alike an error is as easily made on images of women as on those of men. The
    difference has Newcombe's interval. Control: what the same captions would give if the labels were dealt out anew
    over these images (its expectation). Fewer than ``min_images`` of a gender give no number. Error as in Hendricks et
    al. (2018), where a neutral word is no error.
    """
    shown = gender.isin(list(OTHER))
    counted = named if counted is None else counted
    named, gender, counted = named[shown], gender[shown], counted[shown]
    found: dict[tuple[str, str], Measured] = {}
    for rate in RATES:
        for g in OTHER:
            mine = gender == g
            n = int(mine.sum())
            if n < min_images:
                found[rate, g] = not_enough(n, f"{n} images of that gender; {min_images} are needed")
                continue
            hits = int(says(named[mine], gender[mine], counted[mine])[rate].sum())
            chance = float(says(named, pd.Series(g, index=named.index), counted)[rate].mean())
            low, high = clopper_pearson(hits, n)
            found[rate, g] = Measured(hits / n, float(low), float(high), n, chance, chance, chance)
        women, men = found[rate, "female"], found[rate, "male"]
        if women.why or men.why:
            found[rate, "female-male"] = not_enough(women.n + men.n, women.why or men.why)
            continue
        a, b = ((one.value, *wilson(one.value * one.n, one.n)) for one in (women, men))
        value, low, high = (float(x) for x in difference(a[0], a[1], a[2], b[0], b[1], b[2]))
        chance = women.control - men.control
        found[rate, "female-male"] = Measured(value, low, high, women.n + men.n, *np.repeat(chance, 3).tolist())
    return found


@dataclass(frozen=True)
class Corpus:
    """What the training side says: for each group and gender its share (n_groups, 2), and the shares overall (2,)."""

    groups: tuple[str, ...]
    given_group: np.ndarray
    overall: np.ndarray


def corpus(counts: pd.DataFrame, value: pd.Series) -> Corpus:
    """Shares of male and female among the references of each group; groups without any are left out."""
    value = value.reindex(counts.index).dropna()
    sums = counts.loc[value.index, list(GENDERS)].groupby(value).sum()
    sums = sums[sums.sum(axis=1) > 0]
    given = sums.to_numpy(float)
    overall = given.sum(0) / max(1.0, given.sum())
    return Corpus(tuple(sums.index), given / given.sum(1, keepdims=True), overall)


def _zhao_weights(known: Corpus) -> np.ndarray:
    """What counts of each rise (n_groups, 2): that of the gender that the corpus favours."""
    return (known.given_group > 1 / len(GENDERS)).astype(float)


def _directional_weights(known: Corpus) -> np.ndarray:
    """Up where the corpus joins gender and group, down elsewhere; the mean over genders."""
    return np.where(known.given_group > known.overall, 1.0, -1.0) / len(GENDERS)


def zhao(own: np.ndarray, reference: np.ndarray, known: Corpus) -> np.ndarray:
    """Mean over groups of the rise of P(g | group) for the gender that the corpus favours there (its share > 1/2).

    ``own`` and ``reference`` (..., n_groups, 2) shares of captions and references on the same images; (...) back. A
    group that the corpus splits evenly adds 0. Zhao et al. (2017), arXiv 1707.09457.
    """
    return np.nanmean((_zhao_weights(known) * (own - reference)).sum(-1), axis=-1)


def directional(own: np.ndarray, reference: np.ndarray, known: Corpus) -> np.ndarray:
    """BiasAmp from task (group) to attribute (gender): mean over both of y d - (1 - y) d, d = rise of P(g | group).

    y is 1 where the corpus joins gender and group more often than independence would. Wang and Russakovsky
    (2021), arXiv 2102.12594.
    """
    return np.nanmean((_directional_weights(known) * (own - reference)).sum(-1), axis=-1)


def amplification(
    own: pd.DataFrame,
    reference: pd.DataFrame,
    value: pd.Series,
    known: Corpus,
    n_draws: int,
    seed: int,
    min_images: int,
) -> dict[str, Measured]:
    """Both metrics, with intervals over images: shares of groups are ratios of sums, linearised; none where captions
    and references say otherwise on fewer than MIN_VARIED images. ``n_draws`` are those of the control.

    ``own`` and ``reference`` are image counts of captions that name each gender (columns male and female) on the same
    held-out images; ``known`` comes from other images, so that what is favoured is not chosen on the noise that is
    measured. Control: the captions dealt out anew over the images, as of a model that ignores the group.
    """
    both = own.index.intersection(reference.index)
    value = value.reindex(both).dropna()
    value = value[value.isin(known.groups)]
    mine = own.loc[value.index, list(GENDERS)].to_numpy(float)
    theirs = reference.loc[value.index, list(GENDERS)].to_numpy(float)
    n = int(((mine.sum(1) > 0) & (theirs.sum(1) > 0)).sum())
    if n < min_images or len(known.groups) < 2:
        why = f"{n} images with a gender in caption and reference; {min_images} are needed"
        return dict.fromkeys(AMPLIFICATIONS, not_enough(n, why))
    member = (value.to_numpy()[:, None] == np.asarray(known.groups)).astype(float)
    rng = np.random.default_rng([seed, 1])
    dealt = mine[rng.permuted(np.tile(np.arange(len(mine)), (n_draws, 1)), axis=1)]
    by_chance = _normalised(np.stack([dealt[:, :, g] @ member for g in range(len(GENDERS))], axis=-1))
    own_shares, shares = (_normalised(member.T @ counts) for counts in (mine, theirs))
    result = {}
    for name, metric, weigh in zip(
        AMPLIFICATIONS, (zhao, directional), (_zhao_weights, _directional_weights), strict=True
    ):
        amplified, chance = float(metric(own_shares, shares, known)), metric(by_chance, shares, known)
        control_low, control_high = percentile_interval(chance)
        low, high = _amplified_interval(amplified, mine, theirs, member, weigh(known))
        control = float(chance.mean()), float(control_low), float(control_high)
        result[name] = Measured(amplified, low, high, n, *control)
    return result


def _amplified_interval(
    value: float, mine: np.ndarray, theirs: np.ndarray, member: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    """Interval of the mean over groups of a weighted rise of shares, from what each image adds to it.

    Within a group an image stands for n / (n - 1) of its square, for its share is taken of the same images; a group of
    one image scatters as images of the others do.
    """
    size, rise = member.sum(0), np.zeros((len(mine), member.shape[1]))
    for side, counts in ((1.0, mine), (-1.0, theirs)):
        named, share = member.T @ counts.sum(1), _normalised(member.T @ counts)
        apart = member * (counts @ weights.T - counts.sum(1, keepdims=True) * (share * weights).sum(1))
        rise += side * np.divide(apart, named, out=np.full_like(apart, np.nan), where=named > 0)
    there = np.isfinite(rise).all(0)  # groups in which captions and references name a gender
    rise, size, member = rise[:, there] * size[there], size[there], member[:, there]
    many = size > 1
    rise *= np.sqrt(size / np.maximum(size - 1, 1))
    rise[:, ~many] = member[:, ~many] * np.sqrt((rise[:, many] ** 2).sum() / max(size[many].sum(), 1))
    influence = (rise / size).sum(1) / max(len(size), 1)
    n_varied = int((np.nan_to_num(_normalised(mine)) != np.nan_to_num(_normalised(theirs))).any(1).sum())
    low, high = influence_interval(value, influence, len(mine), n_varied)
    return float(low), float(high)


def _normalised(sums: np.ndarray) -> np.ndarray:
    total = sums.sum(-1, keepdims=True)
    return np.divide(sums, total, out=np.full_like(sums, np.nan), where=total > 0)
