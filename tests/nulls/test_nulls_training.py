"""SAEs with one thing taken away: directions that stay random, and a model whose weights were drawn anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.activations.passes import TokenRow
from core.activations.store import ActivationReader
from core.nulls.random_model import randomise, spread_blocks
from core.nulls.training import train_beside
from core.sae.trainer import explained_variance, initial_parameters
from core.vlm.loading import load_vlm
from tests.nulls.nulls_toys import context, make_run
from tests.vlm.toy_model import toy_features, toy_model_dir, toy_rows, toy_vlm


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("training") / "run", layers=(1,))


def trained(source, folder, frozen, **changes):
    ctx = context(source, layers=(1,), **changes)
    reader = ActivationReader(source.dir, 1)
    index = reader.index
    rows = np.flatnonzero((index["split"] == "train").to_numpy() & (index["kind"] != "bos").to_numpy())
    held_out = np.flatnonzero((index["split"] == "test").to_numpy())
    sae = train_beside(ctx.config, reader, rows, 7, folder, "cpu", frozen)
    return sae, explained_variance(reader, held_out, sae), ctx.config, reader


def test_a_frozen_decoder_stays_where_it_was_drawn_and_still_learns_when_to_fire(source, tmp_path):
    frozen, fit, config, reader = trained(source, tmp_path / "frozen", True)
    start = initial_parameters(config.train, torch.zeros(reader.d_model), 7, 1)["decoder"]
    assert torch.allclose(frozen.W_dec, start, atol=1e-5)
    free, better, *_ = trained(source, tmp_path / "free", False)
    assert not torch.allclose(free.W_dec, start, atol=0.05) and 0.2 < fit < better
    again, *_ = trained(source, tmp_path / "frozen", True)
    assert torch.equal(again.W_enc, frozen.W_enc), "what is done is read"


def test_a_randomised_model_has_other_matrices_of_the_same_size_and_knows_nothing():
    vlm, again = (load_vlm(str(toy_model_dir())) for _ in range(2))
    randomise(vlm, 3)
    known = {name: parameter.detach() for name, parameter in toy_vlm().model.named_parameters()}
    for name, new in ((name, parameter.detach()) for name, parameter in vlm.model.named_parameters()):
        old = known[name]
        if old.ndim < 2:
            assert torch.equal(old, new), name
        else:
            assert float(new.std()) == pytest.approx(float(old.std()), rel=0.1), name
            assert abs(np.corrcoef(old.numpy().ravel(), new.numpy().ravel())[0, 1]) < 0.1, name
    resid = vlm.forward(toy_rows(), toy_features(), [1]).resid[1]
    assert torch.isfinite(resid).all()
    randomise(again, 3)
    assert all(torch.equal(a, b) for a, b in zip(vlm.model.parameters(), again.model.parameters(), strict=True))


class Blocks:
    """Passes of ten blocks of five images and seven rows an image."""

    n_images = [5] * 10
    block_rows = [35] * 10

    def __init__(self):
        row = lambda i: replace(_ROW, sample_id=i)  # noqa: E731
        self.blocks = [[[row(5 * block + i) for i in range(5)]] for block in range(10)]


_ROW = TokenRow(0, "en", "train", [1], [2])


@pytest.mark.parametrize(("n", "n_blocks"), [(0, 10), (12, 3), (1000, 10)])
def test_whole_blocks_at_even_distances_are_chosen(n, n_blocks):
    rows, samples = spread_blocks(Blocks(), n)
    assert len(samples) == 5 * n_blocks and len(rows) == 35 * n_blocks
    assert samples[0] == 0 and samples[-1] == 49
    assert set(rows // 35) == set(samples // 5)
