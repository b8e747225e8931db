"""Paired statistics of interventions: intervals over images and control draws together, permutation of whole sets.

Captions of one image are resampled together under every arm, so that all differences are paired; control sets are
resampled as whole sets. All tests are two-sided.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from core.intervals import (
    MIN_VARIED,
    clopper_pearson,
    influence_interval,
    mean_interval,
    paired_shares,
    percentile_interval,
    resampled_counts,
)
from core.multiplicity import among_sets, step_down

Floats = NDArray[np.float64]
MIN_IMAGES = 20  # below which nothing is concluded
MIN_CONTROLS = 5
NAN = float("nan")


@dataclass(frozen=True)
class Figure:
    """A figure of arms over images: numerators and denominators (n_arms, n_images); value = sum / sum."""

    top: Floats
    bottom: Floats

    def values(self, weights: Floats | None = None) -> Floats:
        """(n_arms,), or (n_draws, n_arms) with bootstrap ``weights`` (n_draws, n_images); NaN without denominator."""
        if weights is None:
            weights = np.ones((1, self.top.shape[1]))
            return self.values(weights)[0]
        top, bottom = weights @ self.top.T, weights @ self.bottom.T
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(bottom > 0, top / bottom, np.nan)


@dataclass(frozen=True)
class Compared:
    """What a target does beside the unedited model and beside its controls; NaN with a ``why`` where it is unknown.

    ``effect`` = target - baseline, ``specific`` = target - mean of the controls, ``ratio`` = effect over the controls'
    mean effect. ``p_effect``: signs of the images' differences exchanged at random; ``p_specific``: target and controls
    exchanged as whole sets (``apart``), so that it is at least 1 / (n_controls + 1).
    """

    n_images: int
    n_controls: int
    baseline: float
    target: float
    effect: float
    effect_low: float
    effect_high: float
    p_effect: float
    control: float = NAN
    control_low: float = NAN  # of single control sets: the smallest and the largest
    control_high: float = NAN
    specific: float = NAN
    specific_low: float = NAN
    specific_high: float = NAN
    p_specific: float = NAN
    ratio: float = NAN
    ratio_low: float = NAN
    ratio_high: float = NAN
    why: str = ""


def compare(figure: Figure, n_draws: int, seed: int | list[int]) -> Compared:
    """Arms of ``figure`` in the order baseline, target, controls; images without a denominator in the target's or the
    baseline's row take no part."""
    base, target, controls = 0, 1, slice(2, None)
    figure = _asked(figure)
    n_images, n_controls = figure.top.shape[1], figure.top.shape[0] - 2
    if n_images == 0:
        return Compared(0, n_controls, NAN, NAN, NAN, NAN, NAN, NAN, why="no caption is asked about")
    values = figure.values()
    effect = float(values[target] - values[base])
    plain: dict[str, Any] = {
        "n_images": n_images,
        "n_controls": n_controls,
        "baseline": float(values[base]),
        "target": float(values[target]),
        "effect": effect,
    }
    band = _band(values[controls], values[target])
    if n_images < MIN_IMAGES:
        why = f"{n_images} images; {MIN_IMAGES} are needed"
        return Compared(**plain, effect_low=NAN, effect_high=NAN, p_effect=NAN, **band, why=why)
    seeds = list(np.atleast_1d(seed))
    weights = resampled_counts(n_images, n_draws, [*seeds, 0]).astype(np.float64)
    drawn = figure.values(weights)
    low, high = _share_interval(figure) or _effect_interval(figure, effect)
    found: dict[str, Any] = {
        **plain,
        **band,
        "effect_low": low,
        "effect_high": high,
        "p_effect": sign_flips(_by_image(figure, target, base), n_draws, [*seeds, 1]),
    }
    if n_controls < MIN_CONTROLS:
        return Compared(**found, why=f"{n_controls} controls; {MIN_CONTROLS} are needed" if n_controls else "")
    sets = resampled_counts(n_controls, n_draws, [*seeds, 2])
    control = np.einsum("ds,ds->d", sets / n_controls, drawn[:, controls])
    found["specific_low"], found["specific_high"] = _specific_interval(figure)
    sets_apart = apart(figure)
    found["p_specific"] = float(step_down(sets_apart[:1], sets_apart[1:, None])[0])
    return Compared(**found, **_ratio(effect, found["control"] - plain["baseline"], drawn, control))


