"""Examples are the images that a brute-force search finds, one place each, and fair draws from real quantile bands."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.features.codes import Codes, write_codes
from core.features.examples import ImageMaxima, choose_examples, image_maxima, traces
from core.features.tables import examples_table
from core.features.tokens import token_index
from tests.features.features_toys import ToyReader, World, random_world, token_table


def chosen_of(world: World, dir, n_top=4, n_quantiles=3, n_per_quantile=2, seed=0, layer=1, block=(0, None)):
    tokens = token_index(world.table)
    store = write_codes(world.sae, ToyReader(world.x), tokens, dir, rows_per_part=40)
    codes = store.read(block[0], block[1] or store.d_sae)
    maxima = image_maxima(codes, tokens)
    return tokens, codes, maxima, choose_examples(maxima, codes.first, n_top, n_quantiles, n_per_quantile, seed, layer)


def brute_maxima(world: World, feature: int) -> list[tuple[float, int, int]]:
    """(maximum, sample_id, first row that has it) of each image that fires, strongest first, ties by sample_id."""
    z, kind, sample = world.z[:, feature], world.column("kind"), world.column("sample_id")
    found = []
    for sample_id in np.unique(sample):
        rows = np.flatnonzero((sample == sample_id) & (kind != "bos"))
        best = z[rows].max()
        if best > 0:
            found.append((float(best), int(sample_id), int(rows[z[rows] == best][0])))
    return sorted(found, key=lambda item: (-item[0], item[1]))


@pytest.mark.parametrize(("seed", "grid"), [(0, 0.0), (1, 0.5), (2, 1.0)])  # a coarse grid makes many ties
def test_top_examples_equal_brute_force(tmp_path, seed, grid):
    world = random_world(seed, grid=grid)
    _, _, maxima, chosen = chosen_of(world, tmp_path)
    for feature in range(world.z.shape[1]):
        top = (chosen.feature == feature) & (chosen.bin == 3)
        pair = chosen.pair[top]
        got = list(zip(maxima.value[pair].tolist(), maxima.sample_id[pair], maxima.row[pair], strict=True))
        assert got == brute_maxima(world, feature)[:4]
        assert chosen.rank[top].tolist() == list(range(top.sum()))


def maxima_of(values: list[float], sample_ids=None) -> ImageMaxima:
    n = len(values)
    ids = np.arange(n) if sample_ids is None else np.array(sample_ids)
    return ImageMaxima(np.zeros(n, np.int64), ids, np.array(values, np.float32), np.arange(n))


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(0.125, 1000, width=32), min_size=1, max_size=80), n_quantiles=st.integers(1, 7))
def test_bands_are_quantiles_of_the_image_maxima(values, n_quantiles):
    chosen = choose_examples(maxima_of(values), 0, 3, n_quantiles, len(values), 0, 0)  # draws take whole bands
    ordered = np.sort(np.array(values, np.float32))
    sizes = [(chosen.bin == q).sum() for q in range(n_quantiles)]
    assert sum(sizes) == len(values)
    assert max(sizes) - min(sizes) <= 1
    start = 0
    for q, size in enumerate(sizes):
        band, here = ordered[start : start + size], chosen.bin == q
        assert np.array_equal(np.sort(np.array(values, np.float32)[chosen.pair[here]]), band)
        if size:
            assert set(chosen.band_low[here]) == {band[0]}
            assert set(chosen.band_high[here]) == {band[-1]}
        start += size


def test_draws_are_fair_and_depend_on_seed_layer_and_feature():
    values = list(np.linspace(1, 2, 20))
    counts = np.zeros(20)
    for seed in range(600):
        chosen = choose_examples(maxima_of(values), 0, 0, 1, 5, seed, 0)
        counts[chosen.pair] += 1
    assert abs(counts - 150).max() < 5 * np.sqrt(600 * 0.25 * 0.75)  # five standard deviations of a fair draw
    draw = [
        tuple(choose_examples(maxima_of(values), f, 0, 1, 5, s, layer).pair)
        for f, s, layer in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0))
    ]
    assert draw[0] == draw[4]
    assert len(set(draw)) == 4


def test_blocks_do_not_change_the_choice(tmp_path):
    world = random_world(6, n_samples=20)
    *_, maxima, whole = chosen_of(world, tmp_path / "a")
    *_, part_maxima, part = chosen_of(world, tmp_path / "b", block=(4, 9))
    here = (whole.feature >= 4) & (whole.feature < 9)
    assert np.array_equal(whole.feature[here], part.feature + 4)
    assert np.array_equal(maxima.sample_id[whole.pair[here]], part_maxima.sample_id[part.pair])
    assert np.array_equal(whole.bin[here], part.bin)


def test_traces_are_the_dense_code_of_the_sequence(tmp_path):
    world = random_world(7)
    tokens, codes, maxima, chosen = chosen_of(world, tmp_path)
    lines = traces(codes, tokens, maxima, chosen)
    z, kind, sample, lang = world.z, world.column("kind"), world.column("sample_id"), world.column("lang")
    for i in range(len(chosen.pair)):
        row = maxima.row[chosen.pair[i]]
        same = (sample == sample[row]) & (lang == lang[row])
        assert lines.sequence[i] == 2 * sample[row] + (lang[row] == "ar")
        assert np.array_equal(lines.patches[i], z[same & (kind == "image"), chosen.feature[i]])
        words = lines.captions[lines.offsets[i] : lines.offsets[i + 1]]
        assert np.array_equal(words, z[same & (kind == "caption"), chosen.feature[i]])


def test_image_tokens_that_are_not_stored_are_nan_not_zero(tmp_path):
    world = random_world(7)
    dropped = (world.column("patch") == 3) | ((world.column("patch") == 1) & (world.column("sample_id") % 2 == 0))
    kept = np.flatnonzero(~dropped)
    few = World(world.x[torch.from_numpy(kept)], world.table.take(pa.array(kept)), world.sae)
    few.table = few.table.replace_schema_metadata({"n_patches": "4"})
    tokens, codes, maxima, chosen = chosen_of(few, tmp_path)
    lines = traces(codes, tokens, maxima, chosen)
    sample = lines.sequence // 2
    assert lines.patches.shape[1] == 4 and np.isnan(lines.patches[:, 3]).all()
    assert (np.isnan(lines.patches[:, 1]) == (sample % 2 == 0)).all() and not np.isnan(lines.patches[:, [0, 2]]).any()
    shown = examples_table(1, "x", 0, tokens, maxima, chosen, lines, pa.array([[]] * 18, pa.list_(pa.string())), 3)
    found = np.array(shown["patch_map"].to_pylist(), np.float16)
    assert np.array_equal(found, lines.patches.astype(np.float16), equal_nan=True)


def test_no_features_no_examples():
    tokens = token_index(token_table(2))
    empty = np.zeros(0, np.int64)
    codes = Codes(0, 3, empty, empty, np.zeros(0, np.float32))
    maxima = image_maxima(codes, tokens)
    chosen = choose_examples(maxima, 0, 4, 3, 2, 0, 0)
    assert len(chosen.pair) == 0
    assert traces(codes, tokens, maxima, chosen).patches.shape == (0, 4)
