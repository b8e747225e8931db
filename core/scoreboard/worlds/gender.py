"""Features that know a woman from a man, and features that know nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csc_array, csr_array

from core.config import GenderConfig
from core.features.labels import Candidates, label_rows
from core.figures.gender import agreement_frame
from core.gender.effects import (
    Images,
    auc_and_p,
    auc_interval,
    cell_scores,
    holds_by_chance,
    shuffled_aucs,
    sparse_ranks,
)
from core.gender.findings import is_finding
from core.gender.pairs import lifts
from core.gender.rankings import agreement
from core.intervals import q_values
from core.scoreboard.worlds import LANGS, Size, along, world

FDR = 0.05
ALIKE = 0.3  # correlation of any two features over the images
CONFIG = GenderConfig()


def _codes(rng: np.random.Generator, n: int, d: int, knows: int, strength: float) -> tuple[csc_array, np.ndarray]:
    """Codes of ``d`` features on ``n`` images of each gender: 60 % zeros; the first ``knows`` are shifted for women, by
    ``strength`` to twice as much."""
    female = np.repeat([True, False], n)
    x = np.sqrt(ALIKE) * rng.standard_normal((2 * n, 1)) + np.sqrt(1 - ALIKE) * rng.standard_normal((2 * n, d))
    x[:n, :knows] += strength * np.linspace(2, 1, knows)
    return _fired(x), female


def _fired(x: np.ndarray, scale: np.ndarray | float = 1.0) -> csc_array:
    return csc_array(np.where(x > 0.25, scale * np.exp(x), 0).astype(np.float32))


def _cell(rng: np.random.Generator, size: Size, knows: int, lang: str = "en") -> pd.DataFrame:
    """gender_features of one layer, view and language; four times as many training images as held-out ones."""
    train, female = _codes(rng, 2 * size.n, size.d, knows, 1.0)
    auc, p = auc_and_p(sparse_ranks(train), female)
    test, held_out = _codes(rng, size.n, size.d, knows, 1.0)
    auc_test, p_test = auc_and_p(sparse_ranks(test), held_out)
    low, high = auc_interval(test, held_out, auc_test)
    columns = {"auc_train": auc, "p_train": p, "q_train": q_values(p), "auc_test": auc_test, "p_test": p_test}
    columns |= {"auc_low_test": low, "auc_high_test": high}
    frame = pd.DataFrame(columns).assign(feature=np.arange(size.d), lang=lang, view="before", why="")
    frame["shuffled_holds"] = holds_by_chance(test, held_out, auc - 0.5, shuffled_aucs(test, held_out, [size.n]))
    frame["finding"], frame["direction"] = is_finding(columns, FDR), np.where(auc > 0.5, "female", "male")
    return frame.assign(**{f"n_{g}_{s}": size.n * (1 + (s == "train")) for g in ("female", "male") for s in SPLITS})


SPLITS = ("train", "test")
SIZES = along(ds=(640, 2560), at=Size(140, 192))
SMALL = along((20, 140), at=Size(140, 192))


@world("false", "no feature knows gender", "gender.features", sizes=SIZES, worlds=40)
def nothing(rng: np.random.Generator, size: Size) -> tuple:
    return _cell(rng, size, 0), FDR, 3, "en", "before"


@world("true", "eight features know gender", "gender.features", sizes=SIZES, worlds=20)
def eight(rng: np.random.Generator, size: Size) -> tuple:
    return _cell(rng, size, 8), FDR, 3, "en", "before"


def _one(rng: np.random.Generator, size: Size, knows: int) -> tuple[pd.DataFrame, str]:
    rows = [_cell(rng, size, knows, lang) for lang in LANGS]
    return pd.concat([r[r["feature"] == 0] for r in rows], ignore_index=True), "before"


@world("false", "no feature knows gender", "gender.feature", sizes=SMALL, worlds=100)
def blind(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, str]:
    return _one(rng, size, 0)


@world("true", "this feature knows gender", "gender.feature", sizes=SMALL, worlds=40)
def knowing(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame, str]:
    return _one(rng, size, 1)


def _lift(rng: np.random.Generator, size: Size, women: float) -> tuple[dict[str, Any]]:
    n_top = max(2 * CONFIG.n_matched, CONFIG.min_images)
    p = women / (women + 1)
    hits = int(rng.hypergeometric(size.n, size.n, n_top)) if women == 1 else int(rng.binomial(n_top, p))
    row: dict[str, Any] = {"n_top": n_top, "n_top_female": hits, "n_female": size.n, "n_male": size.n}
    empty = {f"lift_{g}{end}": None for g in ("female", "male") for end in ("", "_low", "_high")}
    return (row | empty | lifts([row], size.n, size.n, CONFIG)[0],)


@world("false", "its strongest images are any", "gender.lift", sizes=along(), worlds=400)
def any_images(rng: np.random.Generator, size: Size) -> tuple[dict[str, Any]]:
    return _lift(rng, size, 1.0)


@world("true", "four of five of its strongest show women", "gender.lift", sizes=along(), worlds=100)
def women(rng: np.random.Generator, size: Size) -> tuple[dict[str, Any]]:
    return _lift(rng, size, 4.0)


def _rankings(rng: np.random.Generator, size: Size, most: float) -> tuple[pd.DataFrame]:
    """Features of different sizes, shifted for women by 0 to ``most``."""
    n = 6 * size.n
    female, is_train = np.arange(n) % 2 == 0, np.arange(n) < 4 * size.n
    x = np.sqrt(ALIKE) * rng.standard_normal((n, 1)) + np.sqrt(1 - ALIKE) * rng.standard_normal((n, size.d))
    x[female] += rng.uniform(0, most, size.d)
    x = _fired(x, rng.lognormal(0, 0.5, size.d))
    images = Images(np.arange(n, dtype=np.int32), np.ones(n, np.float32), np.where(female, "female", "male"), is_train)
    columns, shuffled = cell_scores(x, images, CONFIG, [0])
    columns |= {f"effect_{s}": np.full(size.d, np.nan) for s in SPLITS}
    return (agreement_frame(pd.DataFrame(agreement(columns, shuffled))),)


@world("false", "no feature knows gender", "gender.rankings agree", sizes=along((50,), at=Size(50, 192)), worlds=100)
def no_ranking(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _rankings(rng, size, 0.0)


@world(
    "true", "all know gender, more or less", "gender.rankings agree", sizes=along((50,), at=Size(50, 192)), worlds=20
)
def ranking(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _rankings(rng, size, 3.0)


def _labels(rng: np.random.Generator, size: Size, told: bool) -> tuple[pd.DataFrame]:
    """A feature and ``d`` words, a third of which say something of each other."""
    n, rows = 4 * size.n, []
    fires = rng.random(n) < 0.5
    train = np.arange(n) % 2 == 0
    for number, lang in enumerate(LANGS):
        there = rng.random((n, size.d)) < rng.uniform(0.05, 0.6, size.d)
        if told:
            there[:, 0] = np.where(rng.random(n) < 0.1, ~fires, fires)
        names = tuple(f"word {i}" for i in range(size.d))
        words = Candidates(
            lang, names, ("word",) * size.d, csr_array(there.astype(np.float32)), 2 * np.arange(n) + number, train
        )
        code = np.repeat(fires, 2).astype(np.float32)[:, None]
        rows += label_rows({"caption": csc_array(code)}, words, CONFIG.label_auc)
    return (pd.DataFrame(rows),)


@world(
    "false", "no word tells when it fires", "gender.label", sizes=along((20, 140), (640,), at=Size(50, 192)), worlds=60
)
def no_word(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _labels(rng, size, False)


@world(
    "true", "one word tells nine firings of ten", "gender.label", sizes=along((20, 140), at=Size(50, 192)), worlds=30
)
def one_word(rng: np.random.Generator, size: Size) -> tuple[pd.DataFrame]:
    return _labels(rng, size, True)