def _asked(figure: Figure) -> Figure:
    asked = (figure.bottom[0] > 0) | (figure.bottom[1] > 0)
    return Figure(figure.top[:, asked], figure.bottom[:, asked])


def apart(figure: Figure) -> Floats:
    """How far the target (first) and each control lies from all the others, (1 + n_controls,); two-sided.

    In units of the others' spread, at least what one image can add to the figure: where the target is only one more
    control, its place among them is uniform. All NaN where one of them cannot be told.
    """
    figure = _asked(figure)
    top, bottom = figure.top[1:], figure.bottom[1:].sum(1)
    if not top.size or not (bottom > 0).all():
        return np.full(len(top), np.nan)
    grain = np.abs(top).max() / bottom.min()
    return among_sets(figure.values()[1:, None], np.array([max(grain, 1e-12)]))[:, 0]


def _band(controls: Floats, target: float) -> dict[str, float]:
    """Mean, smallest and largest of the control sets, and the target minus their mean; nothing without controls."""
    if not len(controls) or np.isnan(controls).all():
        return {}
    mean = float(np.nanmean(controls))
    return {
        "control": mean,
        "control_low": float(np.nanmin(controls)),
        "control_high": float(np.nanmax(controls)),
        "specific": float(target - mean),
    }


def _share_interval(figure: Figure) -> tuple[float, float] | None:
    """Clopper and Pearson's interval where the effect is a plain share of images."""
    top, bottom = figure.top[1], figure.bottom[1]
    if figure.top[0].any() or not np.isin(top, (0.0, 1.0)).all() or not (bottom == 1).all():
        return None
    low, high = clopper_pearson(top.sum(), len(top))
    return float(low), float(high)


def _effect_interval(figure: Figure, effect: float) -> tuple[float, float]:
    """Of target less baseline, from what each image adds to it; none where fewer than MIN_VARIED images change."""
    parts = _by_image(figure, 1, 0)
    n = len(parts)
    changed = figure.top[1] * figure.bottom[0] != figure.top[0] * figure.bottom[1]
    if not np.isfinite(effect) or 0 < changed.sum() < MIN_VARIED:
        return NAN, NAN
    low, high = influence_interval(effect, parts - effect / n, n)
    return float(low), float(high)


def _interval(draws: Floats) -> tuple[float, float]:
    if np.isnan(draws).mean() > 0.05:
        return NAN, NAN
    low, high = percentile_interval(draws)
    return float(low), float(high)


def _ratio(effect: float, control: float, drawn: Floats, mean_control: Floats) -> dict[str, float]:
    """The target's effect over the controls', where these are of one sign in (nearly) all draws; else nothing."""
    below = mean_control - drawn[:, 0]
    if not np.isfinite(below).all() or min((below <= 0).mean(), (below >= 0).mean()) > 0.005 or control == 0:
        return {}
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = _interval((drawn[:, 1] - drawn[:, 0]) / below)
    return {"ratio": effect / control, "ratio_low": low, "ratio_high": high} if np.isfinite([low, high]).all() else {}


def _by_image(figure: Figure, one: int, other: int) -> Floats:
    """Each image's part in the difference of two arms (n_images,): linear in the images, so that signs can be flipped.

    For a plain mean it is the difference itself; for a rate the influence of the image on it.
    """
    values = figure.values()
    parts = []
    for arm in (one, other):
        total = figure.bottom[arm].sum()
        parts.append((figure.top[arm] - values[arm] * figure.bottom[arm]) / total if total > 0 else 0.0)
    both = parts[0] - parts[1]
    return both + (values[one] - values[other]) / len(both)


def sign_flips(differences: Floats, n_draws: int, seed: int | list[int]) -> float:
    """Two-sided p of a mean difference over images, their signs flipped at random (Fisher 1935); 1 where all are 0."""
    if not np.isfinite(differences).all() or not len(differences):
        return NAN
    seen = abs(differences.sum())
    if seen <= 1e-12:
        return 1.0
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(n_draws, len(differences)))
    return float((1 + (np.abs(signs @ differences) >= seen - 1e-12).sum()) / (n_draws + 1))


