"""Captions under edits of features, which change gender more than matched controls do, or no more."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
from scipy.stats import norm

from core.interventions.designs import LESS_BOTH, LESS_LOWER, LESS_UNTRAINED, LESS_UPPER, UNTRAINED
from core.interventions.statistics import Figure, compare, paired
from core.interventions.tables import verdicts_table
from core.scoreboard.worlds import LANGS, Size, along, world

CONTROLS, DRAWS = 19, 200
SPREAD = 0.03  # of the share of captions that control sets change
SHARED = 0.5  # of what makes a caption easy to change, between arms


def design(
    rng: np.random.Generator,
    n: int,
    target: float,
    control: float,
    key: dict,
    controls: int = CONTROLS,
    image: np.ndarray | None = None,
    changed: list[np.ndarray] | None = None,
) -> list[dict]:
    """Rows of intervention_effects of one design in both languages, of which nothing is damaged.

    ``image`` is what is easy about the images (n,); which of them the target changes is put into ``changed``.
    """
    rows = []
    image = rng.standard_normal(n) if image is None else image
    for lang in LANGS:
        p = np.clip(rng.normal(control, SPREAD, controls + 1), 1e-3, 1 - 1e-3)
        if target != control:
            p[0] = target
        own = rng.standard_normal((controls + 1, n))
        top = np.zeros((controls + 2, n))
        top[1:] = np.sqrt(SHARED) * image + np.sqrt(1 - SHARED) * own < norm.ppf(p)[:, None]
        if changed is not None:
            changed.append(top[1] > 0)
        figures = {"clean": Figure(top, np.ones_like(top)), "changed": Figure(top, np.ones_like(top))}
        figures["damaged"] = Figure(np.zeros_like(top), np.ones_like(top))
        for outcome, figure in figures.items():
            found = asdict(compare(figure, DRAWS, 0))
            rows.append({**key, "lang": lang, "outcome": outcome, **found, "p_adjusted": found["p_specific"]})
    return rows


def keyed(design: int, **given: object) -> dict:
    base = {"design": design, "part": "sets", "note": "", "method": "features", "mode": "swap", "sets": "own"}
    return base | {"k": 25, "layer": 3, "strength": 1.0} | given


def _headline(rng: np.random.Generator, size: Size, target: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    effects = pd.DataFrame(design(rng, size.n, target, 0.2, keyed(0, note="headline")))
    return effects, verdicts_table(effects)


@world("false", "targets change no more than controls", "interventions.specific", sizes=along(), worlds=60, thin=True)
def no_more(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return _headline(rng, size, 0.2)


@world("true", "targets change 60 %, controls 20 %", "interventions.specific", sizes=along(), worlds=20, thin=True)
def more(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return _headline(rng, size, 0.6)


def _untrained(rng: np.random.Generator, size: Size, spread: float, random: float) -> tuple[pd.DataFrame, ...]:
    """The SAE is one dictionary of which ``spread`` is by how much they differ in what their features change."""
    image, rows, n = rng.standard_normal(size.n), [], 6
    for lang in LANGS:
        p = np.clip(rng.normal(random, spread, n), 0.01, 0.99)
        if spread == 0:
            p[0] = 0.6
        own = rng.standard_normal((n, size.n))
        top = np.zeros((n + 1, size.n))
        top[1:] = np.sqrt(SHARED) * image + np.sqrt(1 - SHARED) * own < norm.ppf(p)[:, None]
        found = asdict(paired(Figure(top, np.ones_like(top))))
        rows.append({"comparison": LESS_UNTRAINED, "lang": lang, "outcome": "clean", **found})
    effects = pd.DataFrame(design(rng, size.n, 0.3, 0.1, keyed(0, note=UNTRAINED)))
    return effects, verdicts_table(effects), pd.DataFrame(rows)


@world("false", "the SAE is one more random dictionary", "interventions.trained", sizes=along(), worlds=200, thin=True)
def as_random(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, ...]:
    return _untrained(rng, size, 0.05, 0.3)


@world("true", "the SAE changes 60 %, random ones 20 %", "interventions.trained", sizes=along(), worlds=20, thin=True)
def beyond_random(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, ...]:
    return _untrained(rng, size, 0.0, 0.2)


def _pair(rng: np.random.Generator, size: Size, more: float) -> tuple[pd.DataFrame]:
    """Two layers that change 30 % and 40 % alone; together ``more`` than the captions that one of them changes."""
    image, rows = rng.standard_normal(size.n), []
    seen = norm.ppf([0.3, 0.4]) / np.sqrt(1 - SHARED)
    ease = np.sqrt(SHARED / (1 - SHARED)) * rng.standard_normal(20_000)
    both = 1 - np.prod([norm.sf(cut - ease) for cut in seen], axis=0).mean()
    for lang in LANGS:
        own = rng.standard_normal((3, size.n))
        top = np.zeros((4, size.n))
        p = np.array([both + more, 0.3, 0.4])
        top[1:] = np.sqrt(SHARED) * image + np.sqrt(1 - SHARED) * own < norm.ppf(p)[:, None]
        figure = Figure(top, np.ones_like(top))
        for name, arms, how in (
            (LESS_LOWER, [0, 1, 2], "mean"),
            (LESS_UPPER, [0, 1, 3], "mean"),
            *((name, [0, 1, 2, 3], how) for name, how in LESS_BOTH),
        ):
            found = asdict(paired(Figure(figure.top[arms], figure.bottom[arms]), how))
            rows.append({"comparison": name, "lang": lang, "outcome": "clean", **found})
    return (pd.DataFrame(rows),)


@world("false", "both change what either does", "interventions.two layers", sizes=along(), worlds=200, thin=True)
def as_either(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _pair(rng, size, 0.0)


@world("true", "both change 30 % more than either", "interventions.two layers", sizes=along(), worlds=20, thin=True)
def beyond_either(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _pair(rng, size, 0.3)


def _ways(rng: np.random.Generator, size: Size, means: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    image, first, second = rng.standard_normal(size.n), [], []
    rows = design(rng, size.n, 0.5, 0.1, keyed(0, note="headline"), image=image, changed=first)
    key = keyed(1, method="difference of means", part="directions")
    rows += design(rng, size.n, means, 0.1, key, image=image, changed=second)
    rows += design(rng, size.n, 0.2, 0.1, keyed(2, method="neutral prompt", mode="", part="prompts"), controls=0)
    pairs = [
        {
            "lang": lang,
            "n": size.n,
            "both": (a & b).sum(),
            "only_first": (a & ~b).sum(),
            "only_second": (b & ~a).sum(),
        }
        for lang, a, b in zip(LANGS, first, second, strict=True)
    ]
    return pd.DataFrame(rows), pd.DataFrame(pairs)


@world("false", "features and means change as much", "interventions.ways apart", sizes=along(), worlds=40, thin=True)
def as_much(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return _ways(rng, size, 0.5)


@world("true", "features change 50 %, means 20 %", "interventions.ways apart", sizes=along(), worlds=20, thin=True)
def ways_apart(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return _ways(rng, size, 0.2)


@world(
    "false",
    "features change 50 %, means 20 %",
    "interventions.ways",
    sizes=along((140, 400, 1000)),
    worlds=80,
    thin=True,
)
def not_alike(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return _ways(rng, size, 0.2)


@world(
    "true",
    "features and means change as much",
    "interventions.ways",
    sizes=along((140, 400, 1000)),
    worlds=20,
    thin=True,
)
def ways_alike(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return _ways(rng, size, 0.5)


def _transfer(rng: np.random.Generator, size: Size, crossed: float) -> tuple[pd.DataFrame]:
    rows = design(rng, size.n, 0.6, 0.1, keyed(0, note="headline"))
    rows += design(rng, size.n, crossed, 0.1, keyed(1, part="transfer", sets="cross"))
    return (pd.DataFrame(rows),)


@world(
    "false", "the other language's features do nothing", "interventions.transfer", sizes=along(), worlds=60, thin=True
)
def own_only(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _transfer(rng, size, 0.1)


@world(
    "true", "the other language's features change 50 %", "interventions.transfer", sizes=along(), worlds=20, thin=True
)
def crossed(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _transfer(rng, size, 0.5)
