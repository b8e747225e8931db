"""Directions, projections, floors, shares of the residual and conditions do what their formulas say."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.steering import Direction, Edit, EditRecord, edit_hooks
from core.vlm.batch import CAPTION, IMAGE, PROMPT
from tests.steering.test_steering_edits import LAYER, active_feature, edit, residuals, toy_sae

D = toy_sae().W_dec.shape[1]


def vector(seed: int) -> torch.Tensor:
    return torch.randn(D, generator=torch.Generator().manual_seed(seed))


def along(name: str = "gender", mode: str = "add", strength: float = 2.0, **options) -> Edit:
    return Edit(LAYER, mode=mode, strength=strength, direction=name, **{"unit": "raw", **options})


def run(edits, directions=None, cap=math.inf, record=None, saes=True):
    h, kinds = residuals()
    named = {(LAYER, name): d for name, d in (directions or {}).items()}
    hooks = edit_hooks([edits, []], {LAYER: toy_sae()} if saes else {}, {}, cap, record, named)
    return h, hooks[LAYER](h, kinds)


def test_a_direction_is_added_at_its_length_and_needs_no_sae():
    h, out = run([along()], {"gender": Direction(vector(1))}, saes=False)
    torch.testing.assert_close(out[0, 3:], h[0, 3:] + 2 * vector(1))
    assert torch.equal(out[1], h[1]) and torch.equal(out[0, :3], h[0, :3])


def test_max_act_counts_in_the_directions_scale():
    h, out = run([along(unit="max_act", strength=0.5)], {"gender": Direction(vector(1), scale=6.0)})
    torch.testing.assert_close(out[0, 3:], h[0, 3:] + 3 * vector(1))


def test_ablating_a_centred_direction_leaves_everything_at_the_centre():
    d, center = vector(1), vector(2)
    _, out = run([along(mode="ablate")], {"gender": Direction(d, center=center)})
    torch.testing.assert_close(out[0, 3:] @ d, (center @ d).expand(3), atol=1e-3, rtol=1e-4)


def test_an_eraser_with_its_own_reading_is_the_affine_map_it_stands_for():
    write, read, center = vector(1), vector(3), vector(2)
    h, out = run([along(mode="ablate")], {"gender": Direction(write, read, center)})
    expected = h[0, 3:] - ((h[0, 3:] - center) @ read)[:, None] * write
    torch.testing.assert_close(out[0, 3:], expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 95), min_size=1, max_size=12, unique=True))
def test_what_is_projected_out_is_gone_and_nothing_else_is(features):
    edits = [edit(f, "project_out") for f in features]
    h, out = run(edits)
    rows = toy_sae().W_dec[features]
    assert (out[0, 3:] @ rows.T).abs().max() < 2e-4 * h.norm(dim=-1).max()
    change = out[0, 3:] - h[0, 3:]
    inside = torch.linalg.lstsq(rows.T.double(), change.T.double()).solution
    torch.testing.assert_close(rows.T.double() @ inside, change.T.double(), atol=1e-3, rtol=1e-3)


def test_a_vector_twice_is_projected_out_once():
    d = vector(1)
    h, out = run([along("a", "project_out"), along("b", "project_out")], {"a": Direction(d), "b": Direction(3 * d)})
    once = h[0, 3:] - (h[0, 3:] @ d)[:, None] * d / (d @ d)
    torch.testing.assert_close(out[0, 3:], once, atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError, match="projected out together"):
        run([edit(1, "project_out", where=("image",)), edit(2, "project_out")])


def test_a_floor_lifts_what_is_below_and_leaves_what_is_above():
    h, _ = residuals()
    feature = active_feature(h)
    z = toy_sae().encode(h[0, 3:])[:, feature]
    height = float(z[0]) / 2
    h, out = run([edit(feature, "floor", height)])
    lift = (height - z).clamp_min(0)
    assert lift[0] == 0 and torch.equal(out[0, 3], h[0, 3])
    torch.testing.assert_close(out[0, 3:], h[0, 3:] + lift[:, None] * toy_sae().W_dec[feature])


def test_a_share_of_the_residual_is_as_long_as_that_share():
    record = EditRecord()
    h, out = run([edit(7, unit="resid", strength=0.25)], record=record)
    torch.testing.assert_close((out - h)[0, 3:].norm(dim=1), 0.25 * h[0, 3:].norm(dim=1), rtol=1e-4, atol=1e-4)
    assert [e["ratio"] for e in record.positions()] == pytest.approx([0.25] * 3, rel=1e-4)


def test_only_where_it_fires_means_only_there():
    h, _ = residuals()
    z = toy_sae().encode(h[0, 3:])
    feature = next(f for f in z[0].nonzero()[:, 0].tolist() if 0 < int((z[:, f] > 0).sum()) < 3)
    h, out = run([edit(feature, condition="fires")])
    assert torch.equal((out != h)[0, 3:].any(-1), z[:, feature] > 0)


def test_the_record_says_what_was_asked_and_what_came():
    record = EditRecord(achieved=True)
    d = Direction(vector(1))
    h, out = run([along(strength=5.0), edit(4, where=("caption",))], {"gender": d}, record=record)
    seen = record.positions()
    assert [(e["step"], e["row"], e["position"], e["kind"]) for e in seen] == [
        (0, 0, 3, IMAGE),
        (0, 0, 4, PROMPT),
        (0, 0, 5, CAPTION),
    ]
    for e in seen[:2]:
        assert e["z_after"]["gender"] - e["z_before"]["gender"] == pytest.approx(5.0, abs=1e-3)
        cosine = torch.nn.functional.cosine_similarity(h[0, e["position"]], out[0, e["position"]], dim=0)
        assert e["angle"] == pytest.approx(math.degrees(math.acos(float(cosine))), abs=0.05) and not e["capped"]
    assert set(seen[2]["z_after"]) == {4, "gender"}


def test_steps_are_counted_over_the_passes_of_one_caption():
    h, kinds = residuals()
    record = EditRecord()
    hook = edit_hooks([[edit(1)], []], {LAYER: toy_sae()}, {}, math.inf, record)[LAYER]
    for _ in range(3):
        hook(h, kinds)
    assert [e["step"] for e in record.positions()] == [0] * 3 + [1] * 3 + [2] * 3


@pytest.mark.parametrize(
    "wrong, said",
    [
        (lambda: Edit(LAYER), "names neither"),
        (lambda: Edit(LAYER, 3, "x", direction="d"), "names both"),
        (lambda: Edit(LAYER, direction="d", condition="fires"), "Only a feature fires"),
        (lambda: Edit(LAYER, 3, "x", mode="project_out", condition="fires"), "Only a feature fires"),
        (lambda: Edit(LAYER, 3, "x", condition="sometimes"), "condition"),
        (lambda: Direction(torch.zeros(4)), "points nowhere"),
        (lambda: Direction(torch.ones(4), read=torch.ones(3)), "as long as the residual"),
        (lambda: Direction(torch.tensor([1.0, math.nan])), "finite"),
        (
            lambda: edit_hooks([[along("other")]], {}, {}, directions={(LAYER, "gender"): Direction(vector(1))}),
            "gender",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, said):
    with pytest.raises(UserError, match=said):
        wrong()
