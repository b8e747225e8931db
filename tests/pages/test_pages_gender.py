"""The page of gender, the gender panels of a feature, its label, notes and lists, over toy tables of stage gender."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from core.features.notes import Notes
from core.run import Run
from core.run.reader import Catalog
from tests.pages.visitor import Open, words
from tests.toy_gender import add_gender_tables
from tests.toy_run import make_toy_run

GENDER, FEATURE, BROWSER = (f"pages/features/{name}.py" for name in ("gender", "feature", "browser"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    add_gender_tables(make_toy_run(root / "demo", hostile=True).dir)
    make_toy_run(root / "without")
    few = make_toy_run(root / "few", layers=(1,))
    add_gender_tables(few.dir)
    keep_no_scores(few)
    return root


def keep_no_scores(run: Run) -> None:
    """Leave of the scores only what a run with too few images of a gender has."""
    path = run.path("gender_features.parquet")
    table, frame = pq.read_table(path), pq.read_table(path).to_pandas()
    scores = [c for c in frame if c.startswith(("auc", "d_", "difference", "p_", "q_", "effect", "rank"))]
    frame[scores], frame["finding"], frame["direction"], frame["why"] = None, False, "", "too few images"
    pq.write_table(type(table).from_pandas(frame, schema=table.schema, preserve_index=False), path)


@pytest.fixture
def notes(cache: Path) -> Iterator[Notes]:
    yield Notes(cache / "demo")
    (cache / "demo" / "notes.json").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def sae_id(cache: Path) -> str:
    saes = Catalog(cache / "demo").saes()
    return str(saes.loc[saes["layer"] == 3, "sae_id"].iloc[0])


def table(at: AppTest):
    return at.dataframe[0].value


def test_the_answer_names_findings_n_and_what_chance_would_give(visit: Open) -> None:
    said = words(visit(GENDER, layer="3"))
    assert "3 of 60 features tell images of women from those of men (n = 67 women and 73 men held out)" in said
    assert "2 fire more for women, 1 for men" in said and "shuffled" in said and "supported" in said


def test_ranking_links_to_features_and_shows_train_beside_held_out_and_the_other_language(visit: Open) -> None:
    at = visit(GENDER, layer="3", rank="Cohen’s d", lang="Arabic")
    said = words(at)
    assert "layer=3&amp;feature=0" in said
    for head in ("d, train", "d, held out", "q, train", "AUC in English", "امرأة"):
        assert head in said
    assert len(at.get("plotly_chart")) == 3 and "Do the rankings agree?" in said


def test_a_chosen_feature_is_shown_with_its_images(visit: Open) -> None:
    assert "Feature 5</h2>" in words(visit(GENDER, layer="3", feature="5"))


def test_a_ranking_that_was_not_taken_says_so(visit: Open) -> None:
    said = words(visit(GENDER, when="At the image", rank="Effect on the output"))
    assert "This ranking has nothing here" in said


def test_too_few_images_are_no_number(visit: Open) -> None:
    said = words(visit(GENDER, run="few"))
    assert "not enough data" in said and "too few images of women or of men" in said and "AUC 0." not in said
    assert "Nothing can be said about gender" in words(visit(FEATURE, run="few", feature="0"))


@pytest.mark.parametrize(
    "state",
    [
        {"layer": "99", "lang": "?", "when": "?", "rank": "' OR 1"},
        {"feature": "99999"},
        {"feature": "<b>"},
    ],
)
def test_the_page_survives_any_address(visit: Open, state: dict[str, str]) -> None:
    assert "features tell images of women" in words(visit(GENDER, **state))


def test_a_run_without_the_stage_says_how_to_get_it_and_the_other_pages_stand(visit: Open) -> None:
    said = words(visit(GENDER, run="without"))
    assert "Which features know a woman from a man?" in said and "python -m precompute run" in said
    feature = words(visit(FEATURE, run="without", feature="0", view="Women and men"))
    assert "Women (" in feature and "Gender in numbers" not in feature and "Its label" not in feature
    assert "auc_en" not in table(visit(BROWSER, run="without"))


def test_the_feature_page_shows_label_rates_and_scores(visit: Open) -> None:
    at = visit(FEATURE, layer="3", feature="0")
    said = words(at)
    for part in (
        "Its label",
        "woman",
        "امرأة",
        "Held-out AUC of its presence",
        "Women and men",
        "Gender in numbers",
        "290 + 290 · 67 + 73",
        "English: more for women",
        "Labelled",
    ):
        assert part in said
    assert len(at.get("plotly_chart")) == 4
    assert "No word predicts it well enough" in words(visit(FEATURE, layer="3", feature="2"))


def test_balanced_images_come_in_pairs_with_lift_and_n(visit: Open, cache: Path) -> None:
    said = words(visit(FEATURE, layer="3", feature="2", view="Women and men"))
    assert "lift 1.04" in said and "Women</h2>" in said and "each image fires it as strongly" in said
    pairs = len(Catalog(cache / "demo").gender_pairs(3, 2))
    assert said.count('class="cs-tile"') == 2 * (pairs - pairs % 2)
    assert "cannot be said: too few images" in words(visit(FEATURE, layer="3", feature="8", view="Women and men"))


def test_the_first_feature_is_the_clearest_finding_else_a_rare_one(visit: Open) -> None:
    assert visit(FEATURE, layer="3").number_input(key="feature").value in (0, 1)
    assert int(visit(FEATURE, layer="3", run="without").number_input(key="feature").value or 0) > 1


def test_the_browser_is_searched_by_meaning_in_both_languages(visit: Open) -> None:
    assert set(table(visit(BROWSER, layer="3", q="nurse"))["feature"]) >= {5}
    assert 6 in set(table(visit(BROWSER, layer="3", q="فَرَاشَة"))["feature"])  # vowel signs are passed over
    shown = table(visit(BROWSER, layer="3", sort="Women or men, English", colour="Women or men, Arabic"))
    assert {"label", "auc_en", "auc_ar"} <= set(shown) and set(shown["feature"].head(2)) == {0, 1}


def test_a_note_is_saved_found_and_shown_as_text(visit: Open, notes: Notes, sae_id: str) -> None:
    at = visit(FEATURE, layer="3", feature="9")
    at.text_input(key=f"note-label-demo-3-9-{sae_id}").input("<b>mine</b> سيارة")
    at.text_area(key=f"note-note-demo-3-9-{sae_id}").input("seen in kitchens")
    next(b for b in at.button if b.label == "Save").click().run()
    assert not at.exception and notes.get(3, 9, sae_id).label == "<b>mine</b> سيارة"
    assert "&lt;b&gt;mine" in words(at) and "<b>mine" not in words(at)
    assert set(table(visit(BROWSER, layer="3", q="kitchens"))["feature"]) == {9}


def test_who_saves_second_sees_what_the_first_wrote(visit: Open, notes: Notes, sae_id: str) -> None:
    at = visit(FEATURE, layer="3", feature="9")
    notes.write(3, 9, sae_id, label="theirs")
    at.text_input(key=f"note-label-demo-3-9-{sae_id}").input("mine")
    next(b for b in at.button if b.label == "Save").click().run()
    assert "Somebody else has changed this note" in words(at) and notes.get(3, 9, sae_id).label == "theirs"
    next(b for b in at.button if b.label == "Save").click().run()
    assert notes.get(3, 9, sae_id).label == "mine"


def test_lists_filter_the_browser(visit: Open, notes: Notes, sae_id: str) -> None:
    for feature in (4, 9):
        notes.put_on_list("for the paper", 3, feature, sae_id)
    assert set(table(visit(BROWSER, layer="3", list="for the paper"))["feature"]) == {4, 9}
    assert len(table(visit(BROWSER, layer="3", list="no such list"))) > 10


def test_notes_of_an_earlier_dictionary_are_kept_apart(visit: Open, notes: Notes) -> None:
    notes.write(3, 9, "0123456789abcdef", label="old thing")
    said = words(visit(FEATURE, layer="3", feature="9"))
    assert "An earlier dictionary (01234567) had a feature of this number" in said and "old thing" in said
    assert "Labelled" not in said
    assert "most likely another feature" in words(visit(BROWSER, layer="3"))


def test_a_damaged_file_of_notes_is_said_and_the_pages_stand(visit: Open, notes: Notes) -> None:
    notes.path.write_text("{", encoding="utf-8")
    for page in (BROWSER, FEATURE, GENDER):
        assert "cannot be read as notes" in words(visit(page, layer="3"))
