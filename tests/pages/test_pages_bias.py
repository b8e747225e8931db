"""The page about bias over toy tables: with an answer that is known, without one, and with too little to say."""

from dataclasses import replace

import pytest

from core.answers import bias as bias_answers
from core.bias.tables import metrics_table, roles_table
from tests.pages.visitor import words
from tests.toy_bias import add_toy_bias, toy_captions, unplanted
from tests.toy_run import make_toy_run

PAGE = "pages/look/bias.py"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    root = tmp_path_factory.mktemp("cache")
    small = {"n_samples": 10, "stages": ("prepare", "caption")}
    world = toy_captions(n=500, n_draws=6)
    add_toy_bias(make_toy_run(root / "demo", **small), world)
    add_toy_bias(make_toy_run(root / "photos", **small), unplanted(world))
    alone = replace(unplanted(world), attributes=world.attributes[["all"]])
    add_toy_bias(make_toy_run(root / "plain", **small), alone)
    add_toy_bias(make_toy_run(root / "few", **small), toy_captions(n=30, n_draws=2))
    return root


def test_on_the_demo_world_it_says_that_this_is_the_test_of_the_instrument(visit):
    at = visit(run="demo")
    said = words(at)
    assert "This is the test of the instrument" in said and "Arabic minus English r = 0.9" in said
    assert '<span class="cs-sure yes">supported' in said and "by chance r stays below" in said
    assert len(at.get("plotly_chart")) == 5 and "Planted, and found again" in said


@pytest.mark.parametrize("shown", ["Greedy: what it then says", "What people wrote", "?"])
def test_belief_and_amplification_are_shown_as_what_they_are(visit, shown):
    said = words(visit(run="demo", captions=shown, by="style"))
    assert "r = " in said and "By style" in said


def test_without_planted_shares_it_shows_what_there_is(visit):
    at = visit(run="photos")
    said = words(at)
    assert "planted" not in said.split("<table")[0].lower() and "no leaning would be 50" in said
    assert len(at.get("plotly_chart")) == 4


def test_images_without_annotation_still_have_a_share(visit):
    said = words(visit(run="plain"))
    assert "carry no annotation" in said and "of those in Arabic" in said


def test_too_few_images_give_no_figure_of_bias(visit):
    said = words(visit(run="few"))
    assert "not enough data" in said and "supported" not in said.split("<table")[0]


def test_answers_follow_the_data_and_not_the_wish(cache):
    even = toy_captions(n=500, n_draws=6, belief="even")
    roles = roles_table(even)
    metrics = metrics_table(even, roles, 60, 0, 20)
    assert bias_answers.recovery_answer(metrics, "role", "sampled", roles).sure == "unclear"
    assert bias_answers.share_answer(roles).sure == "unclear"
    rule = toy_captions(n=500, n_draws=6, belief="rule")
    metrics = metrics_table(rule, roles_table(rule), 60, 0, 20)
    answer = bias_answers.amplification_answer(metrics, "role")
    assert answer.sure == "supported" and "greedy +" in answer.text
    wrong = toy_captions(n=500, n_draws=2, wrong=0.3)
    assert bias_answers.errors_answer(metrics_table(wrong, roles_table(wrong), 60, 0, 20)).text.count("%") >= 4
