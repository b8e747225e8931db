"""Stage graph on the small run: the same bytes again, attributions that ablation bears out, controls that do not."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from core.mech.graph import N_EDGES, N_NODES
from core.mech.graph_captions import TABLES, holds
from precompute.stages import graph
from tests.toy_stages import file_bytes, stopped_half_way

NAMES = tuple(f"{name}.parquet" for name in TABLES)


@pytest.fixture(scope="module")
def frames(small_run) -> dict[str, pd.DataFrame]:
    return {name: pq.read_table(small_run / f"{name}.parquet").to_pandas() for name in TABLES}


def test_a_stop_half_way_ends_in_the_same_bytes(small_run, tmp_path):
    again = stopped_half_way(graph, small_run, tmp_path, NAMES)
    assert file_bytes(again, *NAMES) == file_bytes(small_run, *NAMES)


def test_each_caption_has_a_graph_that_can_be_read_or_a_reason(frames):
    for row in frames["graphs"].itertuples():
        nodes, edges = (
            f[(f["lang"] == row.lang) & (f["sample_id"] == row.sample_id)]
            for f in (frames["graph_nodes"], frames["graph_edges"])
        )
        assert (len(nodes) == 0) == bool(row.why)
        assert len(nodes) <= N_NODES and len(edges) <= N_EDGES
        assert set(edges["source"]) | set(edges["target"]) == set(nodes["node"])
    assert set(frames["graphs"]["lang"]) == {"en", "ar"}


def test_effects_add_up_at_every_layer_and_shares_are_those_of_the_picture(frames):
    layers = frames["graph_layers"].merge(frames["graphs"], on=["lang", "sample_id"])
    places = layers[[f"at_{name}" for name in ("image", "question", "words", "here")]].sum(axis=1)
    np.testing.assert_allclose(layers["features"] + layers["error"], layers["whole"], atol=1e-3)
    np.testing.assert_allclose(places, layers["whole"], atol=1e-2)
    strong = layers[layers["total"].abs() > 1]
    assert ((strong["whole"] / strong["total"]).between(0.7, 1.3)).mean() > 0.9


def test_what_gradients_say_is_what_running_the_model_shows(frames):
    for name, least in (("graph_nodes", 0.6), ("graph_edges", 0.5)):
        known = frames[name].dropna(subset=["measured"])
        assert np.corrcoef(known["effect"], known["measured"])[0, 1] > least
    edges = frames["graph_edges"]
    assert [holds(e, m) for e, m in zip(edges["effect"], edges["measured"], strict=True)] == edges["holds"].tolist()


def test_own_features_explain_more_than_random_ones(frames):
    layers = frames["graph_layers"].merge(frames["graphs"][["lang", "sample_id", "total"]], on=["lang", "sample_id"])
    way = np.sign(layers["total"])
    by = {name: (way * layers["kept"])[layers["dictionary"] == name].sum() for name in ("own", "random")}
    own = layers[layers["dictionary"] == "own"]
    matched = (np.sign(own["total"]) * own["matched"]).sum()
    assert by["own"] > 1.5 * by["random"]
    assert by["own"] > 3 * abs(matched)


def test_an_attribution_that_running_refutes_does_not_hold():
    assert holds(1.0, 0.6) and holds(-1.0, -1.9)
    assert not holds(1.0, -1.0) and not holds(1.0, 0.2) and not holds(0.1, 1.0) and not holds(0.0, 0.0)
