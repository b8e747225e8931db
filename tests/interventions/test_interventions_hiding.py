"""Hiding parts of a picture: nothing hidden changes nothing, everything hidden is the mean image, places are right."""

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.interventions.areas import area_of, moved, windows
from core.interventions.hiding import (
    INPUT,
    Hidden,
    check_hiding,
    hidden_captions,
    mean_filling,
    tokens_of,
    zero_filling,
)
from tests.tiny_models import FAMILIES
from tests.vlm.test_vlm_conformance import tiny
from tests.vlm.toy_model import toy_features, toy_vlm

N = 10  # tokens
LAYER = 2


def prompts(vlm):
    return {"en": vlm.prompt_ids("Describe the image."), "ar": vlm.prompt_ids("صف الصورة.")}


def every(n, area=()):
    return [Hidden(image, lang, area) for image in range(n) for lang in ("en", "ar")]


@pytest.mark.parametrize("layer", [INPUT, LAYER])
def test_hiding_nothing_changes_nothing(layer):
    vlm, features = toy_vlm(), toy_features()
    filling = mean_filling(vlm, features, layer, prompts(vlm)["en"])
    rows = [list(prompts(vlm)[one.lang]) for one in every(3)]
    plain = vlm.generate(rows, features[[one.image for one in every(3)]], N)
    found = hidden_captions(vlm, prompts(vlm), features, every(3), filling, N, 6)
    assert found == list(zip(*plain, strict=True))


def test_hiding_everything_gives_the_captions_of_the_mean_image():
    vlm, features = toy_vlm(), toy_features()
    filling, area = mean_filling(vlm, features), tuple(range(len(vlm.patches)))
    rows = [list(prompts(vlm)[one.lang]) for one in every(3)]
    mean = vlm.generate(rows, features.mean(0, keepdim=True).expand(6, -1, -1), N)
    found = hidden_captions(vlm, prompts(vlm), features, every(3, area), filling, N, 6)
    assert found == list(zip(*mean, strict=True))
    assert found != hidden_captions(vlm, prompts(vlm), features, every(3), filling, N, 6)


def test_hiding_everything_at_a_layer_leaves_no_image_above_it():
    vlm, features = toy_vlm(), toy_features()
    ids, area = prompts(vlm)["en"], tuple(range(len(vlm.patches)))
    filling = mean_filling(vlm, features, LAYER, ids)
    seen = vlm.forward([ids] * 6, features, [LAYER])
    at = seen.kinds[0] == 1
    torch.testing.assert_close(filling.states, seen.resid[LAYER][:, at].mean(0))
    found = hidden_captions(vlm, prompts(vlm), features, every(2, area), filling, N, 4)

    def put_in(h, kinds):
        new = h.clone()
        new[kinds == 1] = filling.states.repeat(len(h), 1)[: int((kinds == 1).sum())]
        return new

    rows = [list(prompts(vlm)[one.lang]) for one in every(2)]
    whole = vlm.generate(rows, features[[0, 0, 1, 1]], N, edits={LAYER: put_in})
    assert found == list(zip(*whole, strict=True))


def test_what_is_hidden_does_not_matter():
    """Two pictures that differ in an area alone give the same caption once it is hidden, and not before."""
    vlm, features = toy_vlm(), toy_features()
    area = tuple(range(24, 40))
    two = torch.stack([features[0], features[0]])
    two[1, list(area)] = features[3, list(area)]
    asked = [Hidden(0, "en", area), Hidden(1, "en", area)]
    first, second = hidden_captions(vlm, prompts(vlm), two, asked, mean_filling(vlm, features), N, 2)
    assert first == second
    seen = vlm.forward([prompts(vlm)["en"]] * 2, two, [0], logits=True).logits[:, -1]
    assert not torch.equal(seen[0], seen[1])


