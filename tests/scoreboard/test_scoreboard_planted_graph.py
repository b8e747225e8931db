"""Graphs of single words name the planted layer, and no layer where nothing is planted."""

import pytest

from core.config import PROJECT_ROOT
from core.demo import planted
from core.demo.planted import plant
from core.scoreboard import planted_graph
from core.vlm.loading import load_vlm

LAYER, HEAD, LAYERS = 4, 2, (3, 4, 5)


def captioner(kind: str):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("N_SCENES", 60), ("N_CAPTIONED", 20), ("STEPS", 30)):
            patch.setattr(planted, name, value)
        vlm = load_vlm(str(PROJECT_ROOT / "data" / "demo-captioner"), dtype="float32", device="cpu")
        return vlm, plant(vlm, kind, LAYER, HEAD)


@pytest.fixture(scope="module")
def one_head():
    return captioner("head")


def test_the_planted_layer_is_named(one_head, monkeypatch):
    monkeypatch.setattr(planted_graph, "N_MEAN", 8)
    assert planted_graph.named(one_head[0], 7, 0, ("en",), LAYERS) == {"en": LAYER}


def test_no_layer_is_named_where_nothing_was_planted(monkeypatch):
    monkeypatch.setattr(planted_graph, "N_MEAN", 8)
    vlm, _ = captioner("blind")
    assert planted_graph.named(vlm, 6, 0, ("en",), LAYERS) == {"en": -1}
