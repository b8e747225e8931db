"""Hook points say what passes through the model, wherever it runs, and leave no trace in it."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

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


# By name and pattern, on any module, and from a file


class Stack(nn.Module):
    """Three layers that each add 1; the sum at the end."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Adds() for _ in range(3))
        self.told = nn.Identity()
        self.total = Sums()

    def forward(self, x):
        for layer in self.layers:
            x = layer(x=x)
        self.told(None)
        return self.total(x)["sum"]


class Adds(nn.Module):
    def forward(self, x):
        return x + 1, "not a tensor"

    def __call__(self, x):
        return super().__call__(x)[0]


class Sums(nn.Module):
    def forward(self, x):
        return {"sum": x.sum(-1)}


def three_parts(error):
    return all((error.value.what, error.value.why, error.value.do))


@pytest.mark.parametrize(
    ("asked", "points"),
    [
        ("layers.5.resid_post", [(5, "resid_post")]),
        (["layers.5.resid_post", HookPoint(1, "z"), (5, "resid_post")], [(5, "resid_post"), (1, "z")]),
        ("layers.*.z", [(n, "z") for n in range(8)]),
        ("layers.[23].*_out", [(2, "attn_out"), (2, "mlp_out"), (3, "attn_out"), (3, "mlp_out")]),
        ((3, "resid_pre"), [(3, "resid_pre")]),
    ],
)
def test_names_and_patterns_mean_hook_points(asked, points):
    assert ActivationCache(toy_vlm(), asked).points == points


def test_a_name_reads_what_its_hook_point_reads():
    with ActivationCache(toy_vlm(), "layers.5.*") as cache:
        toy_vlm().forward(toy_rows(), toy_features())
    assert torch.equal(cache["layers.5.resid_post"], cache[HookPoint.parse("layers.5.resid_post")])
    assert torch.equal(cache["layers.5.resid_post"], cache[5, "resid_post"])


def test_layers_and_submodules_of_any_module_are_kept_whole_and_only_while_watched():
    model, x = Stack(), torch.arange(6.0).reshape(2, 3).requires_grad_()
    with ActivationCache(model, ["layers.*.resid_p*", "total"]) as cache:
        model(x)
        model(x + 10)
    model(x)
    assert [str(p) for p in cache.points[:2]] == ["layers.0.resid_pre", "layers.0.resid_post"]
    both = torch.cat([x, x + 10]).detach()
    for layer in range(3):
        assert torch.equal(cache[layer, "resid_pre"], both + layer)
        assert torch.equal(cache[f"layers.{layer}.resid_post"], both + layer + 1)
    assert torch.equal(cache["total"], (both + 3).sum(-1)) and not cache["total"].requires_grad


def test_a_plain_sequence_of_modules_has_layers_too():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    x = torch.ones(5, 4)
    with ActivationCache(model, ["layers.1.resid_post", "2"]) as cache:
        out = model(x)
    assert torch.equal(cache["2"], out) and torch.equal(cache["layers.1.resid_post"], model[0](x).relu())


def test_what_is_saved_comes_back_the_same(tmp_path):
    vlm, features = toy_vlm(), toy_features()[:2]
    rows = [vlm.prompt_ids("Describe the image."), vlm.prompt_ids("صف الصورة.")]
    with ActivationCache(vlm, hook_points([0, 7], ["resid_post", "z", "pattern"])) as cache:
        vlm.generate(rows, features, 4)
    cache.save(tmp_path / "cache.safetensors")
    again = ActivationCache.load(tmp_path / "cache.safetensors")
    assert again.points == cache.points and again.step.max() == 3
    for point in cache.points:
        assert torch.equal(again[point], cache[point])
    for name in ("row", "column", "kind", "step", "kinds"):
        assert torch.equal(getattr(again, name), getattr(cache, name))
    assert torch.equal(again.select("layers.7.z", "caption"), cache.select("layers.7.z", "caption"))
    assert [p.name for p in tmp_path.iterdir()] == ["cache.safetensors"]


def test_a_cache_of_a_plain_module_comes_back_and_cannot_watch(tmp_path):
    model = Stack()
    with ActivationCache(model, "total", dtype=torch.bfloat16) as cache:
        model(torch.ones(2, 3))
    cache.save(tmp_path / "plain.safetensors")
    again = ActivationCache.load(tmp_path / "plain.safetensors")
    assert torch.equal(again["total"], cache["total"]) and again["total"].dtype == torch.bfloat16
    with pytest.raises(UserError, match="cannot watch") as error, again:
        pass
    assert three_parts(error)
    with pytest.raises(UserError, match="no positions"):
        _ = again.row


@pytest.mark.parametrize(
    ("model", "points", "options", "what"),
    [
        (toy_vlm, "layers.9.resid_post", {}, "no place 'layers.9.resid_post'"),
        (toy_vlm, "blocks.3.hook_z", {}, "no place 'blocks.3.hook_z'"),
        (toy_vlm, "layers.*.resid_mid", {}, "no place"),
        (toy_vlm, [], {}, "nothing to keep"),
        (toy_vlm, 5, {}, "5 is no place"),
        (toy_vlm, "layers.1.z", {"kinds": ("pictures",)}, "no positions of kind 'pictures'"),
        (Stack, "layers.1.attn_out", {}, "no place"),
        (Stack, "layers.1.resid_post", {"last_only": True}, "cannot be told apart"),
        (dict, "layers.1.resid_post", {}, "A dict is no model"),
    ],
)
def test_wrong_use_is_told_with_what_why_and_what_to_do(model, points, options, what):
    with pytest.raises(UserError, match=what) as error:
        ActivationCache(model(), points, **options)
    assert three_parts(error)


def test_wrong_reading_is_told_with_what_why_and_what_to_do(tmp_path):
    model = Stack()
    save_file({"x": torch.ones(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    cache = ActivationCache(model, ["layers.0.resid_post", "told"])

    def of_two_lengths():
        with ActivationCache(model, "layers.0.resid_post") as two:
            model(torch.ones(1, 3))
            model(torch.ones(1, 4))
        return two["layers.0.resid_post"]

    def without_a_tensor():
        with cache:
            model(torch.ones(1, 3))

    def too_much():
        with ActivationCache(model, "total", max_bytes=1):
            model(torch.ones(1, 3))

    def past_the_adapter():
        with ActivationCache(toy_vlm(), "layers.0.resid_post"):
            toy_vlm().model(input_ids=torch.tensor([[300, 301]]))

    wrong = {
        "No pass has reached layers.0.resid_post": lambda: cache["layers.0.resid_post"],
        "does not keep layers.1.resid_post": lambda: cache["layers.1.resid_post"],
        "No pass has reached any": lambda: ActivationCache(toy_vlm(), "layers.0.z").row,
        "differ in shape": of_two_lengths,
        "no tensor to keep at told": without_a_tensor,
        "more than 0 MiB": too_much,
        "nothing of its positions": past_the_adapter,
        "is no activation cache": lambda: ActivationCache.load(tmp_path / "other.safetensors"),
        "text.safetensors cannot be read": lambda: ActivationCache.load(tmp_path / "text.safetensors"),
        "nowhere.safetensors cannot be read": lambda: ActivationCache.load(tmp_path / "nowhere.safetensors"),
        "'resid_post' is no hook point": lambda: HookPoint.parse("resid_post"),
    }
    for what, use in wrong.items():
        with pytest.raises(UserError, match=what) as error:
            use()
        assert three_parts(error), what
