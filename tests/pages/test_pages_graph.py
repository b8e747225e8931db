"""How one word was written, on the page Mechanisms: the graph of the chosen word, and what is said without one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core.answers.graph import strongest_path
from tests.pages.visitor import Open, words
from tests.toy_graph import add_graph_tables
from tests.toy_mechanisms import add_mechanisms_tables
from tests.toy_run import make_toy_run

PAGE = "pages/causes/mechanisms.py"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    for name in ("demo", "few", "none"):
        make_toy_run(root / name, n_samples=12, d_sae=16)
        add_mechanisms_tables(root / name)
    add_graph_tables(root / "demo")
    add_graph_tables(root / "few", why="no caption names a woman or a man")
    return root


def test_the_graph_of_a_word_stands_beside_its_path_and_its_controls(first_visit: AppTest) -> None:
    said = words(first_visit)
    assert "How one word was written" in said and "between layers 1 and 3" in said
    assert "The strongest path there is patches A → feature 1 (layer 1, image) → feature 2 (layer 3" in said
    assert "as many of random dictionaries 10" in said
    assert "Running the model bears out 3 of 5 edges" in said


def test_another_word_and_language_can_be_chosen_in_the_address(visit: Open) -> None:
    at = visit(lang="Arabic", graph="4")
    assert at.session_state["graph"] == 4 and "رجل" in words(at)
    assert not at.exception


def test_without_a_graph_the_reason_is_told(visit: Open) -> None:
    assert "No caption names a woman or a man." in words(visit(run="few"))
    assert "This run has no graphs of single words." in words(visit(run="none"))


def test_the_strongest_path_goes_the_way_of_what_the_picture_adds() -> None:
    """A stronger edge that speaks against the word is no way to it."""
    kinds = {"patches 1": "patches", "1/4/image": "feature", "1/5/image": "feature", "word": "word"}
    nodes = pd.DataFrame({"node": list(kinds), "kind": list(kinds.values()), "effect": -2.0})
    nodes = nodes.assign(feature=[-1, 4, 5, -1], layer=[-1, 1, 1, 3], place=["", "image", "image", ""])
    edges = pd.DataFrame(
        {
            "source": ["1/4/image", "1/5/image", "patches 1", "patches 1"],
            "target": ["word", "word", "1/4/image", "1/5/image"],
            "effect": [5.0, -1.0, 5.0, -1.0],
        }
    )
    assert strongest_path(nodes, edges) == ["patches A", "feature 5 (layer 1, image)"]
