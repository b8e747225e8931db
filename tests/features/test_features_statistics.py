"""Statistics from sparse blocks are those of the dense table tokens x features."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.features import codes as codes_module
from core.features.codes import Codes, write_codes
from core.features.statistics import feature_statistics
from core.features.tokens import GROUPS, token_index
from core.features.usual import VIEWS, usual_activation
from tests.features.features_toys import ToyReader, ToySAE, World, random_world, token_table

HYPOTHESIS = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def store_of(world: World, dir, rows_per_part: int = 50):
    tokens = token_index(world.table)
    return tokens, write_codes(world.sae, ToyReader(world.x), tokens, dir, rows_per_part=rows_per_part)


def kept(world: World) -> np.ndarray:
    return world.column("kind") != "bos"


def test_what_is_usual_is_the_mean_over_sequences_of_the_mean_over_tokens(tmp_path):
    world = random_world(3, n_samples=7)
    tokens, store = store_of(world, tmp_path, 40)
    found = usual_activation(store.read(0, store.d_sae), tokens)
    kind, lang, sample = world.column("kind"), world.column("lang"), world.column("sample_id")
    for view in VIEWS:
        of_view = (kind == view.split("_")[0]) & ((view == "image") | (lang == view[-2:]))
        sequences = sorted({(s, x) for s, x in zip(sample[of_view], lang[of_view], strict=True)})
        means = np.stack([world.z[of_view & (sample == s) & (lang == x)].mean(0) for s, x in sequences])
        np.testing.assert_allclose(found[f"usual_{view}"], means.mean(0), rtol=1e-6)
        np.testing.assert_allclose(found[f"spread_{view}"], means.std(0), rtol=1e-5)
        np.testing.assert_allclose(found[f"token_spread_{view}"], world.z[of_view].std(0), rtol=1e-5)
        assert found[f"usual_{view}"][-1] == found[f"spread_{view}"][-1] == 0, "the last feature never fires"


@HYPOTHESIS
@given(rows_per_part=st.integers(15, 150), block=st.integers(1, 20), batch=st.integers(5, 90), seed=st.integers(0, 3))
def test_streaming_equals_dense(tmp_path_factory, rows_per_part, block, batch, seed):
    world = random_world(seed, n_samples=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes_module, "BATCH_ROWS", batch)
        tokens, store = store_of(world, tmp_path_factory.mktemp("codes"), rows_per_part)
    z, kind, lang = world.z * kept(world)[:, None], world.column("kind"), world.column("lang")
    masks = {name: (kind == name.split("_")[0]) & ("_" not in name or lang == name[-2:]) for name in GROUPS}
    for first, last in store.blocks(max_features=block):
        stats = feature_statistics(store.read(first, last), tokens, n_bins=7)
        for f in range(first, last):
            i, active = f - first, z[:, f][z[:, f] > 0].astype(np.float64)
            assert stats.n_active[i] == len(active)
            assert stats.density[i] == pytest.approx(len(active) / kept(world).sum())
            for g, name in enumerate(GROUPS):
                assert stats.density_by_group[i, g] == pytest.approx((z[masks[name], f] > 0).mean())
            assert stats.lang_en[i] == pytest.approx(z[masks["caption_en"], f].mean(), rel=1e-6)
            assert stats.lang_ar[i] == pytest.approx(z[masks["caption_ar"], f].mean(), rel=1e-6)
            if not len(active):
                assert not stats.alive[i] and np.isnan([stats.mean[i], stats.std[i], stats.max[i], stats.p999[i]]).all()
                continue
            assert stats.mean[i] == pytest.approx(active.mean(), rel=1e-6)
            assert stats.std[i] == pytest.approx(active.std(), rel=1e-5, abs=1e-7)
            assert stats.max[i] == pytest.approx(active.max(), rel=1e-6)  # other batches, other last bits
            assert stats.p999[i] == pytest.approx(np.percentile(active, 99.9), rel=1e-9)
            assert (stats.histogram[i] == np.histogram(active, 7, (0, max(stats.max[i], active.max())))[0]).all()


def test_densities_from_a_sample_of_the_image_tokens_are_those_of_all_on_average(tmp_path):
    """Drawn often enough, their mean is the density over all tokens; the share of the stored ones would miss it."""
    world = random_world(3, n_samples=12)
    tokens, store = store_of(world, tmp_path / "all", 1000)
    truth = feature_statistics(store.read(0, store.d_sae), tokens, 4)
    image, sample = world.column("kind") == "image", world.column("sample_id")
    drawn, naive = [], []
    for seed in range(60):
        patch = np.array([np.random.default_rng([seed, i]).integers(4) for i in range(12)])
        rows = np.flatnonzero(~image | (world.column("patch") == patch[sample]))
        table = world.table.take(pa.array(rows)).replace_schema_metadata({"n_patches": "4", "n_image_tokens": "4"})
        few = World(world.x[torch.from_numpy(rows)], table, world.sae)
        index, part = store_of(few, tmp_path / str(seed), 1000)
        found = feature_statistics(part.read(0, part.d_sae), index, 4)
        assert index.group_sizes[0] == 24 and index.group_weights.tolist() == [4, 1, 1, 1]
        assert np.array_equal(found.density_by_group[:, 1:], truth.density_by_group[:, 1:])
        drawn.append(found.density)
        naive.append(found.n_active / index.n_tokens)
    error = np.std(drawn, axis=0) / np.sqrt(60)
    assert (abs(np.mean(drawn, axis=0) - truth.density) <= 4 * error + 1e-12).all()
    assert abs(np.mean(naive, axis=0) - truth.density).max() > 0.02


def test_parts_do_not_change_a_bit(tmp_path):
    world = random_world(1)
    results = []
    for rows_per_part in (7, 1000):
        _, store = store_of(world, tmp_path / str(rows_per_part), rows_per_part)
        results.append(store.read(0, store.d_sae))
    for a, b in zip(vars(results[0]).values(), vars(results[1]).values(), strict=True):
        assert np.array_equal(a, b)


def test_a_killed_pass_goes_on_to_the_same_bytes(tmp_path):
    world = random_world(2)
    store_of(world, tmp_path / "whole", 20)
    tokens = token_index(world.table)

    class Killed(ToyReader):
        def read(self, rows):
            if rows.start >= 60:
                raise KeyboardInterrupt
            return super().read(rows)

    with pytest.raises(KeyboardInterrupt):
        write_codes(world.sae, Killed(world.x), tokens, tmp_path / "killed", rows_per_part=20)
    assert len(list((tmp_path / "killed").iterdir())) == 3
    store_of(world, tmp_path / "killed", 20)
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "killed" / path.name).read_bytes()


def test_moments_keep_their_digits_far_from_zero():
    tokens = token_index(token_table(40))
    row = np.flatnonzero(tokens.group >= 0)
    value = (1e6 + np.tile([0.0, 1.0], len(row))[: len(row)]).astype(np.float32)
    stats = feature_statistics(Codes(0, 1, np.zeros(len(row), np.int64), row, value), tokens, 4)
    assert stats.std[0] == pytest.approx(value.astype(np.float64).std(), rel=1e-9)


def test_explained_share_is_what_leaving_a_feature_out_costs(tmp_path):
    world = random_world(3)
    _, store = store_of(world, tmp_path)
    fit, keep = store.fit(), kept(world)
    x, z, W_dec = world.x.double()[keep], torch.from_numpy(world.z).double()[keep], world.sae.W_dec.double()
    total = (x - x.mean(0)).square().sum()
    error = (x - z @ W_dec).square().sum()
    assert fit.total_variance == pytest.approx(float(total), rel=1e-6)
    assert fit.explained_variance == pytest.approx(float(1 - error / total), rel=1e-5)
    for f in range(len(W_dec)):
        without = z.clone()
        without[:, f] = 0
        rise = ((x - without @ W_dec).square().sum() - error) / total
        assert fit.explained_share[f] == pytest.approx(float(rise), rel=1e-4, abs=1e-6)


def test_explained_share_of_orthogonal_features_adds_up_to_one(tmp_path):
    """An exact code in an orthonormal basis: each feature explains its own variance, a silent one none."""
    table = token_table(60)
    z = torch.zeros(len(table), 4)
    z[torch.arange(len(table)), torch.arange(len(table)) % 3] = 2.0
    keep = torch.from_numpy(np.array(table["kind"].to_pylist()) != "bos")
    world = World(z, table, ToySAE(torch.eye(4), torch.eye(4)))
    _, store = store_of(world, tmp_path)
    x = z[keep]
    second_moment = x.square().sum(0) / (x - x.mean(0)).square().sum()  # leaving out costs the energy, mean included
    assert np.allclose(store.fit().explained_share, second_moment, rtol=1e-6)
    assert store.fit().explained_share[3] == 0
    assert store.fit().explained_variance == pytest.approx(1.0)


def test_bos_counts_for_nothing(tmp_path):
    world = random_world(4)
    _, store = store_of(world, tmp_path / "a")
    world.x[torch.from_numpy(~kept(world))] = 1e4
    _, other = store_of(world, tmp_path / "b")
    assert np.array_equal(store.counts, other.counts)
    assert store.fit().total_variance == other.fit().total_variance
    caption = world.column("kind") == "caption"
    assert store.fit().caption_rms == pytest.approx(float(world.x[torch.from_numpy(caption)].square().mean().sqrt()))


def test_blocks_keep_their_bounds_and_cover_every_feature(tmp_path):
    _, store = store_of(random_world(5), tmp_path)
    blocks = store.blocks(max_triplets=300, max_features=3)
    assert [f for a, b in blocks for f in range(a, b)] == list(range(store.d_sae))
    assert all(b - a <= 3 for a, b in blocks)
    assert all(store.counts[a:b].sum() <= 300 or b - a == 1 for a, b in blocks)


def test_a_damaged_index_is_refused():
    table = token_table(3)
    position = np.array(table["position"].to_pylist())
    position[-1] += 5
    broken = table.set_column(table.schema.get_field_index("position"), "position", pa.array(position))
    with pytest.raises(UserError, match="does not add up"):
        token_index(broken)
    with pytest.raises(UserError, match="unknown values in lang"):
        token_index(table.set_column(table.schema.get_field_index("lang"), "lang", pa.array(["fr"] * len(table))))
