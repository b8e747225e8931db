"""Where memory does not hold a batch, its halves are run: the same answers, a line in the log, each edit on its row."""

import logging

import pytest
import torch

from core.errors import UserError
from core.steering import Edit, edit_hooks
from core.vlm.gradients import resid_gradients
from core.vlm.halving import Halving
from core.vlm.sampling import sample_captions, uniforms
from tests.steering.test_steering_edits import LAYER, toy_sae
from tests.vlm.toy_model import Read, toy_features, toy_rows, toy_vlm

FITS = 2  # rows that the small device holds


@pytest.fixture
def small_device(monkeypatch):
    """The toy model on a device that holds FITS rows: whatever lays out more of them runs out of memory."""
    vlm = toy_vlm()
    lay_out, tried = vlm._lay_out, []

    def bounded(rows, *more, **named):
        tried.append(len(rows))
        if len(rows) > FITS:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return lay_out(rows, *more, **named)

    monkeypatch.setattr(vlm, "halving", Halving())
    monkeypatch.setattr(vlm, "_lay_out", bounded)
    return vlm, tried


def own_edits():
    """A different feature for each row, and none for the last."""
    sae = toy_sae()
    from core.sae.files import sae_id

    edits = [[Edit(LAYER, f, sae_id(sae), "add", 3.0, "raw")] for f in range(len(toy_rows()) - 1)] + [[]]
    return edit_hooks(edits, {LAYER: sae}, {})


def everything(vlm):
    """All ways through the model, with an edit of its own for every row."""
    rows, features = toy_rows(), toy_features()[: len(toy_rows())]
    captured = vlm.forward(rows, features, [LAYER, 6], edits=own_edits(), logits=True)
    whole = [[*row, 20, 21, 22] for row in rows]
    scores = vlm.caption_log_probs(whole, features, own_edits())
    gradients = resid_gradients(vlm, rows, features, [4], Read(lambda logits: logits[:, 7] - logits[:, 9]))
    numbers = uniforms([(1, i) for i in range(2 * len(rows))], 5).reshape(len(rows), 2, 5)
    return {
        "resid": captured.resid[6],
        "logits": captured.logits,
        "mask": captured.mask,
        "kinds": captured.kinds,
        "scores": torch.cat(scores),
        "gradient": gradients.gradient[4],
        "resid_of_gradient": gradients.resid[4],
        "captions": vlm.generate(rows, features, 6, own_edits()),
        "sampled": sample_captions(vlm, rows, features, numbers),
    }


def test_halves_give_what_the_whole_batch_gives(small_device, monkeypatch, caplog):
    vlm, _ = small_device
    assert len(toy_rows()) > 2 * FITS
    with caplog.at_level(logging.WARNING, "captionscope.model"):
        halved = everything(vlm)
    assert caplog.text.count("going on with") >= 4 and "CUDA out of memory" in caplog.text
    monkeypatch.undo()
    whole = everything(vlm)
    mask = whole["mask"]
    for name, value in whole.items():
        if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
            if value.shape[:2] == mask.shape:  # what stands on padding means nothing
                value, halved[name] = value[mask], halved[name][mask]
            assert torch.allclose(halved[name], value, atol=2e-3), name
        elif isinstance(value, torch.Tensor):
            assert torch.equal(halved[name], value), name
        else:
            assert halved[name] == value, name


def test_what_fitted_is_remembered(small_device):
    vlm, tried = small_device
    rows, features = toy_rows(), toy_features()[: len(toy_rows())]
    vlm.generate(rows, features, 2)
    first = len(tried)
    vlm.generate(rows, features, 2)
    assert max(tried[:first]) == len(rows) and max(tried[first:]) <= FITS


def test_one_row_that_does_not_fit_is_an_error_with_a_way_out(small_device, monkeypatch):
    vlm, _ = small_device
    monkeypatch.setattr("tests.vlm.test_vlm_halving.FITS", 0)
    with pytest.raises(UserError, match=r"one row of captions[\s\S]*CUDA out of memory[\s\S]*model\.quantize"):
        vlm.generate(toy_rows(), toy_features()[: len(toy_rows())], 2)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def broken(start, stop):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        Halving()("captions", broken, 4)


@pytest.mark.parametrize("n_rows", [0, 1, 5, 8])
@pytest.mark.parametrize("fits", [1, 3, 8])
def test_parts_cover_every_row_once_and_in_order(n_rows, fits):
    def work(start, stop):
        if stop - start > fits:
            raise torch.OutOfMemoryError("out of memory")
        return list(range(start, stop))

    assert [i for part in Halving()("rows", work, n_rows) for i in part] == list(range(n_rows))
