"""The browser and the feature page over a toy run: all state is in the address, and bad ones end in kind words."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.answers.feature import AREA_NAMES
from core.run import Run
from core.run.reader import Catalog
from tests.pages.visitor import Open, words
from tests.toy_explain import add_toy_explain
from tests.toy_run import make_toy_run, write_rows

BROWSER, FEATURE = "pages/features/browser.py", "pages/features/feature.py"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    make_toy_run(root / "demo")
    make_toy_run(root / "hostile", hostile=True)
    add_toy_explain(make_toy_run(root / "explained", n_samples=12, d_sae=16).dir)
    add_areas(make_toy_run(root / "areas"))
    return root


def add_areas(run: Run) -> None:
    """Where features lie: feature n of layer 3 is n / 10 times as strong on the person; feature 3 fires too seldom."""
    rows = []
    for row in run.table("features", ["layer", "feature", "sae_id"]).to_pylist():
        if row["layer"] == 3:
            ratio = None if row["feature"] == 3 else row["feature"] / 10
            told = {} if ratio is None else {"share": ratio / 4, "area": 0.25, "ratio": ratio, "low": 0.9 * ratio}
            told |= {} if ratio is None else {"high": 1.1 * ratio, "null_share": 0.5, "difference": ratio / 4 - 0.5}
            told |= {} if ratio is None else {"difference_low": -1.0, "difference_high": 1.0}
            why = "it fires on patches of 4 images, fewer than 20" if ratio is None else ""
            rows += [{**row, **told, "kind": kind, "n": 40, "n_fires": 30, "why": why} for kind in AREA_NAMES]
    write_rows(run, "feature_areas", rows)


def table(at: AppTest):
    return at.dataframe[0].value


def test_browser_lists_the_living_features_of_the_layer(visit: Open, cache: Path) -> None:
    at = visit(BROWSER, layer="1")
    alive = Catalog(cache / "demo").features(1)
    assert sorted(table(at)["feature"]) == sorted(alive["feature"])
    assert table(at)["explained_share"].is_monotonic_decreasing
    assert f"{len(alive)} things" in words(at)


def test_features_are_ordered_by_how_much_they_lie_on_the_person_where_that_is_known(visit: Open) -> None:
    found = table(visit(BROWSER, run="areas", layer="3", sort="On the person"))
    known = found["on_person"].dropna()
    assert known.is_monotonic_decreasing and len(known) > 20 and found["feature"].iloc[-1] == 3
    assert "on_person" not in table(visit(BROWSER, run="areas", layer="1"))
    assert "On the person" not in visit(BROWSER).selectbox(key="sort").options


def test_feature_page_says_where_on_the_picture_it_lies_or_why_not(visit: Open) -> None:
    shown = words(visit(FEATURE, run="areas", layer="3", feature="8"))
    assert "20% of its activation on patches lies on the person, 25% of the picture: 0.80 [0.72, 0.88]" in shown
    assert "Background</td>" in shown and "50% there" in shown
    assert "fires on patches of 4 images" in words(visit(FEATURE, run="areas", layer="3", feature="3"))
    nobody = words(visit(FEATURE, run="areas", layer="1", feature="0"))
    assert "nobody has said" in nobody and "Background</td>" not in nobody
    assert "Where on the picture</h2>" not in words(visit(FEATURE, layer="3", feature="8"))


def test_browser_finds_words_of_both_scripts(visit: Open) -> None:
    assert 0 in set(table(visit(BROWSER, q="woman"))["feature"])
    found = set(table(visit(BROWSER, q="امرأة"))["feature"])
    assert 0 in found and 1 not in found
    at = visit(BROWSER, q="no such word")
    assert not at.dataframe and "No feature passes these filters" in words(at)


def test_browser_shows_the_features_picked_on_the_map(visit: Open) -> None:
    at = visit(BROWSER, picked="3:2-4-9-zebra")
    assert sorted(table(at)["feature"]) == [2, 4, 9]
    at.button(key="clear").click().run()
    assert len(table(at)) > 3 and "picked" not in at.query_params


def test_what_a_visit_keeps_of_one_run_is_not_taken_for_another(visit: Open) -> None:
    at = visit(BROWSER, run="demo", picked="3:many")
    at.session_state["picked"] = {("demo", 3): [2, 4, 9]}
    at.run()
    assert sorted(table(at)["feature"]) == [2, 4, 9]
    at.selectbox(key="run").set_value("hostile").run()
    assert not at.exception and len(table(at)) > 3
    at = visit(FEATURE, run="demo", layer="3", feature="0")
    at.session_state["more"] = ("demo", 3, 0)
    at.run()
    assert "show-more" not in [b.key for b in at.button]
    at.selectbox(key="run").set_value("hostile").run()
    assert not at.exception and "show-more" in [b.key for b in at.button]


def test_browser_previews_the_feature_of_the_address(visit: Open) -> None:
    at = visit(BROWSER, layer="3", feature="1")
    assert "<h2" in words(at) and "Feature 1</h2>" in words(at)
    assert words(at).count('class="cs-heat"') == 6
    assert "Select a row" in words(visit(BROWSER, feature="zebra"))


@pytest.mark.parametrize(
    "state",
    [
        {"layer": "99", "feature": "99999999999999999999"},
        {"layer": "x", "sort": "?", "lean": "?", "density": "a", "map": "x", "colour": "x", "feature": "-1"},
        {"picked": "----"},
        {"picked": "1:2-3"},
        {"picked": "3:many"},
        {"picked": "3:99999"},
    ],
)
def test_browser_survives_any_address(visit: Open, state: dict[str, str]) -> None:
    assert len(table(visit(BROWSER, **state))) > 10


def test_browser_draws_the_language_view(visit: Open) -> None:
    at = visit(BROWSER, map="Languages", lean="Both")
    assert len(at.get("plotly_chart")) == 1


def test_feature_page_shows_all_its_evidence(visit: Open) -> None:
    at = visit(FEATURE, layer="3", feature="0")
    said = words(at)
    assert "What does feature 0 of layer 3 notice?" in said and "n = " in said
    assert said.count('class="cs-heat"') == 12
    for part in (
        "woman",
        "امرأة",
        "Words it answers to",
        "Where it fires",
        "How strongly",
        "Words it pushes",
        "Its neighbours",
        "Statistics",
    ):
        assert part in said
    assert len(at.get("plotly_chart")) == 3


def test_feature_page_shows_weak_to_strong_and_women_and_men(visit: Open) -> None:
    bands = words(visit(FEATURE, layer="3", feature="0", view="Weak to strong"))
    assert [f"Band {n}:" in bands for n in range(1, 6)] == [True] * 5
    women = words(visit(FEATURE, layer="3", feature="0", view="Women and men"))
    assert "Women (" in women and "Men (" in women


def test_previous_and_next_pass_over_dead_features(visit: Open) -> None:
    at = visit(FEATURE, layer="3", feature="14")
    at.button(key="next").click().run()
    assert at.query_params["feature"] == "16" and "feature 16 of layer 3" in words(at)
    at.button(key="previous").click().run()
    assert "feature 14 of layer 3" in words(at)


def test_dead_and_missing_features_are_said_to_be_so(visit: Open) -> None:
    dead = visit(FEATURE, layer="3", feature="15")
    assert "Feature 15 never fired in this run" in words(dead)
    missing = visit(FEATURE, layer="3", feature="99999")
    assert "Layer 3 has no feature 99999" in words(missing)
    missing.button(key="nearest").click().run()
    assert not missing.exception and "feature 62 of layer 3" in words(missing)


@pytest.mark.parametrize(
    "state",
    [
        {"feature": "abc", "view": "x", "threshold": "x", "opacity": "900"},
        {"feature": "-3", "layer": "7"},
        {"feature": "99999999999999999999999"},
    ],
)
def test_feature_page_survives_any_address(visit: Open, state: dict[str, str]) -> None:
    assert "notice?" in words(visit(FEATURE, **state))


def test_hostile_captions_stay_text(visit: Open) -> None:
    pages = [words(visit(FEATURE, run="hostile", layer="3", feature=feature)) for feature in ("0", "3", "4")]
    assert any("&lt;script" in said for said in pages)
    for said in pages:
        assert "<script" not in said and "onerror=" not in said.replace("onerror=&quot;", "")


def test_a_text_that_fits_stands_there_in_both_scripts_with_its_score(visit: Open) -> None:
    said = words(visit(FEATURE, run="explained", layer="3", feature="0"))
    assert "What the model says it is" in said and "A woman at her desk." in said and "امرأة وراء مكتبها." in said
    assert "AUC 0.93 [0.87, 0.98] (n = 90 that fire it, 210 that do not)" in said
    assert "texts of 50 other features 0.51 on average, 0.66 at their 95th percentile" in said
    assert ">supported</span>" in said.split("What the model says it is")[1][:3000]


def test_a_text_that_cannot_be_scored_says_so(visit: Open) -> None:
    said = words(visit(FEATURE, run="explained", layer="3", feature="8"))
    said = said.split("What the model says it is")[1][:3000]
    assert "fires on too few images, or on nearly all" in said and ">not enough data</span>" in said


def test_the_browser_finds_features_by_what_the_model_says(visit: Open) -> None:
    for query in ("desk", "مكتبها"):
        assert table(visit(BROWSER, run="explained", layer="3", q=query))["feature"].tolist() == [0]
