"""Sentences that name a best one, compare languages or images in pairs, or count what would be there by chance."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_array
from scipy.stats import binomtest, norm

from core.answers.bias import errors_answer, share_answer
from core.answers.feature import layer_answer
from core.answers.gender import clearest, gender_answer
from core.answers.interventions import ways_answer, ways_compared
from core.gender.effects import auc_and_p, auc_interval, holds_by_chance, shuffled_aucs, sparse_ranks
from core.gender.findings import is_finding
from core.intervals import difference, hochberg, paired_shares, q_values, wilson
from core.scoreboard.worlds import Size, feature, interventions

FDR = 0.05


def cell_of(rng, n, m, shift, alike=0.0):
    """gender_features of ``m`` features of one AUC, with ``n`` images a gender to choose and ``n`` held out."""
    female, columns = np.arange(2 * n) < n, {}
    for split in ("train", "test"):
        x = np.sqrt(alike) * rng.normal(size=(2 * n, 1)) + np.sqrt(1 - alike) * rng.normal(size=(2 * n, m))
        x[:n] += shift
        codes = csc_array(np.exp(x).astype(np.float32))
        columns[f"auc_{split}"], columns[f"p_{split}"] = auc_and_p(sparse_ranks(codes), female)
    columns["q_train"] = q_values(columns["p_train"])
    columns["auc_low_test"], columns["auc_high_test"] = auc_interval(codes, female, columns["auc_test"])
    frame = pd.DataFrame(columns).assign(feature=np.arange(m), finding=is_finding(columns, FDR), view="before")
    frame["direction"] = np.where(frame["auc_train"] > 0.5, "female", "male")
    shuffled = shuffled_aucs(codes, female, [int(rng.integers(1 << 30))])
    frame["shuffled_holds"] = holds_by_chance(codes, female, columns["auc_train"] - 0.5, shuffled)
    return frame.assign(**{f"n_{g}_test": n for g in ("female", "male")})


def test_the_clearest_is_told_by_images_that_did_not_choose_it():
    """200 features of one AUC: chosen by its held-out score the interval held the truth in none of 60 runs."""
    rng, truth = np.random.default_rng(0), norm.cdf(0.545 / np.sqrt(2))
    best = pd.concat([clearest(cell_of(rng, 100, 200, 0.545), FDR) for _ in range(40)])
    inside = (best["auc_low_test"] <= truth) & (truth <= best["auc_high_test"])
    assert inside.mean() > 0.75 and abs((best["auc_test"] - truth).mean()) < 0.03


def test_features_that_say_the_same_hold_together_and_are_no_evidence_by_their_number():
    """Training images select all, held-out ones know nothing: counted as independent, one in ten was called found."""
    rng, said = np.random.default_rng(1), []
    for _ in range(150):
        cell = cell_of(rng, 40, 30, 0.0, alike=0.5).assign(q_train=0.01)
        cell["finding"] = is_finding({str(name): cell[name].to_numpy() for name in cell}, FDR)
        said.append(gender_answer(cell, FDR, 3, "en", "before").sure == "supported")
    assert binomtest(sum(said), 150, 0.05, "greater").pvalue > 1e-3
    few = cell_of(rng, 60, 30, 0.3).assign(q_train=0.01)  # a third hold, and shuffled hardly any
    few["finding"] = is_finding({str(name): few[name].to_numpy() for name in few}, FDR)
    assert few["finding"].mean() < 0.5 and gender_answer(few, FDR, 3, "en", "before").sure == "supported"
    real = cell_of(rng, 60, 30, 1.0)
    assert gender_answer(real, FDR, 3, "en", "before").sure == "supported"


def test_no_feature_keeps_to_a_language_by_firing_once():
    rng = np.random.default_rng(2)
    assert all(layer_answer(*feature.both(rng, Size(140, 192))).sure == "unclear" for _ in range(5))
    assert layer_answer(*feature.english(rng, Size(140, 192))).sure == "supported"
    (frame,) = feature.english(rng, Size(140, 192))
    assert layer_answer(frame.drop(columns="language_class")).sure == "not enough data"


def test_one_of_two_languages_differs_by_chance_as_seldom_as_one_alone():
    """Women and men are mistaken alike, in both languages: said in .08 of runs before, .05 is asked."""
    rng, n, said = np.random.default_rng(3), 100, 0
    for _ in range(300):
        rows = []
        for lang in ("en", "ar"):
            women, men = rng.binomial(n, 0.2, 2)
            value, low, high = difference(women / n, *wilson(women, n), men / n, *wilson(men, n))
            for group, share in (("female", women / n), ("male", men / n)):
                rows.append({"metric": "error", "lang": lang, "group": group, "value": share, "n": n})
            ends = {"value": value, "low": low, "high": high, "n": 2 * n}
            rows.append({"metric": "error", "lang": lang, "group": "female-male", **ends})
        said += errors_answer.__wrapped__(pd.DataFrame(rows)).sure == "supported"
    assert binomtest(said, 300, 0.05, "greater").pvalue > 1e-3


def test_a_share_is_told_by_both_languages_tests_together():
    row = {"attribute": "all", "source": "sampled", "n_images": 40, "n_counted": 400, "low": 0.4, "high": 0.6}
    roles = pd.DataFrame([{**row, "lang": lang, "p_male": 0.5, "p_even": p} for lang, p in (("en", 0.04), ("ar", 0.5))])
    said = share_answer.__wrapped__  # before it is weighed by its rate
    assert said(roles).sure == "unclear" and said(roles.assign(p_even=[0.02, 0.9])).sure == "supported"
    assert said(roles.assign(p_even=[0.04, 0.03])).sure == "supported"


def test_hochberg_is_holm_where_one_is_small_and_takes_all_where_all_are():
    assert hochberg([0.02, 0.9]) == pytest.approx([0.04, 0.9]) and hochberg([0.04, 0.045]) == pytest.approx([0.045] * 2)
    assert hochberg([0.03]) == pytest.approx([0.03]) and np.isnan(hochberg([np.nan, 0.2])[0])


def test_paired_shares_are_told_apart_by_the_images_in_which_they_differ():
    value, low, high, p = paired_shares(21, 9, 12, 50)
    assert value == pytest.approx(0.24) and 0 < low < 0.05 and 0.38 < high < 0.45
    assert p == pytest.approx(binomtest(21, 30).pvalue)
    assert paired_shares(0, 0, 30, 50)[:1] == (0.0,) and paired_shares(0, 0, 30, 50)[3] == 1
    same, apart = paired_shares(10, 2, 40, 100), paired_shares(45, 37, 5, 100)
    assert same[2] - same[1] < apart[2] - apart[1]  # of the same images much is shared, and cancels


def test_two_ways_of_changing_captions_are_compared_on_the_same_images():
    """Seen where there is a difference: intervals that overlap hid .40 of these, the pairs hide .05."""
    rng = np.random.default_rng(4)
    tables = [interventions.ways_apart(rng, Size(60)) for _ in range(12)]
    assert sum("ways apart" in ways_answer(*t).claims[0] for t in tables) >= 10
    effects = tables[0][0].assign(arm=lambda e: e["design"] + 7)
    assert ways_compared(effects) == (7, 8)
