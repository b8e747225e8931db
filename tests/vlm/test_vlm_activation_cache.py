"""An activation cache takes places by name and pattern, watches any torch module, and comes back from its file."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from core import ActivationCache, HookPoint, UserError
from core.vlm.hook_names import hook_points
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm


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
