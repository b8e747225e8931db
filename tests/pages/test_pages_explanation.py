"""What the model says of a feature stands on its page with its score, and is found in the browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages.visitor import Open, visitor, words
from tests.toy_explain import add_toy_explain
from tests.toy_run import make_toy_run

BROWSER, FEATURE = "pages/features/browser.py", "pages/features/feature.py"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    add_toy_explain(make_toy_run(root / "demo", n_samples=12, d_sae=16).dir)
    return root


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    return visitor(cache, monkeypatch)


def test_a_text_that_fits_stands_there_in_both_scripts_with_its_score(visit: Open) -> None:
    said = words(visit(FEATURE, layer="3", feature="0"))
    assert "What the model says it is" in said and "A woman at her desk." in said and "امرأة وراء مكتبها." in said
    assert "AUC 0.93 [0.87, 0.98] (n = 90 that fire it, 210 that do not)" in said
    assert "texts of 50 other features 0.51 on average, 0.66 at their 95th percentile" in said
    assert ">supported</span>" in said.split("What the model says it is")[1][:3000]


def test_a_text_that_cannot_be_scored_says_so(visit: Open) -> None:
    said = words(visit(FEATURE, layer="3", feature="8")).split("What the model says it is")[1][:3000]
    assert "fires on too few images, or on nearly all" in said and ">not enough data</span>" in said


def test_the_browser_finds_features_by_what_the_model_says(visit: Open) -> None:
    for query in ("desk", "مكتبها"):
        assert visit(BROWSER, layer="3", q=query).dataframe[0].value["feature"].tolist() == [0]
