"""Loss recovered is 1 for the identity and 0 for the mean, exactly, and in between for what lies in between."""

import math

import pytest
import torch

from core.errors import UserError
from core.sae.modules import SAE, SAEConfig
from core.sae.splicing import Passages, SpliceWithout, caption_losses, identity, loss_recovered, mean_ablation, splice
from core.vlm.batch import BOS, CAPTION, IMAGE, PAD
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm

LAYER = 3


def passages():
    rows, features = toy_rows(), toy_features()
    return [Passages(rows[2:4], features[2:4]), Passages(rows[4:6], features[4:6])]


@pytest.fixture(scope="module")
def mean():
    captured = toy_vlm().forward(toy_rows(), toy_features(), [LAYER])
    return captured.resid[LAYER][captured.mask].mean(0)


def axis_sae(mean, rows_kept=192):
    """Rebuilds exactly along the first axes, and says the mean along the others."""
    d_model = toy_vlm().d_model
    axes = torch.cat([torch.eye(d_model)[:rows_kept], -torch.eye(d_model)[:rows_kept]])
    tensors = {"W_enc": axes.T.contiguous(), "W_dec": axes, "b_enc": torch.zeros(len(axes)), "b_dec": mean}
    return SAE(SAEConfig("standard", d_model, len(axes)), tensors)


def test_identity_is_1_and_the_mean_is_0_exactly(mean):
    ablated = {LAYER: mean_ablation(mean)}
    losses = caption_losses(
        toy_vlm(), passages(), {"clean": {}, "identity": {LAYER: identity}, "ablated": ablated, "again": ablated}
    )
    assert losses["ablated"] != losses["clean"]
    assert losses["identity"] == losses["clean"]
    assert losses["again"] == losses["ablated"]
    assert loss_recovered(0.5, 0.5, 2.0) == 1
    assert loss_recovered(0.5, 2.0, 2.0) == 0
    assert loss_recovered(0.5, 1.25, 2.0) == 0.5


def test_a_perfect_sae_changes_nothing_and_an_empty_one_is_mean_ablation(mean):
    edits = {name: {LAYER: splice(axis_sae(mean, n))} for name, n in (("perfect", 192), ("half", 96))}
    empty = axis_sae(mean, 4)
    empty.b_enc[:] = -1e6
    edits |= {"clean": {}, "empty": {LAYER: splice(empty)}, "mean": {LAYER: mean_ablation(mean)}}
    losses = caption_losses(toy_vlm(), passages(), edits)
    assert losses["perfect"] == pytest.approx(losses["clean"], abs=1e-3)
    assert losses["empty"] == pytest.approx(losses["mean"], abs=1e-6)
    assert abs(losses["half"] - losses["clean"]) > 0.01


def test_bos_and_padding_are_left_alone(mean):
    seen = {}

    def spy(edit):
        def wrapped(h, kinds):
            out = edit(h, kinds)
            seen["changed"], seen["kinds"] = (out != h).any(-1), kinds.clone()
            return out

        return wrapped

    for edit in (mean_ablation(mean), splice(axis_sae(mean, 4))):
        toy_vlm().forward(toy_rows(), toy_features(), [LAYER], {LAYER: spy(edit)})
        untouched = (seen["kinds"] == 0) | (seen["kinds"] == 5)
        assert untouched.any() and torch.equal(seen["changed"], ~untouched)


def test_cross_entropy_is_that_of_the_caption_tokens():
    vlm, batches = toy_vlm(), passages()
    logits = vlm.forward(batches[0].rows, batches[0].features, logits=True).logits
    total, n = 0.0, 0
    for i, row in enumerate(batches[0].rows):
        for t in range(vlm.n_prompt(row), len(row)):
            place = logits.shape[1] - len(row) + t
            total -= float(logits[i, place - 1].log_softmax(-1)[row[t]])
            n += 1
    assert caption_losses(vlm, batches[:1], {"clean": {}})["clean"] == pytest.approx(total / n, rel=1e-5)


def test_without_harm_or_captions_there_is_nothing_to_recover():
    assert math.isnan(loss_recovered(1.0, 0.9, 1.0))
    assert math.isnan(caption_losses(toy_vlm(), [], {"clean": {}})["clean"])


def test_the_sae_of_another_model_is_refused(mean):
    other = SAE(
        SAEConfig("standard", 8, 4),
        {
            "W_enc": torch.zeros(8, 4),
            "W_dec": torch.zeros(4, 8),
            "b_enc": torch.zeros(4),
            "b_dec": torch.zeros(8),
        },
    )
    with pytest.raises(UserError, match="width 8"):
        caption_losses(toy_vlm(), passages(), {"other": {LAYER: splice(other)}})


def test_features_off_in_a_row_are_missing_from_its_reconstruction_alone_and_bos_and_padding_stay(mean):
    sae = axis_sae(mean, 96)
    torch.manual_seed(0)
    h, kinds = (
        torch.randn(2, 5, len(mean)),
        torch.tensor([[BOS, IMAGE, IMAGE, CAPTION, CAPTION], [BOS, PAD] + [IMAGE] * 3]),
    )
    whole, z = splice(sae)(h, kinds), sae.encode(h)
    edit = SpliceWithout(sae, [[0, 96], [3]])
    found = edit(h, kinds.to(torch.int8))
    inside = (kinds != BOS) & (kinds != PAD)
    assert torch.equal(found[~inside], h[~inside])
    for row, off in enumerate(([0, 96], [3])):
        missing = z[row][:, off] @ sae.W_dec[off]
        wanted = torch.where(inside[row][:, None], whole[row] - missing, h[row])
        assert torch.allclose(found[row], wanted, atol=1e-5) and missing.abs().max() > 0.1
    again = edit.at_rows(torch.tensor([1]))(h[1:], kinds[1:])
    assert torch.allclose(again, found[1:], atol=1e-6)
    assert torch.allclose(SpliceWithout(sae, [[], []])(h, kinds), whole, atol=1e-6)
