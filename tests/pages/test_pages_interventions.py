"""The page about interventions over toy tables: a specific effect, nothing, damage, and too little to say."""

from dataclasses import replace

import pytest

from core.answers import interventions as interventions_answers
from core.run import StageRecord
from core.run.tables import TABLES
from tests.pages.visitor import words
from tests.toy_interventions import add_toy_interventions, destructive, nothing, specific, toy_interventions
from tests.toy_run import make_toy_run

INTERVENTIONS = "pages/causes/interventions.py"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    root = tmp_path_factory.mktemp("cache")
    small = {"n_samples": 32, "stages": ("prepare", "caption")}
    add_toy_interventions(make_toy_run(root / "demo", **small))
    add_toy_interventions(make_toy_run(root / "none", **small), toy_interventions(nothing))
    add_toy_interventions(make_toy_run(root / "few", **small), toy_interventions(n_images=8))
    make_toy_run(root / "half", **small)
    return root


def test_a_specific_effect_is_said_with_its_controls_and_n(visit):
    at = visit(INTERVENTIONS, run="demo")
    said = words(at)
    assert "(specific effect)" in said and "under matched controls" in said and "n = 30 images, 20 control sets" in said
    assert '<span class="cs-sure yes">supported' in said
    assert len(at.get("plotly_chart")) == 8 and "LEACE is not among the directions" in said


def test_what_a_random_dictionary_gives_stands_beside_the_verdict(visit):
    said = words(visit(INTERVENTIONS, run="demo"))
    assert "less those of 5 random dictionaries" in said and "(nothing)" in said  # as the toys do nothing there
    assert "25 features of a random dictionary" in said
    toy = toy_interventions()
    alike = toy.comparisons.assign(difference=0.0, difference_low=-0.1, difference_high=0.1)
    answers = [interventions_answers.untrained_answer(toy.effects, toy.verdicts, c) for c in (toy.comparisons, alike)]
    assert [a.sure for a in answers] == ["supported", "unclear"]


@pytest.mark.parametrize("along", ["Strength", "Layer", "?"])
def test_every_curve_and_outcome_can_be_asked_for(visit, along):
    at = visit(INTERVENTIONS, run="demo", along=along, shown="Length")
    assert len(at.get("plotly_chart")) == 8


def test_ratios_stand_beside_each_other_by_controls_and_hook(visit):
    said = words(visit(INTERVENTIONS, run="demo"))
    assert all(word in said for word in ("error kept", "error lost", "matched", "uniform", "controls may be 0"))
    assert "draws the ratio toward 1" in said and "n = 30 images, 5 to 20 control sets" in said


def test_captions_are_read_before_and_after(visit):
    said = words(visit(INTERVENTIONS, run="demo"))
    assert said.count('data-lang="ar"') > 6 and "cs-mark" in said


def test_where_nothing_happens_it_says_so(visit):
    said = words(visit(INTERVENTIONS, run="none"))
    assert "(nothing)" in said and "supported" not in said.split("</header>")[0]


def test_too_few_images_give_no_verdict(visit):
    said = words(visit(INTERVENTIONS, run="few"))
    assert "not enough data" in said.split("</header>")[0] and "specific effect)" not in said


def test_the_overview_answers_whether_it_can_be_steered(visit):
    overview = "pages/look/overview.py"
    assert "under matched controls" in words(visit(overview, run="demo"))
    assert "Needs the features" in words(visit(overview, run="half"))


def test_answers_follow_the_data_and_not_the_wish():
    broken = toy_interventions(destructive)
    answer = interventions_answers.main_answer(broken.effects, broken.verdicts)
    assert answer.sure == "unclear" and "non-specific damage" in answer.text
    assert interventions_answers.transfer_answer(broken.effects).sure == "unclear"
    empty = broken.effects.iloc[:0]
    assert interventions_answers.main_answer(empty, broken.verdicts.iloc[:0]).sure == "not enough data"


def everywhere(arm, lang):
    """Features change captions at every layer, at layer 3 the most."""
    flips, destroyed = specific(replace(arm, layer=3), lang)
    return (flips if arm.layer == 3 else 0.8 * flips), destroyed


def test_an_effect_in_the_layer_that_separates_least_is_told_as_an_effect():
    found = toy_interventions(everywhere)
    least = found.verdicts[found.verdicts["note"] == "least separating layer"]
    assert set(least["layer"]) == {1} and set(least["verdict"]) == {"specific effect"}
    line = interventions_answers.least_layer_line(found.effects, found.verdicts)
    assert line.startswith("Layer 1") and line.count("specific effect") == 2
    none = toy_interventions(nothing)
    assert "specific" not in interventions_answers.least_layer_line(none.effects, none.verdicts)


def test_too_few_images_are_said_in_place_of_figures(cache, visit):
    run = make_toy_run(cache / "lacking", n_samples=8, stages=("prepare", "caption"))
    for table in (one for one in TABLES.values() if one.stage == "interventions"):
        table.write(run, table.arrow.empty_table())
    manifest, lack = run.manifest(), ["There are too few held-out images.", "The run has 2.", "Use more images."]
    manifest.stages["interventions"] = StageRecord(
        "0", "2026-01-05T09:00:00+00:00", 9.0, 0, 1, 1, {}, "cpu", {}, notes={"too_little_data": lack}
    )
    run.write_manifest(manifest)
    at = visit(INTERVENTIONS, run="lacking")
    assert all(line in words(at) for line in lack) and "not enough data" in words(at)
    assert not at.get("plotly_chart")
    assert "too little data" in words(visit("pages/look/overview.py", run="lacking"))


def test_where_nothing_that_was_tried_could_be_scored_the_page_says_so(cache, visit):
    run = add_toy_interventions(make_toy_run(cache / "unscored", n_samples=32, stages=("prepare", "caption")))
    table = TABLES["intervention_effects"]
    effects = run.table("intervention_effects").to_pandas()
    effects.loc[effects["part"] == "grid", "target"] = float("nan")
    table.write(run, table.of_frame(effects))
    assert "Nothing that was tried could be scored." in words(visit(INTERVENTIONS, run="unscored"))
    effects = effects[~((effects["part"] == "grid") & (effects["lang"] == "ar"))]
    effects.loc[(effects["part"] == "grid") & (effects["lang"] == "en"), "target"] = 0.25
    table.write(run, table.of_frame(effects))
    assert "<td>–" in words(visit(INTERVENTIONS, run="unscored")).replace(' class="num"', "")


def test_two_layers_and_words_in_percent_are_told_with_those_that_are_too_rare(visit):
    said = words(visit(INTERVENTIONS, run="demo"))
    assert "over what one of them alone changes" in said and "the lower alone" in said
    assert "Too rare for a percentage" in said and "→" in said
    at = visit(INTERVENTIONS, run="demo")
    at.selectbox(key="words-mode").set_value("gender taken out").run()
    assert not at.exception and len(at.get("plotly_chart")) == 8
