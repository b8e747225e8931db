"""Other things that images show, compared between the languages as gender is: is it gender that they share?"""

from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_array

from core.answers.nulls import LESS, MORE, others_answer
from core.nulls.beside import beside_others
from core.nulls.codes import VIEWS
from core.nulls.contrasts import balanced, contrast_rows, gender_contrast, other_contrasts

N, D, THINGS = 600, 40, 6


class Captions:
    """Residuals of both languages' captions, which are their own codes where positive; reads as ``Pooled`` does."""

    def __init__(self, resid: np.ndarray):
        self.x = resid
        self.n_positions = dict.fromkeys(VIEWS, np.ones(len(resid), int))

    def resid(self, view: str) -> np.ndarray:
        return self.x

    def blocks(self, max_entries: int):
        yield 0, self.x.shape[1]

    def codes(self, view: str, first: int, last: int) -> csc_array:
        return csc_array(np.maximum(self.x[:, first:last], 0))


def world(gender_alike: bool, things_alike: bool, seed: int = 0) -> pd.DataFrame:
    """Rows of null_others where gender, and THINGS that images show, have one direction in both languages or two."""
    rng = np.random.default_rng(seed)
    gender = np.array(["female", "male", "neutral"])[rng.integers(3, size=N)]
    thing = rng.integers(THINGS, size=N)
    is_train = np.arange(N) % 3 > 0
    shown = np.column_stack([gender == "female", *(thing == t for t in range(THINGS))])
    ways = np.linalg.qr(rng.standard_normal((D, 2 * (1 + THINGS))))[0].T
    own, other = ways[: 1 + THINGS], ways[1 + THINGS :]
    alike = np.array([gender_alike, *[things_alike] * THINGS])
    x = np.zeros((2 * N, D), np.float32)
    x[::2] = 5 * shown @ own
    x[1::2] = 5 * shown @ np.where(alike[:, None], own, other)
    x += rng.standard_normal(x.shape).astype(np.float32)
    attributes = [{"thing": f"t{t}"} for t in thing]
    contrasts = other_contrasts(attributes, [[]] * N, ("thing",), gender, is_train, 0)
    rows = contrast_rows(cast(Any, Captions(x)), [gender_contrast(gender), *contrasts], is_train, 20, seed)
    return pd.DataFrame(rows).assign(layer=3)


@pytest.mark.parametrize(
    ("gender_alike", "things_alike", "claims"),
    [(True, False, (MORE,)), (False, True, (LESS,)), (True, True, ()), (False, False, ())],
)
def test_gender_is_told_from_other_things_only_where_it_differs_from_them(gender_alike, things_alike, claims):
    rows = world(gender_alike, things_alike)
    assert set(rows["source"]) == {"gender", "annotation"} and (rows["why"] == "").all()
    answer = others_answer(rows, 3, "before")
    assert answer.claims == claims and (answer.sure == "supported") == bool(claims)


def test_a_direction_that_is_the_same_is_over_its_ceiling_one():
    rows = world(True, True).query("measure == 'direction_cosine'")
    assert ((rows["ratio_low"] < 1) & (rows["ratio_high"] > 1)).mean() > 0.8 and rows["ratio"].min() > 0.9


def test_genders_are_as_frequent_among_images_of_a_thing_as_among_the_rest():
    rng = np.random.default_rng(0)
    gender = np.array(["female", "male", "neutral"])[rng.integers(3, size=900)]
    present = rng.random(900) < np.where(gender == "female", 0.4, 0.1)
    kept = balanced(present, gender, np.ones(900, bool), rng)
    shares = [[(gender[kept & side] == g).mean() for g in np.unique(gender)] for side in (present, ~present)]
    assert np.abs(np.subtract(shares[0], shares[1])).max() < 0.02 and kept[present].all()


def test_words_take_the_place_of_annotations_that_are_too_few():
    rng = np.random.default_rng(0)
    words = [[w for w in ("an", "dog", "cat", "kite", "boat", "lamp") if rng.random() < 0.3] for _ in range(200)]
    gender, train = np.array(["female", "male"] * 100), np.arange(200) % 4 > 0
    made = other_contrasts([{"style": "a" if i % 3 else "b"} for i in range(200)], words, ("style",), gender, train, 0)
    assert [c.source for c in made] == ["annotation", *["word"] * 5] and "an" not in {c.name for c in made}
    assert made[0].name == "style: b"  # the other value is on more than half of the images


def test_one_more_thing_of_the_kind_is_seldom_called_special():
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(2000):
        ratios = rng.normal(0.7, 0.1, 9)
        rows = [{"ratio": r, "ratio_low": r - 0.02, "ratio_high": r + 0.02} for r in ratios]
        found = beside_others(rows[0], rows[1:])
        called += found is not None and (found.low > 0 or found.high < 0)
    assert called / 2000 <= 0.065  # nominally 5 %


def test_too_few_others_are_no_comparison():
    row = {"ratio": 0.9, "ratio_low": 0.8, "ratio_high": 1.0}
    assert beside_others(row, [row] * 4) is None and beside_others(row, [row] * 4 + [{"ratio": None}]) is None
    assert beside_others({"ratio": None, "ratio_low": None, "ratio_high": None}, [row] * 9) is None
