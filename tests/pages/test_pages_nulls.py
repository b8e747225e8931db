"""What pages say where random dictionaries, another seed and random weights were asked the same, and where not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages.visitor import Open, words
from tests.toy_crosslingual import add_crosslingual_tables
from tests.toy_gender import add_gender_tables
from tests.toy_layers import add_layers_tables
from tests.toy_nulls import add_nulls_tables
from tests.toy_run import make_toy_run

GENDER, FEATURE, BROWSER = (f"pages/features/{name}.py" for name in ("gender", "feature", "browser"))
LAYERS, ALIGNMENT = (f"pages/languages/{name}.py" for name in ("layers", "alignment"))
PROVENANCE = "pages/run/provenance.py"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    for name, difference in (("demo", 0.25), ("alike", 0.02), ("without", None)):
        run = make_toy_run(root / name)
        add_gender_tables(run.dir)
        add_layers_tables(run.dir)
        add_crosslingual_tables(run.dir)
        if difference is not None:
            add_nulls_tables(run.dir, difference)
    return root


def test_the_page_leads_with_what_separates_the_sae_from_random_directions(visit: Open) -> None:
    said = words(visit(GENDER, layer="3"))
    assert "the count is no evidence: 3 of its 60 features tell women from men, and so do 12 of 60" in said
    assert "held-out AUC 0.95 [0.91, 0.99], against 0.70" in said and "difference +0.25 [+0.20, +0.30]" in said
    assert "not told from a principal component" in said, "what needs no training and does as well is named"
    assert said.index("no evidence") < said.index("hold on average"), "the count comes after"
    assert "random model’s SAE" in said and "random model’s SAE" not in words(visit(GENDER, layer="1"))


def test_where_nothing_separates_them_the_page_says_so(visit: Open) -> None:
    said = words(visit(GENDER, run="alike", layer="3"))
    assert "cannot be told from one of a random dictionary" in said and "unclear" in said


def test_a_run_without_the_stage_stands_and_says_how_to_get_it(visit: Open) -> None:
    others = ((page, {}) for page in (LAYERS, BROWSER, ALIGNMENT, PROVENANCE))
    for page, state in ((GENDER, {}), (FEATURE, {"feature": "0"}), *others):
        at = visit(page, run="without", **state)
        assert not at.exception
        if page in (GENDER, LAYERS):
            assert "--until nulls" in words(at)
    assert "At the image no other dictionary was asked" in words(visit(GENDER, when="At the image"))


def test_alignment_says_whether_gender_is_more_alike_than_other_things(visit: Open) -> None:
    said = words(visit(ALIGNMENT, layer="3"))
    assert "of gender 0.98 [0.93, 1.03], more alike than 6 other contrasts" in said and "object: 5" in said
    assert "not told from 6 other contrasts" in words(visit(ALIGNMENT, layer="3", when="Whole caption"))


def test_a_feature_says_whether_it_comes_back(visit: Open) -> None:
    assert "Recurs in the other training" in words(visit(FEATURE, layer="3", feature="0"))
    said = words(visit(FEATURE, layer="3", feature="1"))
    assert "Does not recur in the other training" in said and "drawn at random with the same spread" in said
    assert "no other seed was trained at this layer" in words(visit(FEATURE, layer="1", feature="0"))


def test_the_list_is_filtered_by_recurrence(visit: Open) -> None:
    yes, no = (set(visit(BROWSER, layer="3", recurs=which).dataframe[0].value["feature"]) for which in ("Yes", "No"))
    assert yes and all(f % 2 == 0 for f in yes) and no and all(f % 2 == 1 for f in no)
    assert "recurs" not in visit(BROWSER, layer="1").dataframe[0].value


def test_layers_stand_beside_random_weights(visit: Open) -> None:
    said = words(visit(LAYERS))
    assert "With random weights a probe reads gender with an AUC of 0.72 to 0.72" in said
    assert "beyond that at 2 of 2 layers" in said


def test_a_random_dictionary_stands_beside_scores_labels_and_quality(visit: Open) -> None:
    assert "of a random dictionary that is as sparse 0.45 [0.35, 0.55], ceiling 0.80" in words(visit(ALIGNMENT))
    assert "English 30 of 60, of a random dictionary 12 of 60" in words(visit(BROWSER))
    said = words(visit(PROVENANCE))
    assert "A word or thing told by its best features, k = 1" in said and "0.60 [0.55, 0.65]" in said
    feature = words(visit(FEATURE, layer="3", feature="0"))
    assert "difference of means" in feature and "−0.04 [−0.09, +0.01]" in feature
    assert "Does it take a dictionary?" not in words(visit(FEATURE, layer="3", feature="2"))


def test_the_list_and_the_map_stand_beside_what_nothing_gives(visit: Open) -> None:
    said = words(visit(BROWSER, layer="3"))
    assert "English 0.95, of random directions 0.70, with labels shuffled 0.50" in said
    assert "over shuffled tokens 0" in said and "of directions drawn at random with the same spread 0.25" in said
    assert "drawn at random" not in words(visit(BROWSER, layer="1"))  # no other dictionary was trained there


def test_the_overview_shows_its_nulls(visit: Open) -> None:
    said = words(visit("pages/look/overview.py"))
    assert "Of random directions 12 of 60 do" in said and "other contrasts" in said and "Random dictionary" in said
