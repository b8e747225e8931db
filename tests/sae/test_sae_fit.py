"""How well SAEs fit: 0 and 1 where they must be, by kind and language apart, with intervals that hold the value."""

import numpy as np
import pytest
import torch

from core.sae.fit import (
    BOTH,
    Tokens,
    joined,
    kind_means,
    loss_fit,
    median_share,
    spliced_variants,
    token_fit,
    untrained_control,
)
from core.sae.modules import SAE, SAEConfig
from core.sae.splicing import Passages, row_losses
from tests.sae.sae_toys import D_MODEL, TEST_ROWS, write_layer
from tests.sae.test_sae_splicing import axis_sae
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm

LAYER = 3


def mean_sae(mean):
    """An SAE that says the mean of everything: its features never fire."""
    zeros = torch.zeros(D_MODEL, 8)
    cfg = SAEConfig("standard", D_MODEL, 8)
    return SAE(cfg, {"W_enc": zeros, "b_enc": torch.zeros(8), "W_dec": zeros.T.contiguous(), "b_dec": mean})


def perfect_sae():
    """An SAE with a feature for each direction of each axis: |x| = x_plus - x_minus is rebuilt exactly."""
    axes = torch.cat([torch.eye(D_MODEL), -torch.eye(D_MODEL)])
    cfg = SAEConfig("standard", D_MODEL, 2 * D_MODEL)
    tensors = {"W_enc": axes.T.contiguous(), "W_dec": axes, "b_enc": torch.zeros(2 * D_MODEL)}
    return SAE(cfg, tensors | {"b_dec": torch.zeros(D_MODEL)})


def toy_tokens(kind=None, lang=None):
    """TEST_ROWS as tokens of 50 images, half of them image tokens, in two languages by turns."""
    n = len(TEST_ROWS)
    kind = np.where(np.arange(n) % 2 == 0, "image", "caption") if kind is None else kind
    lang = np.where(np.arange(n) % 4 < 2, "en", "ar") if lang is None else lang
    return Tokens(TEST_ROWS, np.arange(n) % 50, lang, kind)


def fit_of(sae, reader, tokens, overall):
    control = untrained_control(sae, reader.read(tokens.rows), 0)
    return by_group(token_fit(sae, control, reader, tokens, overall, 0))


def by_group(rows):
    return {(row["kind"], row["lang"]): row for row in rows}


def test_the_mean_explains_nothing(planted):
    x = planted.reader.read(TEST_ROWS)
    every = toy_tokens(np.full(len(TEST_ROWS), "image"), np.full(len(TEST_ROWS), "en"))
    found = fit_of(mean_sae(x.mean(0)), planted.reader, every, ("image",))
    assert set(found) == {("all", BOTH), ("image", BOTH)}
    row = found["all", BOTH]
    assert row["explained_variance"] == pytest.approx(0, abs=1e-6)
    assert row["l0"] == 0 and row["dead_share"] == 1 and abs(row["explained_variance_median"]) < 1e-6
    assert (row["n_images"], row["n_tokens"]) == (50, len(TEST_ROWS))


def test_a_perfect_reconstruction_explains_everything_and_an_untrained_one_less(planted):
    found = fit_of(perfect_sae(), planted.reader, toy_tokens(), ("image", "caption"))
    assert set(found) == {(k, lang) for k in ("all", "image", "caption") for lang in (BOTH, "en", "ar")}
    for row in found.values():
        for name in ("explained_variance", "explained_variance_low", "explained_variance_high", "cosine"):
            assert row[name] == pytest.approx(1, abs=1e-6)
        assert row["explained_variance_median"] == pytest.approx(1, abs=1e-6)
        assert max(row["explained_variance_random"], row["explained_variance_median_random"]) < 0.9
        assert row["dead_share"] == 0 and row["l0"] == pytest.approx(D_MODEL, rel=0.01)


