"""Heads, MLPs, pairs of features and gradients, with and without an effect of gender."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from core.config import Config, MechanismsConfig
from core.mech import part_agreement
from core.mech.heads import DirectEffects, Part, effect_rows, with_findings
from core.mech.interactions import interaction
from core.mech.patching import agreement
from core.scoreboard.worlds import LANGS, N, Size, along, world

SETTINGS = MechanismsConfig(n_bootstrap=200, n_permutations=999, min_images=20)
HEADS = 4
SHARED = 0.5  # of the images' accidents, between the languages
PLANTED = Part(0, "head", 1)


def _parts(layers: int) -> list[Part]:
    found = [Part(-1, "embedding", -1)]
    for layer in range(layers):
        found += [Part(layer, "head", head) for head in range(HEADS)] + [Part(layer, "mlp", -1)]
    return found


def effects(
    rng: np.random.Generator, size: Size, strength: Mapping[str, Mapping[Part, float]], alike: bool = True
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """head_effects and part_agreement of two languages, whose images are the same; parts add ``strength`` by gender,
    given by language and in spreads of the part. Without ``alike`` no part_agreement, which takes longest.

    Parts differ in size as in trained models (log-normal), and share of the noise lies in the images.
    """
    n, parts = 4 * size.n, _parts(size.layers)  # a gender, each half held out
    female, held_out = np.arange(n) % 2 == 0, np.arange(n) % 4 < 2
    scale = rng.lognormal(0, 1, len(parts)).astype(np.float32)
    common = rng.standard_normal((n, len(parts)), np.float32)
    rows: list[dict[str, Any]] = []
    shares: list[dict[str, Any]] = []
    for number, lang in enumerate(LANGS):
        own = rng.standard_normal((n, len(parts)), np.float32)
        true = np.array([strength.get(lang, {}).get(part, 0.0) for part in parts])
        noise = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own
        x = (noise + np.outer(np.where(female, 1, -1), true)) * scale
        random = rng.standard_normal((n, 20, len(parts)), np.float32) * scale * 0.3
        both = np.concatenate([x[:, None], random], 1)
        attention = np.full((n, size.layers, HEADS, 4), 0.1, np.float32)
        found = DirectEffects(both, both.sum(2), both[:, 0].sum(1), attention)
        pair = rng.integers(0, 3, n)
        rows += effect_rows(
            found, parts, lang, female, held_out, np.full(n, 20), SETTINGS, [int(pair[0]), number], pair
        )
        for i in range(min(n, Config().mechanisms.n_images)):
            gender = "female" if female[i] else "male"
            shares.append({"lang": lang, "sample_id": i, "gender": gender, "pair": pair[i], "shares": x[i, 1:]})
    with_findings(rows, 0.05)
    return pd.DataFrame(rows), pd.DataFrame(part_agreement.rows(rows, shares, Config()) if alike else [])


SIZES = along(N, layers=(1, 34), at=Size(50, 0, 8))


@world("false", "no part reads gender", "mechanisms.alike", sizes=SIZES, worlds=40, thin=True)
def nothing(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return effects(rng, size, {})


@world("false", "no part reads gender", "mechanisms.part", sizes=SIZES, worlds=100, thin=True)
def no_part(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return effects(rng, size, {}, alike=False)


@world("true", "one head writes gender", "mechanisms.part", sizes=SIZES, worlds=20, thin=True)
def one_head(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return effects(rng, size, {lang: {PLANTED: 1.5} for lang in LANGS}, alike=False)


@world("false", "another head in either language", "mechanisms.alike", sizes=SIZES, worlds=40, thin=True)
def other_heads(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    return effects(rng, size, {"en": {PLANTED: 1.5}, "ar": {Part(0, "head", 2): 1.5}})


@world("true", "the same parts write gender", "mechanisms.alike", sizes=SIZES, worlds=20, thin=True)
def alike(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Each part has an effect of its own, the same in both languages."""
    truth = {part: float(rng.normal(0, 0.5)) for part in _parts(size.layers)[1:]}
    return effects(rng, size, dict.fromkeys(LANGS, truth))


def _head(rng: np.random.Generator, size: Size, strength: float) -> tuple[dict[str, Any], pd.DataFrame]:
    table, _ = effects(rng, size, {lang: {PLANTED: strength} for lang in LANGS}, alike=False)
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
        for _ in range(10):
            a, b = rng.gamma(2, 0.5, size.n), rng.gamma(2, 0.5, size.n)
            more = beyond if kind == "top" else 0.0
            both = (a + b) * (1 + more) + rng.normal(0, 0.05, size.n)
            rows.append({"kind": kind, "n_ablated": size.n, **interaction(a, b, both)})
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
