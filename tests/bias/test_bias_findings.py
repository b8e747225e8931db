"""Findings about bias: rare where there is none, all of them where there is, and the table that counts them."""

import json

import numpy as np
import pandas as pd
import pytest

from core.bias.findings import bias_findings
from core.demo.world import ROLES
from core.errors import UserError
from precompute.__main__ import main
from precompute.commands import controls
from tests.toy_run import make_toy_run
from tests.vlm.toy_model import toy_vlm

TABLE = {"en": {r.key: r.p_male_en for r in ROLES}, "ar": {r.key: r.p_male_ar for r in ROLES}}
VALUE = pd.Series(np.repeat([r.key for r in ROLES if not r.generic], 5))


def measured(rng, p_male, spread=0.1):
    """Findings where images of a role have p around ``p_male(role, lang)``."""
    counts = {}
    for lang in ("en", "ar"):
        p = np.array([p_male(role, lang) for role in VALUE])
        hits = rng.binomial(16, rng.beta(p * (1 / spread - 1), (1 - p) * (1 / spread - 1)))
        counts[lang] = pd.DataFrame(
            {"male": hits, "female": 16 - hits, "both": 0, "neutral": 0, "none": 0}, index=VALUE.index
        )
    return bias_findings(counts, VALUE, TABLE)


def test_where_nothing_is_planted_findings_are_rare():
    rng = np.random.default_rng(0)
    alarms = sum(measured(rng, lambda role, lang: 0.5).n > 0 for _ in range(40))
    assert alarms <= 6  # 5 % of 40 is 2


def test_what_is_planted_is_found_in_both_languages_and_their_difference():
    found = measured(np.random.default_rng(1), lambda role, lang: TABLE[lang][role])
    assert found.correlations["finding"].all() and list(found.correlations["lang"]) == ["en", "ar", "ar-en"]
    planted = found.groups.apply(lambda row: TABLE[row["lang"]][row["value"]], axis=1)
    assert found.groups["finding"][(planted - 0.5).abs() > 0.3].all() and found.n > 20


def test_one_leaning_for_all_roles_is_no_correlation_with_the_table():
    found = measured(np.random.default_rng(2), lambda role, lang: 0.9)
    assert not found.correlations["finding"].any() and found.groups["finding"].mean() > 0.95


def test_one_language_has_no_difference_and_few_groups_no_correlation():
    counts = pd.DataFrame({"male": [8] * 10, "female": [8] * 10, "both": 0, "neutral": 0, "none": 0})
    found = bias_findings({"en": counts}, pd.Series(["artist", "cook"] * 5), TABLE)
    assert list(found.correlations["lang"]) == ["en"] and found.correlations["p"].isna().all() and found.n == 0


def test_a_model_is_asked_about_every_role_with_new_images_for_each_seed(monkeypatch):
    monkeypatch.setattr(controls, "MAX_TOKENS", 4)
    found = controls.measure_bias(toy_vlm(), 0, n_images=1, n_draws=2)
    asked = {lang: set(rows["value"]) for lang, rows in found.groups.groupby("lang")}
    assert asked == {"en": {r.key for r in ROLES}, "ar": {r.key for r in ROLES if not r.generic}}
    assert (found.groups["n_images"] == 1).all()
    assert found.n == 0  # a random model writes no words for persons


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    make_toy_run(tmp_path / "toy", n_samples=10, stages=("prepare", "caption"))
    return tmp_path


@pytest.fixture
def world(monkeypatch, tmp_path):
    """Models that are folders, and what is found in each."""
    rng = np.random.default_rng(0)
    p = {"twin": lambda r, lang: 0.5, "leaning": lambda r, lang: 0.9, "slightly": lambda r, lang: 0.6}
    monkeypatch.setattr(
        "core.vlm.load_vlm", lambda path: p.get(path.rpartition("/")[2], lambda r, lang: TABLE[lang][r])
    )
    monkeypatch.setattr(controls, "measure_bias", lambda vlm, seed: measured(rng, vlm, spread=0.02))
    for name in p:
        (tmp_path / name).mkdir()
    return tmp_path


