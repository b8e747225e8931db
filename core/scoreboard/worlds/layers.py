"""Residuals from which gender can be read by a probe or by the model's own words, and residuals that hold none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from core.config import LayersConfig
from core.layers.lens import LensScores, LogitLens
from core.layers.measures import emergence, with_q
from core.layers.probes import TransformerProbeAnalyzer
from core.mech.exchange import N_SHUFFLED, share_row
from core.scoreboard.worlds import LANGS, Size, along, world

CONFIG = LayersConfig(n_folds=3, n_bootstrap=60, n_controls=2, min_per_type=2)
N_TYPES = 12  # of images, for the control task
SHARED = 0.5  # of the images' accidents, between the languages
VIEWS = ("image", "before")


def _residuals(rng: np.random.Generator, size: Size, strength: float, of_lang: bool = False) -> dict[str, np.ndarray]:
    """Residuals by language: gender shifts one direction, a direction of its own in each where ``of_lang``."""
    female = np.repeat([1.0, -1.0], size.n)
    common = rng.standard_normal((2 * size.n, size.d))
    found = {}
    for i, lang in enumerate(LANGS):
        x = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * rng.standard_normal(common.shape)
        x[:, i if of_lang else 0] += strength * female
        found[lang] = x
    return found


def _probes(
    rng: np.random.Generator,
    size: Size,
    strength: float,
    views: tuple[str, ...],
    of_lang: bool = False,
    told_by_type: bool = False,
) -> list[dict[str, Any]]:
    female = np.repeat([True, False], size.n)
    kind = rng.integers(0, N_TYPES, 2 * size.n)
    if told_by_type:  # women are beside things of the first half in three images of four, men in one
        first = rng.random(2 * size.n) < np.where(female, 0.75, 0.25)
        kind = kind // 2 + np.where(first, 0, N_TYPES // 2)
    analyzer = TransformerProbeAnalyzer(female, kind=kind, config=CONFIG)
    rows: list[dict[str, Any]] = []
    for layer in range(size.layers):
        for view in views:
            resid = _residuals(rng, size, strength, of_lang)
            if told_by_type:
                things = 4 * rng.standard_normal((N_TYPES, size.d)) / np.sqrt(size.d) * np.sqrt(N_TYPES)
                resid = {lang: x + things[kind] for lang, x in resid.items()}
            found = analyzer.analyze(resid)
            rows += [{"layer": layer, "view": view, **row} for row in found]
    with_q(rows, [])
    return rows


def _carried(
    rng: np.random.Generator, size: Size, strength: float, told_by_type: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = _probes(rng, size, strength, VIEWS, told_by_type=told_by_type)
    return pd.DataFrame(rows), pd.DataFrame(emergence(rows, []))


FEW = along((20, 50), at=Size(20, 48, 2))
WIDE = along((20, 50), (640,), (12,), at=Size(20, 48, 2))


@world("false", "no layer holds gender", "layers.carried", sizes=WIDE, worlds=60)
def nothing(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return _carried(rng, size, 0.0)


@world("false", "layers hold things, of which some go with women", "layers.carried", sizes=FEW, worlds=60)
def by_heart(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return _carried(rng, size, 0.0, told_by_type=True)


@world("true", "every layer holds gender", "layers.carried", sizes=FEW, worlds=10)
def everywhere(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return _carried(rng, size, 1.5)


@world("false", "each language has a direction of its own", "layers.transfer", sizes=FEW, worlds=60)
def apart(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return (pd.DataFrame(_probes(rng, size, 1.5, ("before",), True)),)


@world("true", "one direction in both languages", "layers.transfer", sizes=FEW, worlds=10)
def one(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return (pd.DataFrame(_probes(rng, size, 1.5, ("before",))),)


def _seen(rng: np.random.Generator, size: Size, strength: float) -> tuple[pd.DataFrame]:
    """An image's states in three layers of a tower and behind the projector, with the pixels' accidents in all."""
    female, kind = np.repeat([True, False], size.n), rng.integers(0, 20, 2 * size.n)
    analyzer = TransformerProbeAnalyzer(female, kind=kind, config=CONFIG)
    pixels = rng.standard_normal((2 * size.n, size.d))
    rows: list[dict[str, Any]] = []
    for number, (view, layer) in enumerate((("tower", 0), ("tower", 1), ("tower", 2), ("projector", -1))):
        x = np.sqrt(SHARED) * pixels + np.sqrt(1 - SHARED) * rng.standard_normal(pixels.shape)
        x[:, number] += strength * np.where(female, 1, -1)
        rows += [{"layer": layer, "view": view, **row} for row in analyzer.analyze(dict.fromkeys(LANGS, x))]
    with_q(rows, [])
    return (pd.DataFrame(rows),)


@world("false", "no image token holds gender", "layers.vision", sizes=FEW, worlds=100)
def unseen(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _seen(rng, size, 0.0)


@world("true", "tower and projector hold gender", "layers.vision", sizes=FEW, worlds=10)
def seen(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _seen(rng, size, 1.5)


def _exchanged(rng: np.random.Generator, size: Size, carried: float) -> tuple[pd.DataFrame]:
    """What captions lose by an exchange of image tokens; every direction carries some of it, the gender's ``carried``
    more. Images lose more or less in both languages alike."""
    common = rng.standard_normal(size.n)
    rows = []
    for lang in LANGS:
        whole = 3 + np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * rng.standard_normal(size.n)
        shares = rng.gamma(1.0, 0.1, 1 + N_SHUFFLED)
        shares[0] += carried
        effects = shares[:, None] * whole + 0.3 * rng.standard_normal((1 + N_SHUFFLED, size.n))
        key = {"lang": lang, "site": "projector", "layer": -1, "change": "direction", "n_images": size.n, "why": ""}
        rows.append({**key, **share_row(whole, effects[0], effects[1:])})
    return (pd.DataFrame(rows),)


EXCHANGED = along((20, 50, 140), at=Size(50))


@world("false", "the gender's direction carries what any does", "layers.image direction", sizes=EXCHANGED)
def like_any(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _exchanged(rng, size, 0.0)


@world("true", "the gender's direction carries half", "layers.image direction", sizes=EXCHANGED, worlds=40)
def carries(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _exchanged(rng, size, 0.5)


class _NoModel:
    """Scores are given; the lens asks its model nothing."""

    def logits(self, resid: Any) -> Any:
        raise NotImplementedError

    def token_strings(self, ids: Any) -> list[str]:
        raise NotImplementedError


def _lens(rng: np.random.Generator, size: Size, strength: float) -> tuple[pd.DataFrame]:
    """Log-odds at the word; five pairs of words, each with a level of its own, women and men unequally often."""
    lens, female = LogitLens(_NoModel(), CONFIG), np.repeat([True, False], size.n)
    gender = np.where(female, "female", "male")
    rows = []
    for lang in LANGS:
        pair = np.where(female, rng.binomial(4, 0.6, 2 * size.n), rng.binomial(4, 0.4, 2 * size.n))
        level = rng.standard_normal(5)
        base = rng.standard_normal(2 * size.n)
        for layer in range(size.layers):
            noise = np.sqrt(0.5) * base + np.sqrt(0.5) * rng.standard_normal(2 * size.n)
            difference = level[pair] + noise + strength * np.where(female, 1, -1)
            random = rng.standard_normal((10, 1)) * level[pair] + rng.standard_normal((10, 2 * size.n))
            rank, entropy = np.ones(2 * size.n, np.int64), np.ones(2 * size.n)
            scores = LensScores(difference, rank, entropy, random, pair, 0.0)
            rows.append({"layer": layer, "position": "word", "lang": lang, **lens.summarise(scores, gender)})
    with_q([], rows)
    return (pd.DataFrame(emergence([], rows)),)


LENS = along((20, 50, 140), layers=(1, 34), at=Size(50, 0, 4))


@world("false", "words tell nothing beyond their choice", "layers.lens", sizes=LENS, worlds=40)
def untold(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _lens(rng, size, 0.0)


@world("true", "words tell gender at every layer", "layers.lens", sizes=LENS, worlds=10)
def told(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _lens(rng, size, 1.5)
