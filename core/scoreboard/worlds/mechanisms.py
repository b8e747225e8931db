"""Heads, MLPs, pairs of features and gradients, with and without an effect of gender."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from core.config import MechanismsConfig
from core.mech.heads import DirectEffects, Part, effect_rows, with_q
from core.mech.interactions import interaction
from core.mech.patching import agreement
from core.scoreboard.worlds import LANGS, N, Size, along, world

SETTINGS = MechanismsConfig(n_bootstrap=200, min_images=20)
HEADS = 4
SHARED = 0.5  # of the images' accidents, between the languages
PLANTED = Part(0, "head", 1)


def _parts(layers: int) -> list[Part]:
    found = [Part(-1, "embedding", -1)]
    for layer in range(layers):
        found += [Part(layer, "head", head) for head in range(HEADS)] + [Part(layer, "mlp", -1)]
    return found


def effects(rng: np.random.Generator, size: Size, strength: float) -> pd.DataFrame:
    """head_effects of both languages, whose images are the same; the planted head alone adds ``strength`` by gender.

    Parts differ in size as in trained models (log-normal), and share of the noise lies in the images.
    """
    n, parts = 4 * size.n, _parts(size.layers)  # a gender, each half held out
    female, held_out = np.arange(n) % 2 == 0, np.arange(n) % 4 < 2
    scale = rng.lognormal(0, 1, len(parts)).astype(np.float32)
    common = rng.standard_normal((n, len(parts)), np.float32)
    rows: list[dict[str, Any]] = []
    for number, lang in enumerate(LANGS):
        own = rng.standard_normal((n, len(parts)), np.float32)
        x = (np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own) * scale
        at = parts.index(PLANTED)
        x[:, at] = x[:, at] / scale[at] + np.where(female, strength, -strength)
        random = rng.standard_normal((n, 20, len(parts)), np.float32) * scale * 0.3
        shares = np.concatenate([x[:, None], random], 1)
        attention = np.full((n, size.layers, HEADS, 4), 0.1, np.float32)
        found = DirectEffects(shares, shares.sum(2), shares[:, 0].sum(1), attention)
        pair = rng.integers(0, 3, n)
        rows += effect_rows(
            found, parts, lang, female, held_out, np.full(n, 20), SETTINGS, [int(pair[0]), number], pair
        )
    with_q(rows, 0.05)
    return pd.DataFrame(rows)


SIZES = along(N, layers=(1, 34), at=Size(50, 0, 8))


@world("false", "no part reads gender", "mechanisms.part", "mechanisms.alike", sizes=SIZES, worlds=40, thin=True)
def nothing(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return (effects(rng, size, 0.0),)


@world("true", "one head writes gender", "mechanisms.part", sizes=SIZES, worlds=20, thin=True)
def one_head(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return (effects(rng, size, 1.5),)


def _alike(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    """Each part has an effect of its own, the same in both languages."""
    parts = _parts(size.layers)
    truth = rng.normal(0, 0.5, len(parts))
    rows = []
    for lang in LANGS:
        seen = truth + rng.normal(0, 1 / np.sqrt(size.n), len(parts))
        told = {"lang": lang, "why": "", "low": -1.0, "high": 1.0, "random_low": -1.0, "random_high": 1.0}
        told |= {"n_female": size.n, "n_male": size.n, "finding": False}
        rows += [{**p._asdict(), **told, "effect": e, "effect_train": e} for p, e in zip(parts, seen, strict=True)]
        total = float(seen.sum())
        rows.append({**Part(-1, "all", -1)._asdict(), **told, "effect": total, "effect_train": total})
    return (pd.DataFrame(rows),)


world("true", "the same parts write gender", "mechanisms.alike", sizes=along(at=Size(140, 0, 8)), worlds=60)(_alike)


def _head(rng: np.random.Generator, size: Size, strength: float) -> tuple[dict[str, Any], pd.DataFrame]:
    table = effects(rng, size, strength)
    mine = table[(table["layer"] == PLANTED.layer) & (table["head"] == PLANTED.head) & (table["lang"] == "en")]
    return dict(mine.iloc[0]), pd.DataFrame()


@world("false", "no part reads gender", "mechanisms.head", sizes=along((50,), at=Size(50, 0, 2)), worlds=120, thin=True)
def blind_head(rng: np.random.Generator, size: Size) -> tuple[dict[str, Any], pd.DataFrame]:
    return _head(rng, size, 0.0)


@world(
    "true", "this head writes gender", "mechanisms.head", sizes=along((50,), at=Size(50, 0, 2)), worlds=40, thin=True
)
def writing_head(rng: np.random.Generator, size: Size) -> tuple[dict[str, Any], pd.DataFrame]:
    return _head(rng, size, 1.5)


def _pairs(rng: np.random.Generator, size: Size, beyond: float) -> tuple[pd.DataFrame]:
    """Ten pairs of strong features and ten others; what both do differs from the sum by ``beyond`` of their size."""
    rows = []
    for kind in ("top", "control"):
        for number in range(10):
            a, b = rng.gamma(2, 0.5, size.n), rng.gamma(2, 0.5, size.n)
            more = beyond if kind == "top" else 0.0
            both = (a + b) * (1 + more) + rng.normal(0, 0.05, size.n)
            rows.append({"kind": kind, "n_ablated": size.n, **interaction(a, b, both, 200, [number])})
    return (pd.DataFrame(rows),)


@world("false", "effects of features add up", "mechanisms.pairs interact", sizes=along(), worlds=60, thin=True)
def additive(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _pairs(rng, size, 0.0)


@world("true", "effects of features add up", "mechanisms.pairs add up", sizes=along(), worlds=40, thin=True)
def additive_said(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _pairs(rng, size, 0.0)


@world("false", "pairs do half as much again", "mechanisms.pairs add up", sizes=along(), worlds=60, thin=True)
def interacting(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _pairs(rng, size, 0.5)


@world("true", "pairs do half as much again", "mechanisms.pairs interact", sizes=along(), worlds=40, thin=True)
def interacting_said(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _pairs(rng, size, 0.5)


def _checks(rng: np.random.Generator, size: Size, r: float) -> tuple[pd.DataFrame]:
    """patching_checks of two layers in both languages: gradients that tell ablations with correlation ``r``."""
    rows = []
    for layer in (1, 3):
        for lang in LANGS:
            truth = rng.standard_normal(40)
            told = r * truth + np.sqrt(1 - r**2) * rng.standard_normal(40)
            noise = rng.standard_normal((2, size.n, 40)) * 0.5
            found = agreement(told + noise[0], truth + noise[1], 200, [layer])
            rows.append({"layer": layer, "lang": lang, "chosen": "all", "method": "gradient", "n": 40} | found)
            rows[-1] |= {"n_images": size.n}
    return (pd.DataFrame(rows),)


@world(
    "false", "gradients tell nothing of ablations", "mechanisms.gradient", sizes=along((20, 140)), worlds=60, thin=True
)
def untold(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _checks(rng, size, 0.0)


@world("true", "gradients tell ablations", "mechanisms.gradient", sizes=along((20, 140)), worlds=20, thin=True)
def told(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _checks(rng, size, 0.9)