def test_an_sae_that_knows_one_kind_does_well_on_that_kind_alone(tmp_path):
    """Image tokens are the planted ones; those of captions lie along axes that the SAE has no feature for."""
    axes = torch.eye(D_MODEL)
    seen, unseen = axes[: D_MODEL // 2], axes[D_MODEL // 2 :]
    n = len(TEST_ROWS)
    code = torch.rand(n // 2, D_MODEL // 2, generator=torch.Generator().manual_seed(1))
    x = torch.cat([code @ seen, code @ unseen])
    reader, known = write_layer(tmp_path, x), torch.cat([seen, -seen])
    cfg = SAEConfig("standard", D_MODEL, len(known))
    sae = SAE(
        cfg,
        {
            "W_enc": known.T.contiguous(),
            "W_dec": known,
            "b_enc": torch.zeros(len(known)),
            "b_dec": torch.zeros(D_MODEL),
        },
    )
    tokens = Tokens(np.arange(n), np.arange(n) % 50, np.full(n, "en"), np.repeat(["image", "caption"], n // 2))
    found = fit_of(sae, reader, tokens, ("image", "caption"))
    image, caption = found["image", BOTH], found["caption", BOTH]
    assert image["explained_variance"] == pytest.approx(1, abs=1e-6)
    low, value, high = (caption[f"explained_variance{end}"] for end in ("_low", "", "_high"))
    assert low < value < high < 0  # it says 0 everywhere, which is worse than the mean


def test_one_far_token_rules_explained_variance_and_not_the_median():
    """The far one is rebuilt and all others are not: .99 of the variance, nothing of the middle token."""
    error, spread = np.r_[np.ones(99), 0.0], np.r_[np.ones(99), 9900.0]
    assert 1 - error.sum() / spread.sum() == pytest.approx(0.99, abs=1e-3)
    assert median_share(error, spread) == 0.0
    assert median_share(0.25 * error, spread) == pytest.approx(0.75)
    assert np.isnan(median_share(np.zeros(3), np.zeros(3)))


def test_the_control_is_of_the_same_size_and_as_sparse(planted):
    x = planted.reader.read(TEST_ROWS)
    control = untrained_control(perfect_sae(), x, 0)
    assert control.cfg.d_sae == 2 * D_MODEL and control.cfg.k == D_MODEL
    torch.testing.assert_close(control.W_dec.norm(dim=1), torch.ones(2 * D_MODEL))
    assert torch.equal(control.W_dec, untrained_control(perfect_sae(), x, 0).W_dec)


@pytest.fixture(scope="module")
def resid():
    captured = toy_vlm().forward(toy_rows(), toy_features(), [LAYER])
    return captured.resid[LAYER], captured.kinds


def passages():
    return [Passages(toy_rows()[2:4], toy_features()[2:4], (2, 3), ("en", "ar"))]


def test_loss_recovered_is_1_for_a_perfect_sae_and_0_for_the_mean_of_each_kind(resid):
    h, kinds = resid
    means = {"all": h[kinds < 5].mean(0), "image": h[kinds == 1].mean(0)}
    perfect, empty = axis_sae(means["all"]), axis_sae(means["image"], 4)
    empty.b_enc[:] = -1e6
    losses = row_losses(toy_vlm(), passages(), spliced_variants(perfect, perfect, LAYER, means))
    found = by_group(loss_fit(losses, means, 0))
    assert set(found) == {(kind, lang) for kind in means for lang in (BOTH, "en", "ar")}
    for row in found.values():
        assert row["ce_spliced"] == row["ce_random"] == pytest.approx(row["ce_clean"], abs=1e-3)
        recovered = (row["ce_ablated"] - row["ce_spliced"]) / (row["ce_ablated"] - row["ce_clean"])
        assert row["loss_recovered"] == pytest.approx(recovered) or np.isnan(row["loss_recovered"])
    assert found["all", BOTH]["n_scored_images"] == 2
    losses = row_losses(toy_vlm(), passages(), spliced_variants(empty, empty, LAYER, {"image": means["image"]}))
    for row in loss_fit(losses, ["image"], 0):
        assert row["ce_spliced"] == pytest.approx(row["ce_ablated"], abs=1e-5)


def test_only_positions_of_the_kind_are_changed(resid):
    h, kinds = resid
    sae = axis_sae(h.mean((0, 1)), 4)
    variants = spliced_variants(sae, sae, LAYER, {k: h.mean((0, 1)) for k in ("image", "prompt")})
    for name, codes in (("image", (1,)), ("prompt", (2, 4))):
        for variant in ("spliced", "ablated"):
            out = variants[f"{variant} {name}"][LAYER](h, kinds)
            changed = (out != h).any(-1)
            assert torch.equal(changed, torch.isin(kinds, torch.tensor(codes))) and changed.any()


def test_both_measures_stand_side_by_side_and_nan_becomes_null():
    fit = [{"kind": "image", "lang": "en", "explained_variance": float("nan")}]
    (row,) = joined(fit, [{"kind": "image", "lang": "en", "loss_recovered": 0.5}], 3, "abc")
    assert row == {
        "layer": 3,
        "sae_id": "abc",
        "kind": "image",
        "lang": "en",
        "explained_variance": None,
        "loss_recovered": 0.5,
    }


def test_means_are_of_the_rows_of_a_kind(planted):
    means = kind_means(planted.reader, {"image": TEST_ROWS, "prompt": TEST_ROWS[:0]}, 10**6)
    assert set(means) == {"image"}
    torch.testing.assert_close(means["image"], planted.reader.read(TEST_ROWS).mean(0), rtol=1e-4, atol=1e-4)
