"""The page about English and Arabic over toy tables: evidence with its control, kind words where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.answers import alignment as alignment_answers
from core.run.reader import Catalog
from tests.pages.visitor import Open, words
from tests.toy_crosslingual import add_crosslingual_tables
from tests.toy_run import make_toy_run

PAGE = "pages/languages/alignment.py"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    for name, options in (("demo", {}), ("one", {"one_language": True}), ("few", {"few_images": True}), ("half", None)):
        make_toy_run(root / name)
        if options is not None:
            add_crosslingual_tables(root / name, **options)
    return root


def test_the_page_shows_all_its_evidence(visit: Open) -> None:
    at = visit(layer="3")
    said = words(at)
    assert (
        "Do English and Arabic share what they know?" in said and "At layer 3, before the first gendered word" in said
    )
    assert "supported" in said and "chance up to" in said
    assert len(at.get("plotly_chart")) == 6 and len(at.get("popover")) == 8
    assert "layer=3&amp;feature=0" in said and "hardly fires" in said and "fires: shared" in said


def test_a_score_that_shuffled_labels_reach_is_called_so(visit: Open, cache: Path) -> None:
    scores = Catalog(cache / "demo").frame("clbas", layer=1, view="before", dictionary="shared")
    table = alignment_answers.control_rows(scores).set_index("score")["Beyond chance"]
    assert table["clbas"] == "yes" and set(table.drop("clbas")) == {"no"}
    assert "Labels shuffled" in words(visit(layer="1"))


def test_k_is_chosen_and_its_overlap_stands_between_floor_and_ceiling(visit: Open) -> None:
    said = words(visit(layer="3", k="2"))
    assert "Of the 2 features that tell gender best, 40% [30%, 50%] are the same in English and Arabic" in said
    assert "labels shuffled 5%, one language with itself 80%, over that 0.47 [0.35, 0.60]" in said
    assert "Of the 5 features" in words(visit(layer="3"))


def test_the_earlier_formulas_say_what_they_cannot_show(visit: Open) -> None:
    said = words(visit(layer="3"))
    assert "CLBAS = Σ s |b_en − b_ar| / Σ s" in said and "the same whatever is changed" in said


@pytest.mark.parametrize(("kind", "features"), [("Shared", {0}), ("One language", {1, 2})])
def test_the_list_can_be_narrowed(visit: Open, kind: str, features: set[int]) -> None:
    said = words(visit(kind=kind))
    assert {f for f in range(12) if f'feature={f}"' in said} == features


def test_separate_dictionaries_are_shown_at_the_layer_that_has_them(visit: Open) -> None:
    said = words(visit(layer="1"))
    assert "layer 3; each language has its own dictionary" in said and "CLBAS of partners: 0.60" in said


@pytest.mark.parametrize("state", [{"layer": "99"}, {"layer": "x", "when": "?", "kind": "?"}])
def test_it_survives_any_address(visit: Open, state: dict[str, str]) -> None:
    assert "share what they know" in words(visit(**state))


def test_one_language_is_said_to_be_missing(visit: Open) -> None:
    said = words(visit(run="one"))
    assert "not enough data" in said and "3 images have a caption in both languages" in said


def test_too_few_images_of_a_gender_leave_the_rest_of_the_page(visit: Open) -> None:
    said = words(visit(run="few"))
    assert "too few images of women or of men" in said and "not enough data for a score" in said
    assert "Same geometry" not in said and "n = 40 images" in said


def test_the_catalogue_puts_words_and_classes_beside_features(cache: Path) -> None:
    cat = Catalog(cache / "demo")
    first = cat.shared_gender(1, "before", sort="feature").iloc[0]
    assert first["language_class"] == "shared" and "woman" in first["tokens"]
    assert (
        cat.language_feature(1, 1)["language_class"] == "english"
        and Catalog(cache / "half").language_feature(1, 1) == {}
    )
    assert set(cat.grammatical_counts()["follows"]) == {"person", "neither", "not enough data"}