@dataclass(frozen=True)
class Paired:
    """What one arm does less what others do, on the same images; NaN with a ``why`` where it is unknown."""

    n_images: int
    n_others: int
    first: float
    other: float
    difference: float
    difference_low: float = NAN
    difference_high: float = NAN
    why: str = ""


def paired(figure: Figure, how: str = "mean") -> Paired:
    """A share of captions under one arm less that under others; ``figure`` in the order baseline, arm, others.

    ``how`` others are taken together: "mean", as draws of all that there might be, so that the interval is over images
    and draws (the variances of both means are added, which counts what lies between them twice); "sum" of what each
    changes; "either", an image that one of them changes.
    """
    figure = _asked(figure)
    top, n, n_others = figure.top, figure.top.shape[1], len(figure.top) - 2
    if n == 0:
        return Paired(0, n_others, NAN, NAN, NAN, why="no caption is asked about")
    base, first, others = top[0], top[1], top[2:]
    together = {"mean": others.mean(0), "sum": base + (others - base).sum(0), "either": others.max(0)}[how]
    found = Paired(n, n_others, float(first.mean()), float(together.mean()), float((first - together).mean()))
    if n < MIN_IMAGES:
        return replace(found, why=f"{n} images; {MIN_IMAGES} are needed")
    if how == "mean" and 1 < n_others < MIN_CONTROLS:
        return replace(found, why=f"{n_others} draws; {MIN_CONTROLS} are needed")
    if n_others == 1 or how == "either":
        only = [float(((first > b) if a else (b > first)).sum()) for a, b in ((True, together), (False, together))]
        both = float(((first > 0) & (together > 0)).sum())
        _, low, high, _ = paired_shares(int(only[0]), int(only[1]), int(both), n)
    else:
        apart_by = first - together
        low, high = (float(end) for end in mean_interval(apart_by)[1:])
        if how == "mean":
            low, high = _over_draws(apart_by, others.mean(1))
    if np.isnan(low):
        return replace(found, why=f"they differ on fewer than {MIN_VARIED} images")
    return replace(found, difference_low=low, difference_high=high)


def _specific_interval(figure: Figure) -> tuple[float, float]:
    """Of target less the mean of the controls, over images and control sets; NaN where one has no value, and where
    nothing was counted whose size is not known (of shares it is: one image in n)."""
    controls = range(2, len(figure.top))
    by_image = len(figure.top[0]) * np.mean([_by_image(figure, 1, one) for one in controls], axis=0)
    by_draw = figure.values()[2:]
    is_share = bool((figure.bottom == 1).all() and (figure.top >= 0).all() and (figure.top <= 1).all())
    counted = is_share or figure.top[1:].any()
    if not (counted and np.isfinite(by_image).all() and np.isfinite(by_draw).all()):
        return NAN, NAN
    grain = 1.0 if is_share else float(np.abs(figure.top[1:]).max() / figure.bottom[1:].mean())
    return _over_draws(by_image, by_draw, grain, 1.0 if is_share else np.inf)


def _over_draws(by_image: Floats, by_draw: Floats, grain: float = 1.0, most: float = 1.0) -> tuple[float, float]:
    """Interval of a mean over images and over draws, with Satterthwaite's degrees of freedom.

    ``grain`` is what one image can add times their number; the mean lies within -``most`` and ``most``.
    """
    parts = [x.var(ddof=1) / len(x) for x in (by_image, by_draw)]
    # one draw that did otherwise by a single image could have been among these: no certainty from equal ones
    parts[0] = max(parts[0], (grain / len(by_image)) ** 2)
    error, value = float(np.sqrt(sum(parts))), float(by_image.mean())
    freedom = sum(parts) ** 2 / sum(p**2 / (len(x) - 1) for p, x in zip(parts, (by_image, by_draw), strict=True))
    reach = error * float(student.ppf(0.975, freedom))
    return max(value - reach, -most), min(value + reach, most)