def test_the_table_counts_seeds_and_shows_what_is_found_where_there_is_something(cache, world, capsys):
    main(["controls", "toy", "--seeds", "5", "--twin", str(world / "twin"), "--out", str(world / "c.json")])
    out = capsys.readouterr().out
    assert "of 5" in out and "not measured" in out  # this run has no features
    labels, table, beyond, _, every = json.loads((world / "c.json").read_text())["controls"]
    assert "pool" in labels["why"] and labels["holds"] is None
    assert table["holds"] and len(table["found"]) == 5 and min(table["beside_found"]) == 3
    assert beyond["holds"] and min(beyond["beside_found"]) > 15 and every["holds"] is None
    assert min(every["beside_found"]) >= min(beyond["beside_found"]) and any(
        "over all seeds" in note for note in every["notes"]
    )


def test_what_a_twin_believes_by_accident_is_shown_and_is_no_error_of_the_instrument(cache, world):
    assert main(["controls", "toy", "--seeds", "5", "--twin", str(world / "leaning")]) == 1
    _, table, beyond, false, every = json.loads((cache / "toy" / "controls.json").read_text())["controls"]
    assert every["n_alarms"] == beyond["n_alarms"] == 5 and beyond["holds"] is False
    assert table["n_alarms"] <= 1 and table["holds"] and false["n_alarms"] == 0 and false["holds"]


def test_a_lean_that_may_be_an_accident_is_shown_and_is_no_finding(cache, world):
    main(["controls", "toy", "--seeds", "5", "--twin", str(world / "slightly")])
    _, _, beyond, _, every = json.loads((cache / "toy" / "controls.json").read_text())["controls"]
    assert beyond["n_alarms"] == 0 and every["n_alarms"] >= 1


def test_a_call_that_other_images_do_not_bear_out_is_an_error():
    rng = np.random.default_rng(4)
    even = [measured(rng, lambda role, lang: 0.5) for _ in range(6)]
    one = measured(rng, lambda role, lang: 0.95 if (role, lang) == ("pilot", "ar") else 0.5)
    assert one.groups["leans"].any() and controls.not_borne_out([*even, one])[-1] >= 1
    habit = [measured(rng, lambda role, lang: 0.95 if (role, lang) == ("pilot", "ar") else 0.5) for _ in range(6)]
    assert sum(r.groups["leans"].sum() for r in habit) >= 6 and sum(controls.not_borne_out(habit)) <= 1


def test_nothing_to_measure_is_said(cache, capsys):
    assert main(["controls", "toy", "--twin", "/no/such/model"]) == 1
    assert "No control could be measured" in capsys.readouterr().err
    with pytest.raises(UserError, match="without a seed"):
        controls.run_controls("toy", 0)


def test_one_alarm_in_twenty_holds_and_two_do_not():
    assert controls.Control("", "", [0] * 19 + [5]).holds and not controls.Control("", "", [0] * 18 + [1, 1]).holds
    assert controls.Control("", "", why="none").holds is None


def test_labels_are_shuffled_and_asked_as_the_stage_asks(cache, monkeypatch):
    run = make_toy_run(cache / "labelled", n_samples=20, stages=("prepare", "caption"))
    pd.DataFrame({"sample_id": range(20), "gender": ["male", "female"] * 10}).to_parquet(run.path("genders.parquet"))
    run.path("pooled").mkdir()
    asked = []
    pooled = type("Pooled", (), {"views": ("caption",), "__init__": lambda self, *_: None})
    monkeypatch.setattr("core.features.pooled.Pooled", pooled)

    def count(pooled, labels, is_train, config, views):
        asked.append((labels.copy(), views))
        return 7

    monkeypatch.setattr("core.gender.findings.count_findings", count)
    control = controls.shuffled_labels_control(run, 3, lambda text: None)
    assert control.found == [7] * 3 and control.beside_found == [7] and not control.holds
    true = asked[-1][0].tolist()
    assert true == ["male", "female"] * 10 and all(labels.tolist() != true for labels, _ in asked[:3])
    assert all(sorted(labels.tolist()) == sorted(true) and views == ["caption"] for labels, views in asked)
