"""An attribution graph is exact where the model is linear, adds up where it is not, and says what it leaves out."""

import numpy as np
import pytest
import torch

from core.errors import UserError
from core.gender.contrast import Contrast, LogOdds
from core.gender.word_ends import word_ends
from core.mech.counterfactual import PLACES, Counterfactual
from core.mech.graph import INPUT, N_NODES, Edge, attribution_graph, edges_of, regions, strongest
from core.mech.graph_shares import circuit, layer_rows
from core.sae.fit import untrained_control
from core.sae.modules import SAE, SAEConfig, tensor_shapes
from tests.mech.linear_captioner import N_PATCHES, ROW, D, LinearCaptioner, linear_sae
from tests.vlm.toy_model import toy_features, toy_rows, toy_vlm

LAYERS = (1, 2, 3)


def first_less_second(logits):
    return logits[:, 0] - logits[:, 1]


def linear(bend: float = 0.0):
    g = torch.Generator().manual_seed(5)
    picture, mean = torch.randn(2, N_PATCHES, D, generator=g)
    vlm = LinearCaptioner(bend)
    saes = {layer: linear_sae(layer) for layer in LAYERS}
    return Counterfactual(vlm, ROW, picture, mean, first_less_second, LAYERS, n_steps=2), saes


@pytest.fixture(scope="module")
def straight():
    seen, saes = linear()
    return seen, saes, attribution_graph(seen, saes, (2, 2), range(4))


def test_where_the_model_is_linear_effects_are_what_ablation_shows(straight):
    seen, _, graph = straight
    assert abs(seen.total) > 0.5
    for part in [*(n for n in graph.nodes if n.kind != "word"), *graph.edges]:
        assert part.taken == pytest.approx(part.effect, abs=1e-3)
        assert part.alone == pytest.approx(part.effect, abs=1e-3)


def test_where_the_model_is_linear_every_layer_adds_up_to_the_total(straight):
    seen, _saes, graph = straight
    pictures = [node.effect for node in graph.nodes if node.layer == INPUT]
    assert sum(pictures) == pytest.approx(seen.total, abs=1e-3)
    for layer in graph.layers:
        assert layer.features + layer.error == pytest.approx(seen.total, abs=1e-3)
        assert sum(layer.by_place.values()) == pytest.approx(seen.total, abs=1e-3)
        assert abs(layer.error) > 1e-3  # the dictionary has fewer directions than the stream


def test_where_the_model_is_linear_what_comes_in_is_what_a_node_is_worth(straight):
    """All nodes are kept, so the edges into one are all there is of it."""
    seen, saes, graph = straight
    nodes = [n for n in graph.nodes if n.kind != "word"]
    assert all(len(graph.chosen(one.layer)) == len(one.nodes) for one in graph.layers)
    edges = edges_of(seen, saes, nodes, {one.layer: one.gradient for one in graph.layers})
    for node in graph.nodes:
        if node.kind != "patches":
            assert sum(e.effect for e in edges if e.target == node.name) == pytest.approx(node.effect, abs=1e-3)


def test_shares_are_whole_with_all_features_and_the_errors(straight):
    seen, saes, graph = straight
    rows = layer_rows(seen, graph, saes, {}, [0])
    for row in rows:
        assert row["features_measured"] + row["error_measured"] == pytest.approx(seen.total, abs=1e-3)
        assert row["kept_measured"] == pytest.approx(row["kept"], abs=1e-3)
        assert row["kept_gross"] <= row["gross"] + 1e-9


def test_a_bend_is_seen_by_what_is_measured_and_still_adds_up():
    """Quadratic logits: two points of Gauss and Legendre are exact, one gradient at the end would not be."""
    seen, saes = linear(bend=0.3)
    graph = attribution_graph(seen, saes, (2, 2), range(4))
    for layer in graph.layers:
        assert layer.whole == pytest.approx(seen.total, abs=1e-3)
    apart = [abs(n.taken - n.effect) for n in graph.nodes if n.kind == "feature"]
    assert max(apart) > 0.01
    for node in graph.nodes:  # quadratic: the mean of both ways is the integral
        if node.kind == "feature":
            assert node.measured == pytest.approx(node.effect, abs=1e-3)


def toy_saes() -> dict[int, SAE]:
    found = {}
    for layer in (3, 7):
        g, cfg = torch.Generator().manual_seed(layer), SAEConfig("topk", 192, 96, k=8, layer=layer)
        tensors = {n: torch.randn(shape, generator=g) * 0.07 for n, shape in tensor_shapes(cfg).items()}
        found[layer] = SAE(cfg, tensors)
    return found


@pytest.fixture(scope="module")
def toy():
    vlm, row = toy_vlm(), toy_rows()[2]
    score = LogOdds([Contrast(0, 0, 300, 301)], word_ends(vlm))
    own, other = toy_features()[:2]  # near each other: weights at random bend sharply
    seen = Counterfactual(vlm, row, own, 0.99 * own + 0.01 * other, score, (3, 7), n_steps=8)
    return seen, attribution_graph(seen, toy_saes(), vlm.patch_grid, vlm.patches)


def test_in_a_transformer_the_layers_add_up_to_the_total_as_well(toy):
    seen, graph = toy
    assert seen.total != 0
    for layer in graph.layers:
        assert layer.features + layer.error == pytest.approx(layer.whole, rel=1e-3, abs=1e-5)
        assert layer.whole == pytest.approx(seen.total, rel=0.05)
    last = graph.layers[-1]
    assert last.by_place["here"] == pytest.approx(last.whole, rel=1e-3)


