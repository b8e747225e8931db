"""Trained dictionaries of tokens whose features are known: what comes back, and what is named."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd

from core.nulls.recurrence import decoder_rows, recurrence_rows
from core.sae.modules import SAE
from core.scoreboard.dictionary import (
    D_SAE,
    N_FRESH,
    RECOVERED,
    TRAINING,
    World,
    again,
    labelled,
    make_world,
    matched,
    trained,
)
from core.scoreboard.worlds import Size, world

SIZES = (Size(N_FRESH, D_SAE),)  # tokens, features


@cache
def pair(steps: int = TRAINING.steps) -> tuple[World, SAE, SAE]:
    """A world and two dictionaries of it, which differ in their seed; with one step they have learned nothing."""
    known, config = make_world(0), replace(TRAINING, steps=steps)
    first, second = (trained(known, seed, config) for seed in (0, 1))
    return known, first, second


def _true_feature(rng: np.random.Generator, known: World, sae: SAE) -> int:
    of, cosine = matched(known, decoder_rows(sae))
    return int(rng.choice(of[cosine > RECOVERED]))


def _back(rng: np.random.Generator, known: World, first: SAE, second: SAE, feature: int) -> tuple[pd.DataFrame]:
    rows = pd.DataFrame(recurrence_rows(again(known, first, second, int(rng.integers(1 << 30)))))
    return (rows[rows["feature"] == feature].assign(seed=1),)


@world("true", "a feature of the world that was found", "nulls.recurs", sizes=SIZES, worlds=40)
def found(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    known, first, second = pair()
    return _back(rng, known, first, second, _true_feature(rng, known, first))


@world("false", "dictionaries that learned nothing", "nulls.recurs", sizes=SIZES, worlds=100)
def untrained(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _back(rng, *pair(1), int(rng.integers(size.d)))


def _named(rng: np.random.Generator, shuffled: bool) -> tuple[pd.DataFrame]:
    known, first, _ = pair()
    rows = labelled(known, first, int(rng.integers(1 << 30)), shuffled)
    return (pd.DataFrame([rows[_true_feature(rng, known, first)]]),)


@world("true", "a true feature, whose word is said", "gender.label", sizes=SIZES, worlds=40)
def said(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _named(rng, False)


@world("false", "a true feature, words of other tokens", "gender.label", sizes=SIZES, worlds=100)
def of_others(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _named(rng, True)
