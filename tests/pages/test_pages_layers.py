"""The page about layers over toy tables: its answer, pickers in the address, and what it says when it cannot know."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest

from core.answers import layers as layers_answers
from core.figures import layers
from core.figures.marks import Band
from core.figures.screen import draw
from core.run.reader import Catalog
from tests.pages.visitor import Open, words
from tests.toy_layers import add_layers_tables
from tests.toy_mechanisms import add_mechanisms_tables
from tests.toy_run import make_toy_run

PAGE = "pages/languages/layers.py"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    for name in ("demo", "few"):
        make_toy_run(root / name, n_samples=12, d_sae=16)
    add_layers_tables(root / "demo")
    add_mechanisms_tables(root / "demo")
    add_layers_tables(root / "few", why="7 images of women; at least 20 are needed")
    return root


@pytest.fixture(scope="module")
def cat(cache: Path) -> Catalog:
    return Catalog(cache / "demo")


def test_the_page_answers_its_question_with_interval_control_and_n(visit: Open) -> None:
    said = words(visit())
    assert "Where does gender appear?" in said
    assert "The image tokens carry it in both languages from layer 1 on, by 0.05 beyond the control first at 1" in said
    assert "(AUC 0.97 [0." in said
    assert "in English from layer 3 on, by 0.05 beyond the control" in said
    assert "in Arabic at no layer beyond the control" in said
    beside = "control task of 40 types 0.55, selectivity at least −0.03 [−0.11, 0.04], chance 0.50"
    assert f"n = 720 images; {beside}; layer 1 is the lowest recorded" in said
    assert 'class="cs-sure unclear"' in said and "nothing to transfer" in said


def test_the_page_begins_in_the_picture(visit: Open) -> None:
    """Nothing is said of the decoder's first layer in the place of what enters it."""
    said = words(visit())
    assert "Before the language model begins, a probe reads gender from its image tokens with an AUC of 0.90" in said
    assert "the bare pixels 0.74" in said and "layer 1 of the vision tower 0.85" in said
    assert "one direction of the image tokens, as they enter the language model, carries in English 80%" in said


def test_the_pickers_live_in_the_address(visit: Open) -> None:
    at = visit(where="Before the word", lang="Arabic", measure="Balanced accuracy", position="Just before the caption")
    assert at.session_state["where"] == "Before the word" and at.session_state["measure"] == "Balanced accuracy"
    assert at.session_state["position"] == "Just before the caption"
    assert visit(where="zebra").session_state["where"] == "Everywhere"


def test_too_few_images_are_said_and_no_number_is(visit: Open) -> None:
    said = words(visit(run="few"))
    assert "cannot be said: 7 images of women; at least 20 are needed" in said and 'class="cs-sure few"' in said
    assert "not enough data" in said and "nan" not in said.lower()


def test_the_catalogue_gives_own_and_transferred_probes_apart(cat: Catalog) -> None:
    own, other = cat.probes("auc", transfer=False), cat.probes("auc", transfer=True)
    assert (own["lang"] == own["trained_on"]).all() and (other["lang"] != other["trained_on"]).all()
    assert list(dict.fromkeys(own["view"])) == [
        "pixels",
        "tower",
        "projector",
        "image",
        "prompt",
        "before",
        "caption",
    ]
    assert len(cat.lens("word", "ar")) == 3 and len(cat.emergence()) == 12


def test_supported_only_where_every_language_shows_it(cat: Catalog) -> None:
    probes, emergence = cat.probes(), cat.emergence()
    assert layers_answers.layers_answer(probes, emergence).sure == "unclear"
    there = emergence.assign(layer=3, low=0.8, value=0.9, high=0.95, n_after=1, n_later=1, why="")
    assert layers_answers.layers_answer(probes, there).sure == "supported"
    assert layers_answers.layers_answer(probes, emergence.iloc[:0]).sure == "not enough data"


def test_without_a_control_task_the_answer_says_so_and_is_not_sure(cat: Catalog) -> None:
    there = cat.emergence().assign(layer=3, low=0.8, value=0.9, high=0.95, n_after=1, n_later=1, why="")
    probes = cat.probes().assign(control=float("nan"), control_low=float("nan"), no_control="3 types; 10 are needed")
    answer = layers_answers.layers_answer(probes, there)
    assert "no control task: 3 types; 10 are needed" in answer.text and answer.sure == "unclear"
    drawn = layers.layers_figure(layers.probe_curves(probes, "auc"), layers.lens_curves(cat.lens()[:0]), there, "auc")
    assert not any(isinstance(mark, Band) for panel in drawn.panels for mark in panel.marks)


def test_figures_carry_their_control_and_ring_the_first_layer(cat: Catalog) -> None:
    curves, below = layers.probe_curves(cat.probes(), "auc"), layers.lens_curves(cat.lens())
    assert set(curves.loc[curves["place"] == "image", "lang"]) == {"both"}
    fig = cast(Any, draw(layers.layers_figure(curves, below, cat.emergence(), "auc", 0.74)))
    names = [trace.name for trace in fig.data]
    assert names.count("control") == 6  # one a panel
    rings = [t for t in fig.data if t.name == "first layer that leaves the control" and len(t.x)]
    assert [round(t.x[0]) for t in rings] == [1, 3, 3, 3, 1, 1, 3, 3, 3, 3]
    assert sum(bool(t.showlegend) for t in fig.data) == len(set(names))


def test_an_empty_choice_draws_nothing_and_does_not_break() -> None:
    empty = pd.DataFrame(columns=["place", "lang", "trained_on", "layer", "value", "low", "high", "n"])
    assert not draw(layers.transfer_figure(empty, "auc")).data
