"""The page about mechanisms over toy tables: its answers, pickers in the address, and what is said without data."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.answers import mechanisms as mechanisms_answers
from core.figures import mechanisms
from core.figures.screen import draw
from core.run.reader import Catalog
from tests.pages.visitor import Open, words
from tests.toy_mechanisms import add_mechanisms_tables
from tests.toy_run import make_toy_run

PAGE = "pages/causes/mechanisms.py"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    for name in ("demo", "few"):
        make_toy_run(root / name, n_samples=12, d_sae=16)
    add_mechanisms_tables(root / "demo")
    add_mechanisms_tables(root / "few", why="7 captions of a gender and split; at least 10 are needed")
    return root


@pytest.fixture(scope="module")
def cat(cache: Path) -> Catalog:
    return Catalog(cache / "demo")


def test_the_page_answers_its_question_with_interval_control_and_n(first_visit: AppTest) -> None:
    said = words(first_visit)
    assert "Which parts of the model carry gender into the words?" in said
    assert "In English, head 3.1 adds most directly, 2.00 [1.80, 2.20] of the 4.0 [3.8, 4.2] log-odds" in said
    assert "random words -0.40 to 0.40" in said and "1 of 15 parts are beyond both controls" in said
    assert (
        "The same parts do it in both languages (r = 0.80 [0.70, 0.90]" in said
        and "0.94 [0.85, 1.02]" in said
        and "n = 78 held-out captions" in said
    )
    assert 'class="cs-sure yes"' in said


def test_the_head_that_was_selected_without_its_judges_is_shown_first(first_visit: AppTest) -> None:
    at = first_visit
    assert at.session_state["head"] == "3.1" and "Head 3.1, English" in words(at)
    assert "gives 80% [35%, 85%] of its attention to the image (spread evenly: 44%)" in words(at)


def test_the_pickers_live_in_the_address(visit: Open) -> None:
    at = visit(lang="Arabic", head="2.0", layer="1", maps="Beyond the average image")
    said = words(at)
    assert "Head 2.0, Arabic" in said and "امرأة" in said and at.session_state["layer"] == 1
    assert at.session_state["maps"] == "Beyond the average image"
    assert visit(head="99.1").session_state["head"] == "3.1"


def test_attention_is_drawn_on_the_images(first_visit: AppTest) -> None:
    said = words(first_visit)
    assert said.count('class="cs-heat"') == 2 and "image of a woman, her" in said and "image of a man, her" in said


def test_a_head_below_which_nothing_was_recorded_says_so(visit: Open) -> None:
    assert "What it makes of the gender direction is not known" in words(visit(head="0.0"))


def test_pairs_and_patching_are_answered_with_their_controls(first_visit: AppTest) -> None:
    said = words(first_visit)
    assert "Effects mostly add up" in said and "pairs of other features: 0%" in said and "control" in said
    assert "r = 0.98 [0.88, 1.00] at worst" in said and "true effects are up to 2.0 times the predicted" in said
    assert "own words r ≥ 0.20" in said


def test_too_few_captions_are_said_and_no_number_is(visit: Open) -> None:
    said = words(visit(run="few"))
    assert "This cannot be said: 7 captions" in said and 'class="cs-sure few"' in said and "nan" not in said.lower()


def test_an_answer_is_unclear_where_the_first_part_is_within_its_controls(cat: Catalog) -> None:
    effects = cat.head_effects()
    alike = cat.part_agreement()
    assert mechanisms_answers.mechanisms_answer(effects, alike).sure == "supported"
    assert mechanisms_answers.mechanisms_answer(effects.drop(columns="p_least"), alike).sure == "supported"
    assert mechanisms_answers.mechanisms_answer(effects.assign(finding=False), alike).sure == "unclear"
    checks = cat.patching_checks()
    assert mechanisms_answers.patching_answer(checks).sure == "supported"
    assert mechanisms_answers.patching_answer(checks.assign(control_high=0.99)).sure == "unclear"
    assert mechanisms_answers.pairs_answer(cat.feature_pairs().iloc[:1]).sure == "not enough data"


def test_the_catalogue_reads_each_question(cat: Catalog) -> None:
    assert len(cat.head_effects("ar")) == 17 and cat.head_effects()["lang"].iloc[0] == "en"
    assert cat.head_maps("en", 3, 1)["sample_id"].tolist() == [-1, 4, 9]
    assert set(cat.weight_spectra("QK")["matrix"]) == {"QK"} and len(cat.head_readings("en", "image")) == 4
    pairs = cat.feature_pairs("en", 3)
    assert (pairs["n_ablated"] > 0).tolist() == [True] * 6 + [False] * 2 and {"label_a", "label_b"} <= set(pairs)
    assert cat.patching("en", 1)["true"].abs().is_monotonic_decreasing


def test_the_heat_map_names_its_parts_and_rings_the_chosen_one(cat: Catalog) -> None:
    fig = draw(mechanisms.heads_figure(cat.head_effects(), "3.1"))
    marks = fig.data[1]
    names = [card[0] for card in marks.customdata]
    assert marks.marker.symbol[names.index("3.1")] == "square-open" and "MLP 4" in names
    assert fig.data[0].zmax == -fig.data[0].zmin == 2.0


def test_the_network_draws_what_is_beyond_gender_and_what_interacts(cat: Catalog) -> None:
    nodes, edges = mechanisms.network(cat.feature_pairs("en", 3))
    assert set(nodes["feature"]) == {0, 1, 2, 3} and edges["beyond"].sum() == 1
    fig = draw(mechanisms.network_figure(nodes, edges))
    assert sum(t.mode == "lines" and t.line.width == 4 for t in fig.data) == 1
