"""Hook points say what passes through the model, wherever it runs, and leave no trace in it."""

import pytest
import torch

from core.errors import UserError
from core.vlm import attention
from core.vlm.blocks import BLOCKS, Block
from core.vlm.hookpoints import ActivationCache, HookPoint, hook_points
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm


def n_hooks(vlm):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in vlm.model.modules())


def test_patterns_can_be_read_from_an_eager_model_too():
    vlm, rows, features = toy_vlm(), toy_rows()[:2], toy_features()[:2]
    with ActivationCache(vlm, hook_points([1], ["pattern"])) as cache:
        vlm.forward(rows, features)
    vlm.model.set_attn_implementation("eager")
    try:
        with ActivationCache(vlm, hook_points([1], ["pattern"])) as other:
            vlm.forward(rows, features)
    finally:
        vlm.model.set_attn_implementation("sdpa")
    torch.testing.assert_close(cache[1, "pattern"], other[1, "pattern"], rtol=0, atol=1e-5)


def test_watching_changes_nothing():
    vlm, rows, features = toy_vlm(), toy_rows(), toy_features()
    plain, before = vlm.forward(rows, features, logits=True).logits, n_hooks(vlm)
    with ActivationCache(vlm, hook_points(range(8))):
        assert torch.equal(vlm.forward(rows, features, logits=True).logits, plain)
    assert n_hooks(vlm) == before and not attention._observed


def test_generation_is_kept_step_by_step_as_one_whole_pass_would_be():
    vlm, features = toy_vlm(), toy_features()[:2]
    rows = [vlm.prompt_ids("Describe the image."), vlm.prompt_ids("صف الصورة.")]
    points = hook_points([0, 3, 7], ["resid_post", "z", "pattern"])
    with ActivationCache(vlm, points) as cache:
        captions, _ = vlm.generate(rows, features, 5)
    assert cache.step.max() == 4 and (cache.step > 0).sum() == 8
    with ActivationCache(vlm, points) as whole:
        vlm.forward([r + c[:4] for r, c in zip(rows, captions, strict=True)], features)
    order = lambda c: sorted(range(len(c.row)), key=lambda i: (int(c.row[i]), int(c.column[i])))  # noqa: E731
    for point in points:
        torch.testing.assert_close(cache[point][order(cache)], whole[point][order(whole)], rtol=1e-3, atol=2e-3)


def test_image_and_text_are_held_apart():
    vlm = toy_vlm()
    with ActivationCache(vlm, [HookPoint(1, "resid_post")], kinds=("image", "caption")) as cache:
        vlm.forward(toy_rows(), toy_features())
    image, text = cache.select((1, "resid_post"), "image"), cache.select((1, "resid_post"), "caption")
    assert len(image) == 6 * vlm.n_image_tokens and len(text) == 3 + 11 + 1 + 2
    assert len(cache[1, "resid_post"]) == len(image) + len(text)


def test_the_last_position_alone_costs_the_last_position_alone():
    vlm, point = toy_vlm(), HookPoint(5, "attn_out")
    with ActivationCache(vlm, [point]) as cache, ActivationCache(vlm, [point], last_only=True) as last:
        vlm.forward(toy_rows(), toy_features())
    ends = cache.column == cache.column.max()
    assert torch.equal(last[point], cache[point][ends]) and last.n_bytes == 6 * vlm.d_model * 4


def test_types_and_devices_are_those_asked_for():
    vlm = toy_vlm()
    with ActivationCache(vlm, hook_points([0]), dtype=torch.bfloat16) as cache:
        vlm.forward(toy_rows(), toy_features())
    assert {cache[p].dtype for p in cache.points} == {torch.bfloat16}
    assert not any(cache[p].requires_grad for p in cache.points)


def test_memory_is_bounded_and_the_error_names_the_knob():
    vlm, before = toy_vlm(), n_hooks(toy_vlm())
    with pytest.raises(UserError, match="0 MiB") as raised, ActivationCache(vlm, hook_points([0, 1]), max_bytes=9999):
        vlm.forward(toy_rows(), toy_features())
    assert "mechanisms.cache_mib" in raised.value.do and n_hooks(vlm) == before and vlm.kinds is None


def test_hooks_are_gone_after_an_exception():
    vlm, before = toy_vlm(), n_hooks(toy_vlm())
    with pytest.raises(ZeroDivisionError), ActivationCache(vlm, hook_points(range(8))):
        vlm.forward(toy_rows(), toy_features(), edits={3: lambda h, kinds: h * (1 / 0)})
    with pytest.raises(UserError, match="layers 0 to 7"):
        ActivationCache(vlm, [HookPoint(8, "z")])
    with pytest.raises(UserError, match="places are"):
        ActivationCache(vlm, [HookPoint(1, "zz")])
    assert n_hooks(vlm) == before and not attention._observed


def test_two_batches_are_not_mixed_up():
    vlm = toy_vlm()
    with ActivationCache(vlm, [HookPoint(0, "resid_pre")]) as cache:
        vlm.forward(toy_rows(), toy_features())
        with pytest.raises(UserError, match="another batch"):
            vlm.forward(toy_rows(), toy_features())
        cache.clear()
        vlm.forward(toy_rows()[:1], toy_features()[:1])
    assert set(cache.row.tolist()) == {0}


def test_a_family_whose_parts_are_unknown_is_refused(monkeypatch):
    monkeypatch.delitem(BLOCKS, "gemma3_text")
    with pytest.raises(UserError, match="not known"):
        Block(toy_vlm(), 0)