def test_rows_of_a_batch_are_hidden_each_in_its_own_area():
    vlm, features = toy_vlm(), toy_features()
    filling = zero_filling(vlm, LAYER)
    areas = [(), (0, 1, 2, 8, 9, 10), tuple(range(32)), tuple(range(64))]
    asked = [Hidden(image, lang, area) for area in areas for image, lang in ((0, "en"), (2, "ar"))]
    together = hidden_captions(vlm, prompts(vlm), features, asked, filling, N, 8)
    assert together == [hidden_captions(vlm, prompts(vlm), features, [one], filling, N, 1)[0] for one in asked]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_hides_or_says_why_not(family):
    vlm = tiny(family)
    grid, images = vlm.patch_grid, vlm.encode_images([_noise(i, vlm.side or 28) for i in range(2)])
    asked = [Hidden(i, "en", ()) for i in range(2)]
    if grid is None or vlm.n_image_tokens > vlm.patches.stop:
        with pytest.raises(UserError, match="Nothing can be hidden"):
            hidden_captions(vlm, prompts(vlm), images, asked, zero_filling(vlm), 2, 2)
        return
    everything = tuple(range(len(vlm.patches)))
    assert tokens_of(vlm, everything) == list(range(vlm.n_image_tokens))
    filling = mean_filling(vlm, images)
    plain = vlm.generate([prompts(vlm)["en"]] * 2, images, 3)
    assert hidden_captions(vlm, prompts(vlm), images, asked, filling, 3, 2) == list(zip(*plain, strict=True))
    mean = vlm.generate([prompts(vlm)["en"]] * 2, filling.states.expand_as(images), 3)
    hidden = [Hidden(i, "en", everything) for i in range(2)]
    assert hidden_captions(vlm, prompts(vlm), images, hidden, filling, 3, 2) == list(zip(*mean, strict=True))
    with pytest.raises(UserError, match="no patch"):
        tokens_of(vlm, [len(vlm.patches)])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_share_of_the_picture_is_the_same_share_of_the_map(family):
    """Pixels changed in one corner of a picture of any shape change that corner of the map most."""
    from core.samples.areas import covered

    vlm = tiny(family)
    if vlm.patch_grid is None:
        return
    for corner, size in (((0, 0, 0.5, 0.5), (90, 40)), ((0.5, 0.5, 1, 1), (40, 90))):
        plain = _noise(0, 0, size)
        changed = plain.copy()
        box = [round(edge * side) for edge, side in zip(corner, (*size, *size), strict=True)]
        changed.paste((255, 0, 0), tuple(box))
        one, two = vlm.encode_images([plain, changed])
        apart = (one - two).float().norm(dim=-1)[list(vlm.patches)]
        inside = torch.tensor(covered([corner], vlm.patch_grid)) > 0.99
        assert apart[inside].mean() > apart[~inside].mean(), corner


def _noise(seed, side, size=None):
    from PIL import Image

    size = size or (side, side)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))


def test_layers_that_are_not_there_are_refused():
    with pytest.raises(UserError, match="no layer"):
        check_hiding(toy_vlm(), toy_vlm().n_layers)


# --- areas ------------------------------------------------------------------------------------------------------------


def test_moved_areas_keep_their_size_and_their_shape():
    grid, area = (8, 8), (0, 1, 2, 8, 9, 10)
    found = moved(area, grid, 25, 0)
    assert len(set(found)) == 25 and area not in found
    for one in found:
        row, column = np.divmod(np.array(one), 8)
        assert (row - row.min()).tolist() == [0, 0, 0, 1, 1, 1]
        assert (column - column.min()).tolist() == [0, 1, 2] * 2
    assert found == moved(area, grid, 25, 0) != moved(area, grid, 25, 1)


def test_large_areas_go_over_the_edge_and_everything_goes_nowhere():
    grid = (6, 6)
    large = tuple(r * 6 + c for r in range(5) for c in range(5))
    found = moved(large, grid, 25, 0)
    assert len(set(found)) == 25 and all(len(one) == 25 for one in found)
    whole = {one for one in found if np.ptp(np.divmod(np.array(one), 6), axis=1).tolist() == [4, 4]}
    assert len(whole) == 3 and {*moved(large, grid, 3, 0)} == whole, "whole places come first"
    assert moved(range(36), grid, 25, 0) == [] == moved((), grid, 25, 0)


def test_random_places_cover_the_map_alike():
    grid, hits = (5, 5), np.zeros(25)
    for seed in range(400):
        for one in moved((12,), grid, 5, seed):
            hits[list(one)] += 1
    others = np.delete(hits, 12)
    assert hits[12] == 0 and others.min() > 50 and others.max() < 120  # 83 each; more than 3.5 sigma away


def test_windows_have_one_shape_and_stay_in_their_kind():
    person, thing = np.zeros((6, 6)), np.zeros((6, 6))
    person[:, :3], thing[4:, 4:] = 1, 0.6
    shares = {"person": person.ravel(), "object": thing.ravel(), "background": 1 - person.ravel() - thing.ravel()}
    found = windows(shares, (6, 6), 0)
    assert {kind: len(area) for kind, area in found.items()} == {"person": 4, "object": 4, "background": 4}
    for kind, area in found.items():
        assert set(area) <= set(area_of(shares, kind))
        assert np.ptp(np.divmod(np.array(area), 6), axis=1).tolist() == [1, 1]
    assert len({windows(shares, (6, 6), seed)["person"] for seed in range(30)}) > 5
    assert windows({"object": thing.ravel()}, (6, 6), 0) == {}, "where the person is, nobody has said"