def test_the_graph_can_be_read(toy):
    seen, graph = toy
    assert len(graph.nodes) <= N_NODES
    names = [node.name for node in graph.nodes]
    assert len(names) == len(set(names))
    assert [n.layer for n in graph.nodes if n.kind == "error"] == [3, 7]
    assert {e.source for e in graph.edges} == {n.name for n in graph.nodes if n.kind != "word"}
    cells = [i for n in graph.nodes for i in n.patches]
    assert sorted(cells) == list(seen.vlm.patches)  # each patch stands in one node


def test_a_node_taken_back_is_the_mean_picture_at_its_place(toy):
    """All of the picture taken back at once is the mean picture."""
    seen, _ = toy
    for layer in (INPUT, 3, 7):
        (score,) = seen.scores(layer, -seen.change(layer)[None])
        assert score == pytest.approx(seen.without, abs=1e-3)
        (score,) = seen.scores(layer, torch.zeros_like(seen.change(layer))[None])
        assert score == pytest.approx(seen.with_picture, abs=1e-3)


def test_the_mean_picture_itself_has_nothing_to_explain():
    vlm, row = toy_vlm(), toy_rows()[2]
    score = LogOdds([Contrast(0, 0, 300, 301)], word_ends(vlm))
    seen = Counterfactual(vlm, row, toy_features()[0], toy_features()[0], score, (3, 7), n_steps=2)
    graph = attribution_graph(seen, toy_saes(), vlm.patch_grid, vlm.patches)
    assert graph.total == 0
    assert not [n for n in graph.nodes if n.kind == "feature"]


def test_the_feature_that_the_word_hangs_on_explains_it_alone():
    """The word hangs on one feature of the dictionary: it explains all of it, and those beside it nothing."""
    seen, _ = linear()
    g = seen.gradient(3)[0]
    own = torch.linalg.qr(
        torch.cat([g[-1:].T, torch.randn(D, D - 1, generator=torch.Generator().manual_seed(1))], 1)
    ).Q.T
    tensors = {"W_enc": own.T.contiguous(), "W_dec": own, "b_enc": torch.full((D,), 100.0)}
    sae = SAE(SAEConfig("standard", D, D, layer=3, apply_b_dec_to_input=False), {**tensors, "b_dec": -100 * own.sum(0)})
    graph = attribution_graph(seen, {**{n: linear_sae(n) for n in (1, 2)}, 3: sae}, (2, 2), range(4))
    best = graph.chosen(3)[0]
    assert best.feature == 0 and best.place == "here"
    assert best.effect == pytest.approx(seen.total, abs=1e-3)
    assert graph.layers[-1].error == pytest.approx(0, abs=1e-3)


def test_circuit_of_all_nodes_and_errors_is_the_model(straight):
    seen, saes, graph = straight
    found = circuit(seen, graph, saes)
    assert found["circuit_error"] == pytest.approx(seen.total, abs=1e-3)
    assert abs(found["circuit"] - seen.total) > 0.01


def test_regions_are_of_one_sign_and_touch():
    effects = np.zeros((4, 4))
    effects[0, 0] = effects[1, 1] = 2.0  # corner to corner
    effects[0, 3] = -3.0
    effects[3, 0] = 0.1
    assert regions(effects) == [(0, 5), (3,)]
    assert regions(np.zeros((4, 4))) == []


def test_every_node_keeps_its_best_edge():
    edges = [Edge("a", "x", 5.0), Edge("a", "y", 4.0), Edge("b", "x", 0.1), Edge("b", "y", -0.2)]
    assert strongest(edges, 2) == [edges[0], edges[3]]


def test_a_model_that_looks_outside_the_row_is_refused():
    vlm = LinearCaptioner()
    vlm.decoder_layers[1].cross_attn = torch.nn.Identity()
    with pytest.raises(UserError, match="outside the row"):
        Counterfactual(vlm, ROW, torch.zeros(N_PATCHES, D), torch.zeros(N_PATCHES, D), first_less_second, (1,))


def test_places_are_the_kinds_of_positions(straight):
    seen, _, _ = straight
    assert [PLACES[n] if n >= 0 else "" for n in seen.places.tolist()] == [
        "", "image", "image", "image", "image", "question", "question", "here"
    ]  # fmt: skip


def test_random_dictionaries_are_as_sparse(toy):
    seen, graph = toy
    saes = toy_saes()
    random = {n: untrained_control(saes[n], torch.cat([seen.state(n), seen.base(n)]), 0) for n in saes}
    rows = layer_rows(seen, graph, saes, random, [0])
    assert [(r["layer"], r["dictionary"]) for r in rows] == [(n, d) for n in (3, 7) for d in ("own", "random")]
    for own, other in zip(rows[::2], rows[1::2], strict=True):
        assert own["n_nodes"] == other["n_nodes"]
        assert other["features"] + other["error"] == pytest.approx(own["whole"], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), RuntimeError),
        (RuntimeError("element 0 of tensors does not require grad"), UserError),
        (NotImplementedError("derivative for int8_mm is not implemented"), UserError),
    ],
)
def test_only_a_model_without_a_way_back_is_called_one(monkeypatch, error, told):
    seen, _ = linear()

    def gradients(*_):
        raise error

    monkeypatch.setattr("core.mech.counterfactual.path_gradients", gradients)
    with pytest.raises(told) as raised:
        seen.gradient(LAYERS[0])
    assert isinstance(raised.value, UserError) == (told is UserError)
