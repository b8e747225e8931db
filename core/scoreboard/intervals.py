"""How often 95 % intervals hold the truth, at the sizes that are accepted: ``python -m core.scoreboard.intervals``.

Each row draws samples of which the truth is known and takes the interval that the app shows. *Shown*: samples of which
there is an interval at all, since means of values that hardly occur have none; coverage is over those. Asked is that at
most 1 - LEAST of all samples show an interval without the truth.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.stats import norm

from core.crosslingual.language import index_interval
from core.gender.effects import auc_and_p, auc_interval, mean_difference, sparse_ranks
from core.intervals import clopper_pearson, difference, mean_interval, wilson
from core.layers.measures import accuracy_ends, auc, auc_ends

Floats = NDArray[np.float64]
Ends = tuple[Floats, Floats]
SIZES = (10, 20, 50, 100)
FEWEST = 20  # samples with an interval, below which their coverage is no number
LEAST = 0.93  # coverage that is asked for at a nominal .95


class Row(NamedTuple):
    """Coverage of one interval for one truth at one size; ``shown`` is the share of samples that have an interval."""

    interval: str
    case: str
    n: str
    coverage: float
    shown: float
    width: float


def covered(name: str, case: str, n: str, ends: Ends, truth: float) -> Row:
    """Coverage of ``truth``, rounding at 0 and 1 forgiven; NaN where fewer than FEWEST samples have an interval."""
    low, high = (np.asarray(end, float) for end in ends)
    known = np.isfinite(low) & np.isfinite(high)
    inside = (low - 1e-9 <= truth) & (truth <= high + 1e-9)
    hit = float(inside[known].mean()) if known.sum() >= FEWEST else float("nan")
    return Row(name, case, n, hit, float(known.mean()), float((high - low)[known].mean()) if known.any() else hit)


def shares(rng: np.random.Generator, n_worlds: int) -> Iterator[Row]:
    """A share of images, and the difference of two."""
    for n in SIZES:
        for p in (0.01, 0.05, 0.3):
            yield covered("share", f"{p:g}", str(n), clopper_pearson(rng.binomial(n, p, n_worlds), n), p)
        for p, q in ((0.01, 0.01), (0.3, 0.05), (0.95, 0.8)):
            parts = []
            for share in (p, q):
                hits = rng.binomial(n, share, n_worlds)
                parts += [hits / n, *wilson(hits, n)]
            yield covered("difference of shares", f"{p:g} and {q:g}", f"{n} + {n}", difference(*parts)[1:], p - q)


def scores(rng: np.random.Generator, n_worlds: int) -> Iterator[Row]:
    """AUC of features of which every image has a value, normal with the same or with another spread."""
    for n in SIZES:
        for truth, spread in ((0.5, 1.0), (0.8, 1.0), (0.95, 1.0), (0.99, 1.0), (0.8, 3.0), (0.9, 1 / 3)):
            shift = norm.ppf(truth) * np.hypot(1, spread)
            x = np.vstack([rng.normal(shift, spread, (n, n_worlds)), rng.normal(0, 1, (n, n_worlds))])
            case = f"AUC {truth:g}" + ("" if spread == 1 else f", women's spread {spread:.2g} of men's")
            yield covered("AUC", case, f"{n} + {n}", _auc(np.exp(x.clip(-30, 30)), n), truth)


def _auc(x: Floats, n: int) -> Ends:
    female, codes = np.arange(2 * n) < n, csc_array(x.astype(np.float32))
    return auc_interval(codes, female, auc_and_p(sparse_ranks(codes), female)[0])


def _sparse(rng: np.random.Generator, n: int, rates: tuple[float, ...], n_worlds: int) -> Floats:
    """Activations (len(rates) n, n_worlds): an image of each group of ``n`` fires at its rate, exponentially."""
    rate = np.repeat(rates, n)[:, None]
    return rng.binomial(1, rate, (len(rate), n_worlds)) * rng.exponential(1, (len(rate), n_worlds))


def rare(rng: np.random.Generator, n_worlds: int) -> Iterator[Row]:
    """Features that fire seldom: AUC, and the difference of means of women and men (d is that, in fixed units)."""
    for n in SIZES[1:]:
        female = np.arange(2 * n) < n
        for p, q in ((0.02, 0.0), (0.05, 0.01), (0.1, 0.02), (0.3, 0.05), (0.5, 0.0), (0.9, 0.1)):
            x, case, size = _sparse(rng, n, (p, q), n_worlds), f"fires on {p:.0%} and {q:.0%}", f"{n} + {n}"
            yield covered("AUC", case, size, _auc(x, n), 0.5 + (p - q) / 2)
            yield covered("difference of means, d", case, size, mean_difference(csc_array(x), female)[1:], p - q)
        for name, x, truth in (
            ("normal", rng.normal(3.5, 1, (2 * n, n_worlds)) - 0.5 * ~female[:, None], 0.5),
            ("exponential, 2 and 1", rng.exponential(1, (2 * n, n_worlds)) * (1 + female[:, None]), 1.0),
        ):
            ends = mean_difference(csc_array(np.maximum(x, 1e-6)), female)[1:]
            yield covered("difference of means, d", name, f"{n} + {n}", ends, truth)


def means(rng: np.random.Generator, n_worlds: int) -> Iterator[Row]:
    """Means over images of values that are normal, skewed or rare."""
    cases: dict[str, tuple[Callable[[int], Floats], float]] = {
        "normal": (lambda n: rng.normal(1, 1, (n, n_worlds)), 1.0),
        "exponential": (lambda n: rng.exponential(1, (n, n_worlds)), 1.0),
        "exponential in 30 %, else 0": (lambda n: _sparse(rng, n, (0.3,), n_worlds), 0.3),
        "exponential in 10 %, else 0": (lambda n: _sparse(rng, n, (0.1,), n_worlds), 0.1),
        "exponential in 5 %, else 0": (lambda n: _sparse(rng, n, (0.05,), n_worlds), 0.05),
        "lognormal (0, 1)": (lambda n: rng.lognormal(0, 1, (n, n_worlds)), float(np.exp(0.5))),
    }
    for n in SIZES[1:]:
        for case, (draw, truth) in cases.items():
            yield covered("mean", case, str(n), mean_interval(draw(n))[1:], truth)


def indices(rng: np.random.Generator, n_worlds: int) -> Iterator[Row]:
    """The language index of features that fire on some 25 or 100 English captions."""
    for n, fires in ((30, 22), (100, 25), (300, 25), (300, 100)):
        for index in (-0.95, -0.8, -0.6, 0.0):
            rate = fires / n
            ratio = (1 + index) / (1 - index)
            en, ar = (csc_array(_sparse(rng, n, (min(1.0, r),), n_worlds)) for r in (rate, rate * ratio))
            enough = np.maximum(np.diff(en.indptr), np.diff(ar.indptr)) >= 20
            low, high = index_interval(en, ar)
            ends = np.where(enough, low, np.nan), np.where(enough, high, np.nan)
            yield covered("language index", f"{index:g}", f"{n}, fires on {fires}", ends, index)


def probes(rng: np.random.Generator, n_worlds: int) -> Iterator[Row]:
    """Held-out scores of five folds: AUC of pairs within a fold, and balanced accuracy."""
    n_worlds = min(n_worlds, 300)
    for n in SIZES[1:3]:
        female, fold = np.arange(2 * n) < n, np.arange(2 * n) % 5
        for truth in (0.5, 0.8, 0.95, 0.99):
            x = rng.normal(0, 1, (n_worlds, 2 * n)) + np.sqrt(2) * norm.ppf(truth) * (female - 0.5)
            counts = np.stack([rng.multinomial(2 * n, np.full(2 * n, 1 / (2 * n))) for _ in range(100)])
            weights = np.vstack([np.ones(2 * n), counts]).astype(float)
            ends = [auc_ends(auc(row, female, fold, weights), female, fold) for row in x]
            yield covered("AUC in folds", f"AUC {truth:g}", f"{n} + {n}", tuple(np.array(ends).T), truth)
            right = float(norm.cdf(norm.ppf(truth) / np.sqrt(2)))
            ends = [accuracy_ends(row, female, balanced=True) for row in x]
            yield covered("balanced accuracy", f"{right:.2f}", f"{n} + {n}", tuple(np.array(ends).T), right)


def missed(row: Row) -> float:
    """Share of all samples that show an interval without the truth."""
    return 0.0 if np.isnan(row.coverage) else row.shown * (1 - row.coverage)


TABLES = (shares, scores, rare, means, indices, probes)


def rows(n_worlds: int = 2000, seed: int = 0) -> Iterator[Row]:
    """Every row, tables in their order."""
    for number, table in enumerate(TABLES):
        yield from table(np.random.default_rng([seed, number]), n_worlds)


def main(n_worlds: int) -> int:
    """Print the table; 1 where more than 1 - LEAST of the samples show an interval that does not hold the truth."""
    print("| interval | truth | n | coverage | shown | mean width |\n|---|---|---|---|---|---|")
    short = 0
    for row in rows(n_worlds):
        short += missed(row) > 1 - LEAST + 2.6 * np.sqrt(LEAST * (1 - LEAST) / n_worlds)
        shown = "–" if np.isnan(row.coverage) else f"{row.coverage:.3f}"
        print(f"| {row.interval} | {row.case} | {row.n} | {shown} | {row.shown:.2f} | {row.width:.2f} |", flush=True)
    print(f"{short} rows miss the truth in more than {1 - LEAST:.2f}, by more than {n_worlds} samples explain.")
    return int(short > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
