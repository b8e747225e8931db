"""Formulas of the earlier study under their names, each beside what it gives where nothing or everything is there.

They are those of its published code (sae_captioning_project/src/clmb), written anew from the formulas, over the
features with the largest gender effects in either language; docs/methods.md says what each can and cannot show.
*Transport* is what CLFA set out to do: partners are found by optimal transport between the features' activations on the
same images (with one feature for one, an assignment: Birkhoff), on one half of the images, and scored on the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from core.crosslingual.overlap import Effects, half_of
from core.intervals import percentile_interval

N_FEATURES, N_DRAWS, FEW = 64, 40, 4
REGULARISATION, ALIKE = 0.1, 0.7  # of its transport, on costs over their largest; similarity from which pairs count
N_ITERATIONS = 200
STRENGTH = 1.0
CASES = ("measured", "labels shuffled", "images paired at random", "same language twice")
SCORES = ("clfa", "clbas_published", "hbl_en", "hbl_ar", "sbi", "transport")
Floats = NDArray[np.floating]


def wasserstein(a: Floats, b: Floats) -> Floats:
    """W1 between the marginal distributions of each column of ``a`` and of ``b`` (n, p): (p, p).

    With as many images on either side that is the mean distance of sorted values, so that it does not know which image
    a value is of.
    """
    n = min(len(a), len(b))
    shares = (np.arange(n) + 0.5) / n
    a, b = (np.quantile(x, shares, axis=0, method="inverted_cdf") for x in (a, b))
    return np.stack([np.abs(a[:, [i]] - b).mean(0) for i in range(a.shape[1])])


def sinkhorn(cost: Floats, regularisation: float = REGULARISATION) -> Floats:
    """The entropic transport plan between uniform marginals (Cuturi 2013) of a square cost over its largest entry."""
    kernel = np.exp(-cost / max(float(cost.max()), 1e-12) / regularisation)
    p = len(cost)
    v = np.full(p, 1 / p)
    u = v.copy()
    for _ in range(N_ITERATIONS):
        u = 1 / p / (kernel @ v)
        v = 1 / p / (kernel.T @ u)
    return u[:, None] * kernel * v


def aligned(en: Floats, ar: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """CLFA: which pairs of features count as aligned, and all similarities, 1 - W1 / largest W1."""
    cost = wasserstein(en, ar)
    alike = 1 - cost / max(float(cost.max()), 1e-12)
    return (sinkhorn(cost) > 1 / cost.size) & (alike >= ALIKE), alike


def clfa(alignment: tuple[NDArray[np.bool_], Floats]) -> float:
    """Mean similarity of the aligned pairs; 0 without any."""
    pairs, alike = alignment
    return float(alike[pairs].mean()) if pairs.any() else 0.0


def clbas_published(alignment: tuple[NDArray[np.bool_], Floats], en: Floats, ar: Floats) -> float:
    """sum s |b_en - b_ar| / sum s over aligned pairs of features with biases b (p,): the lower, the more alike."""
    pairs, alike = alignment
    gap = np.abs(en[:, None] - ar[None])
    return float((alike * gap)[pairs].sum() / alike[pairs].sum()) if pairs.any() else 0.0


def bias(x: Floats, female: NDArray[np.bool_]) -> Floats:
    """Difference of means of each column, women - men."""
    return x[female].mean(0) - x[~female].mean(0)


def hbl(resid: Floats, female: NDArray[np.bool_]) -> float:
    """Bias attribution score of a component: mean over its units of |mean of men - mean of women|."""
    return float(np.abs(bias(resid, female)).mean())


def sbi(before: float, strength: float = STRENGTH) -> float:
    """Share of the bias that is reported as taken away: what is left is set to before x (1 - strength / 2), whatever
    the features."""
    return (before - before * (1 - strength * 0.5)) / before


def transport(en: Floats, ar: Floats, half: NDArray[np.bool_]) -> tuple[float, Floats]:
    """Mean correlation of partners on one half of the images, found on the other, both ways round; and of each pair."""
    found = []
    for side in (half, ~half):
        rows, columns = linear_sum_assignment(-_correlation(en[side], ar[side]))
        found.append(np.diagonal(_correlation(en[~side][:, rows], ar[~side][:, columns])))
    pairs = np.concatenate(found)
    return float(pairs.mean()), pairs


def _correlation(a: Floats, b: Floats) -> Floats:
    """Correlations (p, p) of the columns of both; 0 where one is constant."""
    a, b = (x - x.mean(0) for x in (a, b))
    size = np.outer(np.sqrt((a**2).sum(0)), np.sqrt((b**2).sum(0)))
    return np.divide(a.T @ b, size, out=np.zeros_like(size), where=size > 1e-9)


def earlier_rows(effects: Effects, resid: dict[str, Floats], seed: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Rows of earlier_scores without layer and view; ``resid`` (n_images, d_model) by language, of the same images."""
    rng, female, n = np.random.default_rng([*seed]), effects.female, len(effects.female)
    if not effects.x["en"].shape[1]:
        return
    size = np.maximum(*(np.abs(bias(effects.x[lang], female)) for lang in ("en", "ar")))
    chosen = np.argsort(-size, kind="stable")[: min(N_FEATURES, len(size))]
    en, ar = (effects.x[lang][:, chosen].astype(np.float64) for lang in ("en", "ar"))
    halves = [half_of(female, rng) for _ in range(N_DRAWS)]
    dealt = [female[rng.permutation(n)] for _ in range(N_DRAWS)]
    mixed = [rng.permutation(n) for _ in range(N_DRAWS)]
    own = aligned(en, ar)
    yield _row("clfa", "measured", [clfa(own)])
    yield _row("clfa", "images paired at random", [clfa(aligned(en, ar[m])) for m in mixed[:FEW]])
    twice = [(h, aligned(en[h], en[~h])) for h in halves[:FEW]]
    yield _row("clfa", "same language twice", [clfa(found) for _, found in twice])
    name = "clbas_published"
    yield _row(name, "measured", [clbas_published(own, bias(en, female), bias(ar, female))])
    yield _row(name, "labels shuffled", [clbas_published(own, bias(en, f), bias(ar, f)) for f in dealt])
    paired = [clbas_published(own, bias(en, female), bias(ar[m], female[m])) for m in mixed[:FEW]]
    yield _row(name, "images paired at random", paired)
    same = [clbas_published(found, bias(en[h], female[h]), bias(en[~h], female[~h])) for h, found in twice]
    yield _row(name, "same language twice", same)
    for lang, x in resid.items():
        yield _row(f"hbl_{lang}", "measured", [hbl(x, female)])
        yield _row(f"hbl_{lang}", "labels shuffled", [hbl(x, f) for f in dealt])
    for case in ("measured", "labels shuffled"):
        yield _row("sbi", case, [sbi(1.0)])
    yield _row("transport", "measured", [transport(en, ar, h)[0] for h in halves])
    yield _row(
        "transport", "images paired at random", [transport(en, ar[m], h)[0] for m, h in zip(mixed, halves, strict=True)]
    )
    yield _row("transport", "same language twice", [transport(en, en, h)[0] for h in halves[:FEW]])


def _row(score: str, case: str, draws: Sequence[float]) -> dict[str, Any]:
    """Mean of the draws with their central 95 %, one draw alone without a range."""
    low, high = map(float, percentile_interval(np.array(draws)))
    return {
        "score": score,
        "case": case,
        "value": float(np.mean(draws)),
        "low": low,
        "high": high,
        "n_draws": len(draws),
    }
