"""Graphs of single words as figure, path and JSON, over a graph made up by hand."""

import json

import pandas as pd
import pytest

from core.answers import graph as answers
from core.figures import graph, paper, screen
from core.figures.graph_json import to_json


def node(name: str, kind: str, layer: int, effect: float, feature: int = -1, place: str = "", patches=()) -> dict:
    numbers = {"effect": effect, "taken": effect, "alone": effect, "measured": effect, "activation": 1.0, "usual": 0.0}
    if kind == "word":
        numbers |= {"measured": float("nan"), "activation": float("nan")}
    row = {"node": name, "kind": kind, "layer": layer, "feature": feature, "place": place, "patches": list(patches)}
    return {**row, **numbers, "label": "", "sae_id": f"sae{layer}" if kind in ("feature", "error") else None}


def edge(source: str, target: str, effect: float, measured: float) -> dict:
    numbers = {"effect": effect, "taken": measured, "alone": measured, "measured": measured}
    return {"lang": "en", "sample_id": 3, "source": source, "target": target, **numbers, "holds": measured * effect > 0}


@pytest.fixture
def nodes() -> pd.DataFrame:
    rows = [
        node("patches 1", "patches", -1, 2.0, patches=(0, 1)),
        node("rest of the picture", "patches", -1, 0.5, patches=(2, 3)),
        node("1/7/image", "feature", 1, 2.2, 7, "image"),
        node("error 1", "error", 1, 0.3),
        node("3/9/here", "feature", 3, 2.6, 9, "here"),
        node("error 3", "error", 3, -0.1),
        node("word", "word", 4, 2.5),
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def edges() -> pd.DataFrame:
    rows = [
        edge("patches 1", "1/7/image", 1.8, 1.7),
        edge("rest of the picture", "error 1", 0.4, -0.2),
        edge("1/7/image", "3/9/here", 2.0, 1.9),
        edge("error 1", "3/9/here", 0.2, 0.2),
        edge("3/9/here", "word", 2.6, 2.5),
        edge("error 3", "word", -0.1, -0.1),
    ]
    return pd.DataFrame(rows)


def test_both_backends_draw_the_graph_and_mark_what_running_refutes(nodes, edges):
    chart = graph.graph_figure(nodes, edges, "her")
    marks = chart.panels[0].marks
    crosses = [m for m in marks if getattr(m, "symbol", "") == "x"]
    assert len(crosses) == 1  # the edge that running the model does not bear out
    assert screen.draw(chart).data and paper.render(paper.draw(chart), "svg")
    checks = graph.checks_figure(edges)
    assert screen.draw(checks).data and paper.render(paper.draw(checks), "pdf")


def test_the_word_stands_on_top_and_errors_at_the_right(nodes, edges):
    at = graph.placed(nodes, edges).set_index("node")
    assert at.loc["word", "row"] == at["row"].max() and at.loc["patches 1", "row"] == 0
    assert at.loc["error 1", "x"] > at.loc["1/7/image", "x"]


def test_the_strongest_path_leads_from_the_patches_to_the_word(nodes, edges):
    path = answers.strongest_path(nodes, edges)
    assert path == ["patches A", "feature 7 (layer 1, image)", "feature 9 (layer 3, where the word is chosen)"]


def test_json_names_every_node_once_and_links_only_what_there_is(nodes, edges):
    made = json.loads(to_json(nodes, edges, slug="a", scan="m", word="her", counterpart="his", probability=0.9))
    assert set(made) == {"metadata", "qParams", "nodes", "links"}
    ids = [n["node_id"] for n in made["nodes"]]
    assert len(ids) == len(set(ids)) == len(nodes)
    assert {x[end] for x in made["links"] for end in ("source", "target")} <= set(ids)
    kinds = {n["feature_type"] for n in made["nodes"]}
    assert kinds == {"embedding", "cross layer transcoder", "mlp reconstruction error", "logit"}
    (word,) = [n for n in made["nodes"] if n["is_target_logit"]]
    assert word["token_prob"] == 0.9 and word["measured"] is None
    n_kinds = len(made["metadata"]["prompt_tokens"])
    assert all(0 <= n["ctx_idx"] < n_kinds for n in made["nodes"])


def captions(total_female: float, total_male: float, share: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows, layers = [], []
    for i in range(12):
        gender, total = ("female", total_female + 0.1 * i) if i % 2 else ("male", total_male - 0.1 * i)
        rows.append({"lang": "en", "sample_id": i, "gender": gender, "total": total, "why": ""})
        for layer, away in ((1, 0.1), (3, 0.9)):
            for dictionary, kept in (("own", share), ("random", 0.1)):
                row = {"lang": "en", "sample_id": i, "layer": layer, "dictionary": dictionary, "whole": total}
                row |= {"at_image": (1 - away) * total, "kept_measured": kept * total, "kept": kept * total}
                layers.append({**row, "error": 0.1 * total, "matched_measured": 0.0})
    return pd.DataFrame(rows), pd.DataFrame(layers)


def test_the_layer_is_named_where_pictures_add_gender_and_else_none():
    named = answers.graph_answer(*captions(5.0, -5.0, 0.8))
    assert set(named.claims) == {"graph.crossing", "graph.features"} and "between layers 1 and 3" in named.text
    blind = answers.graph_answer(*captions(1.0, 2.0, 0.1))
    assert blind.claims == () and "no layer is named" in blind.text


def test_shares_are_those_of_all_that_pictures_do():
    shares = answers.share_rows(*captions(5.0, -5.0, 0.8), "en")
    own = shares[shares["series"] == "the graph’s features alone"]
    assert own["share"].tolist() == pytest.approx([0.8, 0.8])
    assert shares[shares["series"] == "as many of a random dictionary"]["share"].tolist() == pytest.approx([0.1, 0.1])
    assert screen.draw(graph.shares_figure(shares)).data and paper.render(
        paper.draw(graph.shares_figure(shares)), "png"
    )


def test_without_graphs_the_reason_is_told():
    graphs = pd.DataFrame([{"lang": "en", "sample_id": -1, "gender": "", "total": None, "why": "no contrast"}])
    empty = pd.DataFrame(columns=["lang", "sample_id"])
    said = answers.graph_answer(graphs, empty)
    assert said.sure == "not enough data" and "no contrast" in said.text
