"""Where on the picture a feature's activation lies: known worlds, chance, and intervals that hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from core.features.areas import MIN_IMAGES, KindAreas, area_shares, areas_table, kind_areas
from core.features.codes import Codes
from core.features.tokens import TokenIndex, token_index
from core.run.schema.features import FEATURE_AREAS
from tests.features.features_toys import token_table

SIDE, N = 4, 60
PATCHES = SIDE * SIDE
Maps = np.ndarray
"""Activation (n_images, n_features, n_patches)."""


def boxes(rng: np.random.Generator, n: int = N) -> list[dict]:
    """A person of half a picture's width and height anywhere, whatever the patches; a small object up on the left."""
    rows = []
    for i in range(n):
        x, y = rng.uniform(0, 0.5, 2)
        person = {"left": x, "top": y, "right": x + 0.5, "bottom": y + 0.5}
        rows.append({"sample_id": i, "kind": "person", **person})
        rows.append({"sample_id": i, "kind": "object", "left": 0.0, "top": 0.0, "right": 0.3, "bottom": 0.25})
    return rows


def index(n: int = N) -> TokenIndex:
    return token_index(token_table(n, PATCHES))


def codes(maps: Maps, tokens: TokenIndex) -> Codes:
    """The maps as codes, the same in both languages; every word and mark fires as well, which must count nowhere."""
    dense = np.where((tokens.group == 0)[:, None], maps[tokens.sample_id, :, tokens.slot], 7.0)
    dense[tokens.group < 0] = 0
    feature, row = np.nonzero(dense.T)
    return Codes(0, dense.shape[1], feature, row, dense[row, feature].astype(np.float32))


def told(make: Callable[..., Maps], seed: int = 0, n: int = N) -> dict[str, dict[str, np.ndarray]]:
    """By kind the columns, of maps that ``make`` gives of the generator and the shares by kind."""
    rng, tokens = np.random.default_rng(seed), index(n)
    known = kind_areas(boxes(rng, n), tokens)
    fired = codes(make(rng, {a.kind: a.share for a in known}), tokens)
    return {a.kind: area_shares(fired, tokens, a) for a in known}


def test_all_on_patches_that_are_wholly_the_persons_is_a_share_of_one():
    found = told(lambda rng, a: ((a["person"] > 0.999) * rng.uniform(1, 5, (N, 1)))[:, None])
    whole = sum(found[kind]["share"] for kind in found)
    assert found["person"]["share"] == pytest.approx(1, abs=1e-5) and whole == pytest.approx(1)
    assert found["object"]["share"] == 0 and found["background"]["ratio"] == pytest.approx(0, abs=1e-5)
    assert found["person"]["ratio"] == pytest.approx(4, abs=1e-3) and found["person"]["low"] > 3.99
    assert found["person"]["difference_low"] > 0.4 and found["background"]["difference_high"] < -0.4


def test_an_even_map_has_the_ratio_one_however_strong_it_is_on_which_image():
    found = told(lambda rng, a: np.repeat(np.exp(4 * a["person"].mean(1))[:, None, None], PATCHES, 2))
    for kind in found.values():
        assert [kind[c] for c in ("ratio", "low", "high")] == pytest.approx([1, 1, 1])
        assert kind["share"] == pytest.approx(kind["area"])


def test_a_feature_of_the_middle_is_above_its_area_and_at_its_null():
    """It does not know where the person is: its ratio is not 1, and no more than on other images' persons."""
    middle = np.zeros((SIDE, SIDE))
    middle[1:3, 1:3] = 1
    found = told(lambda rng, a: (middle.ravel() * rng.uniform(1, 2, (N, 1)))[:, None])["person"]
    assert found["low"] > 1.5 and found["share"] > found["area"] + 0.2
    assert abs(found["difference"]) < 0.02


def test_the_null_is_the_mean_over_all_other_images_areas():
    tokens, rng, n = index(25), np.random.default_rng(3), 25
    person = kind_areas(boxes(rng, n), tokens)[0]
    maps = rng.exponential(size=(n, 3, PATCHES)) * (rng.random((n, 3, PATCHES)) < 0.4)
    found = area_shares(codes(maps, tokens), tokens, person)
    on = np.einsum("ifp,jp->ijf", maps, person.share)  # the map of i on the areas of j
    others = on.sum(1) - np.einsum("iif->if", on)
    assert found["null_share"] == pytest.approx(others.sum(0) / (n - 1) / maps.sum((0, 2)), rel=1e-5)
    assert found["share"] == pytest.approx(np.einsum("iif->f", on) / maps.sum((0, 2)), rel=1e-5)


