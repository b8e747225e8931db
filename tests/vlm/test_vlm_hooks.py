"""Hooks act in every pass inside their block and in none outside it."""

import pytest
import torch

from core.vlm.batch import CAPTION
from core.vlm.hooks import capture, editing
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm


def n_hooks(vlm):
    return sum(len(layer._forward_hooks) for layer in vlm.decoder_layers)


def test_an_edit_changes_what_comes_after_and_capture_sees_it():
    vlm, rows, features = toy_vlm(), toy_rows(), toy_features()
    plain = vlm.forward(rows, features, [1, 2, 3], logits=True)
    edited = vlm.forward(rows, features, [1, 2, 3], edits={2: lambda h, kinds: h + 1}, logits=True)
    assert torch.equal(plain.resid[1], edited.resid[1])
    assert torch.equal(plain.resid[2] + 1, edited.resid[2])
    assert not torch.allclose(plain.resid[3], edited.resid[3])
    assert not torch.equal(plain.logits, edited.logits)


def test_doing_nothing_is_bit_identical():
    vlm, rows, features = toy_vlm(), toy_rows(), toy_features()
    plain = vlm.forward(rows, features, [7], logits=True)
    edited = vlm.forward(rows, features, [7], edits={i: lambda h, kinds: h for i in range(8)}, logits=True)
    assert torch.equal(plain.logits, edited.logits)


def test_prefill_and_every_decoded_token_pass_through_the_edit():
    vlm, rows, features = toy_vlm(), toy_rows()[:2], toy_features()[:2]
    seen = []

    def watch(h, kinds):
        seen.append(kinds.clone())
        return h

    captions, _ = vlm.generate(rows, features, 5, edits={4: watch})
    assert [k.shape[1] for k in seen] == [max(map(len, rows)), 1, 1, 1, 1]
    decoded = torch.cat(seen[1:], 1)
    assert bool((decoded == CAPTION).sum() >= 1)
    expected = [[t in vlm.special_ids for t in row[:-1]] for row in captions]
    assert [[k != CAPTION for k in row] for row in decoded.tolist()] == expected


def test_edits_in_decoding_reach_the_next_token():
    """An edit of caption tokens alone leaves the first token and changes later ones."""
    vlm, rows, features = toy_vlm(), toy_rows()[:1], toy_features()[:1]
    push = torch.randn(vlm.d_model, generator=torch.Generator().manual_seed(0)) * 30

    def shove(h, kinds):
        return torch.where((kinds == CAPTION)[..., None], h + push, h)

    plain, _ = vlm.generate(rows, features, 8)
    edited, _ = vlm.generate(rows, features, 8, edits={6: shove})
    assert plain[0][0] == edited[0][0] and plain != edited


def test_hooks_are_gone_after_an_exception():
    vlm, rows, features = toy_vlm(), toy_rows(), toy_features()
    before = n_hooks(vlm)  # the library may have hooks of its own
    plain = vlm.forward(rows, features, [7]).resid[7]

    def fail(h, kinds):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        vlm.forward(rows, features, [3], edits={1: fail})
    with pytest.raises(ZeroDivisionError):
        list(vlm.stream(rows, features, 4, edits={1: fail}))
    with pytest.raises(ZeroDivisionError), capture(vlm, [0]), editing(vlm, {0: lambda h, k: h * 0}):
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="layers 0 to 7"), editing(vlm, {0: fail, 9: fail}):
        pass
    assert n_hooks(vlm) == before and vlm.kinds is None
    assert torch.equal(plain, vlm.forward(rows, features, [7]).resid[7])


def test_a_stream_left_in_the_middle_leaves_no_hook():
    vlm, rows, features = toy_vlm(), toy_rows()[:1], toy_features()[:1]
    before = n_hooks(vlm)
    plain, _ = vlm.generate(rows, features, 6)
    stream = vlm.stream(rows, features, 6, edits={1: lambda h, kinds: h * 2})
    next(stream)
    assert n_hooks(vlm) == before
    assert vlm.generate(rows, features, 6)[0] == plain  # another caller, between two steps
    next(stream)
    stream.close()
    assert n_hooks(vlm) == before


def test_edits_must_keep_shape_and_dtype():
    vlm, rows, features = toy_vlm(), toy_rows()[:1], toy_features()[:1]
    for wrong in (lambda h, k: h[:, :1], lambda h, k: h.double()):
        with pytest.raises(ValueError, match="edit of layer 2"):
            vlm.forward(rows, features, [3], edits={2: wrong})


def test_edits_refuse_passes_whose_tokens_they_do_not_know():
    vlm = toy_vlm()
    ids = torch.tensor([[2, 300]])
    with editing(vlm, {0: lambda h, k: h}), pytest.raises(RuntimeError, match=r"VLM\.forward"):
        vlm.model(input_ids=ids)
