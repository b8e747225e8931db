"""Passes begun behind a layer: the same captions for less work, rows that end leave the batch, and nothing leaks."""

import pytest
import torch

from core.steering import Edit, edit_hooks
from core.vlm.hookpoints import ActivationCache
from tests.steering.test_steering_edits import LAYER, toy_sae
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm

N = 12  # tokens


def prompts():
    """Four rows of two prompts, each with an image of its own."""
    en, ar = toy_rows()[:2]
    return [en, ar, en, ar], toy_features()[:4]


def own_edits(n):
    """A feature of its own for every row, strong enough to change what is written."""
    from core.sae.files import sae_id

    sae = toy_sae()
    return edit_hooks([[Edit(LAYER, f, sae_id(sae), "add", 30.0, "raw")] for f in range(n)], {LAYER: sae}, {})


@pytest.mark.parametrize("layer", [0, LAYER])
def test_edited_captions_are_those_of_whole_passes(layer):
    vlm, (rows, features) = toy_vlm(), prompts()
    of = [3, 0, 0, 1, 2]
    asked, seen = [rows[i] for i in of], features[of]
    whole = vlm.generate(asked, seen, N, own_edits(5))
    prefix = vlm.prefix(rows, features, layer)
    behind = vlm.generate(asked, seen, N, own_edits(5), prefix.take(of))
    assert behind == whole
    assert whole[0] != vlm.generate(asked, seen, N)[0], "the edits do something, or nothing was shown"
    again = vlm.generate(asked, seen, N, own_edits(5), prefix.take(of))
    assert again == behind, "the prefix is as it was"


def test_layers_below_do_not_run_and_run_again_afterwards():
    vlm, (rows, features) = toy_vlm(), prompts()
    prefix = vlm.prefix(rows, features, LAYER)
    ran = []
    hooks = [
        m.register_forward_hook(lambda *_, n=n: ran.append(n))
        for n, m in enumerate(layer.self_attn for layer in vlm.decoder_layers)
    ]
    try:
        vlm.forward(rows, features, logits=True, prefix=prefix)
        assert min(ran) == LAYER + 1
        ran.clear()
        with pytest.raises(ZeroDivisionError):
            vlm.forward(rows, features, logits=True, prefix=prefix, edits={LAYER: lambda h, kinds: 1 / 0})
        vlm.forward(rows, features, [0])
        assert ran == [0], "an error inside leaves the model whole"
    finally:
        for hook in hooks:
            hook.remove()


def test_what_lies_below_cannot_be_asked_for():
    vlm, (rows, features) = toy_vlm(), prompts()
    prefix = vlm.prefix(rows, features, LAYER, decoding=False)
    for wrong in (
        lambda: vlm.forward(rows, features, [LAYER - 1], prefix=prefix),
        lambda: vlm.forward(rows, features, edits={LAYER - 1: lambda h, kinds: h}, prefix=prefix),
        lambda: vlm.caption_log_probs(rows, features, {LAYER - 1: lambda h, kinds: h}, prefix),
    ):
        with pytest.raises(ValueError, match=f"behind layer {LAYER}"):
            wrong()


def test_a_pass_behind_a_prefix_of_whole_rows_gives_their_scores():
    vlm, rows, features = toy_vlm(), toy_rows(), toy_features()
    rows = [[*row, 20, 21] for row in rows]
    prefix = vlm.prefix(rows, features, LAYER, decoding=False)
    edits = own_edits(len(rows))
    for ours, theirs in zip(
        vlm.caption_log_probs(rows, features, edits, prefix), vlm.caption_log_probs(rows, features, edits), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    whole = vlm.forward(rows, features, [LAYER, 6]).resid
    behind = vlm.forward(rows, features, [LAYER, 6], prefix=prefix).resid
    for layer, resid in whole.items():
        torch.testing.assert_close(behind[layer], resid, atol=1e-4, rtol=1e-4)


def test_rows_that_have_ended_leave_the_batch_and_change_nothing(monkeypatch):
    """Captions of very different lengths; alone, each row is what it is in the batch."""
    vlm, (rows, features) = toy_vlm(), prompts()
    captions = vlm.generate(rows, features, N)[0]
    ends = (captions[0][2], captions[1][5])  # two of the rows now end early, where they wrote these
    monkeypatch.setattr(vlm, "eos_ids", (*vlm.eos_ids, *ends))
    sizes = []
    step = vlm._step
    monkeypatch.setattr(vlm, "_step", lambda state: (sizes.append(len(state.next_ids)), step(state))[1])
    together = vlm.generate(rows, features, N)
    assert min(sizes) < len(rows), "somebody left"
    for i, row in enumerate(rows):
        assert vlm.generate([row], features[i : i + 1], N)[0][0] == together[0][i]
    sizes.clear()
    with ActivationCache(vlm, "layers.0.resid_post", last_only=True) as cache:
        assert vlm.generate(rows, features, N) == together
    assert set(sizes) == {len(rows)} and len(cache["layers.0.resid_post"]) == len(rows) * (1 + len(sizes))