def test_only_stored_patches_count():
    """Two patches of each image are stored: an even map still has the ratio 1."""
    rng, table = np.random.default_rng(0), token_table(N, PATCHES)
    kept = rng.permuted(np.tile(np.arange(PATCHES), (N, 1)), axis=1)[:, :2]
    rows = [i for i, r in enumerate(table.to_pylist()) if r["kind"] != "image" or r["patch"] in kept[r["sample_id"]]]
    tokens = token_index(table.take(rows).replace_schema_metadata({"n_patches": str(PATCHES)}))
    person = kind_areas(boxes(rng), tokens)[0]
    found = area_shares(codes(np.ones((N, 1, PATCHES)), tokens), tokens, person)
    assert found["ratio"] == pytest.approx(1) and 0.15 < found["share"] < 0.35


def test_rare_features_and_unknown_kinds_have_no_numbers(monkeypatch):
    """Blocks that do not fit at once give the same; a feature of too few images says so; no box of a kind, no row."""
    tokens, rng = index(), np.random.default_rng(1)
    maps = rng.exponential(size=(N, 5, PATCHES))
    maps[MIN_IMAGES - 1 :, 1] = 0
    maps[:, 4] = 0
    fired, rows = codes(maps, tokens), boxes(rng)
    known = kind_areas(rows, tokens)
    table = FEATURE_AREAS.checked(areas_table(fired, tokens, known, 3, "ab"))
    monkeypatch.setattr("core.features.areas.CELLS", 2 * N)
    frame = table.to_pandas().set_index(["feature", "kind"])
    again = areas_table(fired, tokens, known, 3, "ab").to_pandas().set_index(["feature", "kind"])
    pd.testing.assert_frame_equal(again, frame, atol=1e-9)
    assert len(frame) == 15 and frame.loc[(1, "person"), "n_fires"] == MIN_IMAGES - 1
    assert frame["share"].isna().groupby("feature").all().tolist() == [False, True, False, False, True]
    assert (frame["why"] != "").eq(frame["share"].isna()).all()
    alone = kind_areas([row for row in rows if row["kind"] == "object"], tokens)
    assert [a.kind for a in alone] == ["object"]
    assert kind_areas([], tokens) == [] and len(areas_table(fired, tokens, [], 3, "ab")) == 0
    assert kind_areas(rows, token_index(token_table(N, 6))) == []  # no square map


@pytest.mark.parametrize("follows", [False, True])
def test_intervals_hold_the_truth_and_only_what_follows_the_person_is_told_from_the_null(follows):
    """60 worlds of 40 images, in each 10 features with places of their own: their expectations are known.

    Of 600 intervals at 95 % nine in ten must hold them.
    """
    places, tokens = np.random.default_rng(9).random((10, PATCHES)) + 0.2, index(40)
    many = np.random.default_rng(8)
    share = np.concatenate([person(many, index(400)).share for _ in range(10)])
    weight = 0.3 + share if follows else np.ones_like(share)
    total = (weight.mean(0) * places).sum(1)
    on, even = ((weight * x).mean(0) @ places.T for x in (share, share.mean(1, keepdims=True)))
    ratio, difference = on / even, (on - places @ (weight.mean(0) * share.mean(0))) / total
    held, above = [], []
    for seed in range(60):
        rng = np.random.default_rng([seed, 5])
        areas = person(rng, tokens)
        strength = 0.3 + areas.share[:, None] if follows else 1.0
        maps = (rng.random((40, 10, 1)) < 0.7) * rng.exponential(size=(40, 10, PATCHES)) * places * strength
        told = area_shares(codes(maps, tokens), tokens, areas)
        held.append([(told["low"] <= ratio) & (ratio <= told["high"]),
                     (told["difference_low"] <= difference) & (difference <= told["difference_high"])])  # fmt: skip
        above.append(told["difference_low"] > 0)
    assert np.mean(held, axis=(0, 2)).min() > 0.9
    assert np.mean(above) > 0.97 if follows else np.mean(above) < 0.05


def person(rng: np.random.Generator, tokens: TokenIndex) -> KindAreas:
    return kind_areas(boxes(rng, tokens.n_samples), tokens)[0]
