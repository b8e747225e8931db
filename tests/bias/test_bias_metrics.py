"""Each figure of bias: what it is where there is nothing, and what it is where there is all there can be."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from core.bias import MATCHED
from core.bias.measures import (
    GENDERS,
    MIN_GROUPS,
    Corpus,
    agreement,
    amplification,
    corpus,
    directional,
    error_rates,
    zhao,
)
from core.bias.tables import metrics_table, planted_by_value, policies_table, read_attributes, roles_table
from core.run.schema.bias import BIAS_METRICS, BIAS_POLICIES, BIAS_ROLES
from tests.toy_bias import ROLES, P, toy_captions, unplanted

LEVELS = np.tile([0.1, 0.3, 0.5, 0.7, 0.9], 6)


# --- agreement with what was planted


def test_what_is_found_as_planted_agrees_wholly():
    found = agreement(LEVELS, LEVELS, 200, 0)
    assert found["correlation"][:3] == pytest.approx((1, 1, 1)) and found["slope"][:3] == pytest.approx((1, 1, 1))
    assert found["calibration_error"].value == found["calibration_error"].high == 0
    assert found["correlation"].control_high < 0.5 and found["correlation"].n == 30


def test_a_preference_turned_into_a_rule_has_a_slope_above_one():
    assert agreement(LEVELS, (LEVELS > 0.5).astype(float), 200, 0)["slope"].low > 1


def test_noise_agrees_with_nothing():
    rng, outside = np.random.default_rng(0), 0
    for seed in range(40):
        found = agreement(LEVELS, rng.random(30), 200, seed)["correlation"]
        outside += not found.control_low <= found.value <= found.control_high
    assert outside <= 6  # 5 % of 40 is 2


def test_correlations_interval_covers_the_truth():
    rng, inside = np.random.default_rng(1), 0
    for seed in range(60):
        x = rng.normal(size=30)
        y = 0.8 * x + 0.6 * rng.normal(size=30)
        found = agreement(x, y, 200, seed)["correlation"]
        inside += found.low <= 0.8 <= found.high
    assert inside >= 50


@pytest.mark.parametrize("known, why", [(LEVELS[: MIN_GROUPS - 1], "groups"), (np.full(30, 0.5), "the same")])
def test_few_groups_or_equal_ones_give_no_correlation(known, why):
    found = agreement(known, np.linspace(0, 1, len(known)), 100, 0)["correlation"]
    assert np.isnan(found.value) and np.isnan(found.low) and why in found.why


# --- errors and omissions


def shown(n, said):
    gender = pd.Series(["female", "male"] * (n // 2))
    return pd.Series([said(i, g) for i, g in enumerate(gender)]), gender


def test_captions_that_see_have_no_errors_and_those_that_see_the_contrary_have_nothing_else():
    right = error_rates(*shown(80, lambda i, g: g), 20)
    assert right["error", "female"].value == right["omission", "male"].value == 0
    assert right["error", "female"].control == 0.5
    wrong = error_rates(*shown(80, lambda i, g: {"male": "female", "female": "male"}[g]), 20)
    assert wrong["error", "female"].value == wrong["error", "male"].value == 1
    assert wrong["error", "female-male"].value == 0


def test_captions_that_ignore_the_image_err_as_often_as_on_shuffled_images():
    rng = np.random.default_rng(0)
    found = error_rates(*shown(2000, lambda i, g: str(rng.choice(["male", "female", "none"], p=[0.6, 0.3, 0.1]))), 20)
    for gender in ("female", "male"):
        one = found["error", gender]
        assert one.low <= one.control <= one.high
    assert found["error", "female-male"].value == pytest.approx(0.3, abs=0.06)


def test_neutral_words_are_omissions_and_both_is_its_own():
    found = error_rates(*shown(80, lambda i, g: ["neutral", "none", "both", "male"][i % 4]), 20)
    assert found["omission", "female"].value == pytest.approx(0.5) and found["both", "female"].value == pytest.approx(
        0.5
    )
    assert found["error", "female"].value == 0  # every second caption is of a woman, and none of those says male


def test_fewer_images_of_a_gender_than_needed_give_no_number():
    found = error_rates(*shown(30, lambda i, g: g), 20)
    assert np.isnan(found["error", "female"].value) and "15 images" in found["error", "female"].why
    assert np.isnan(found["error", "female-male"].value) and found["error", "female-male"].n == 30


# --- amplification


def images(n, p, rng=None):
    """Image counts: one caption each, of ten groups; ``p`` of each group is the share of men, exactly."""
    group = np.arange(n) % len(p)
    male = np.array([(i // len(p)) % 10 < round(10 * p[g]) for i, g in enumerate(group)])
    index = pd.RangeIndex(n, name="sample_id")
    return pd.DataFrame({"male": male.astype(int), "female": (~male).astype(int)}, index=index), pd.Series(group, index)


def test_captions_as_one_sided_as_the_references_amplify_nothing():
    counts, group = images(500, P["en"])
    found = amplification(counts, counts, group, corpus(counts, group), 200, 0, 20)
    assert found["amplification_zhao"].value == found["amplification_directional"].value == 0
    assert np.isnan(found["amplification_zhao"].low)  # that 500 images are alike does not make the next one so


@pytest.mark.parametrize(("n", "n_groups", "least"), [(20, 2, 0.01), (40, 4, 0.7)])
def test_intervals_of_amplification_hold_the_truth_in_small_groups(n, n_groups, least):
    """Captions that follow the reference on half of the images: .93 is asked, 3.3 standard errors of 300 worlds below
    it allowed; of two groups of ten, captions and reference seldom differ often enough for an interval."""
    rng, group = np.random.default_rng(2), pd.Series(np.arange(n) % n_groups)
    references = np.linspace(0.1, 0.9, n_groups)
    captions = references + 0.08 * np.sign(references - 0.5)
    known = Corpus(tuple(range(n_groups)), np.stack([references, 1 - references], 1), np.array([0.5, 0.5]))
    missed, shown = 0, 0
    for _ in range(300):
        drawn = rng.random((2, n))
        drawn[1] = np.where(rng.random(n) < 0.5, drawn[0], drawn[1])
        men = [(u < p[group]).astype(int) for u, p in zip(drawn, (captions, references), strict=True)]
        own, written = (pd.DataFrame({"male": one, "female": 1 - one}) for one in men)
        found = amplification(own, written, group, known, 50, 0, 20)["amplification_zhao"]
        shown += bool(np.isfinite(found.low))
        missed += bool(found.low > 0.08 or found.high < 0.08)
    assert shown > 300 * least and missed < 300 * (0.07 + 3.3 * np.sqrt(0.07 * 0.93 / 300))


def test_always_naming_the_commoner_gender_amplifies_by_all_that_was_left():
    p = np.array([0.1, 0.3, 0.7, 0.9])
    counts, group = images(400, p)
    rule, _ = images(400, (p > 0.5).astype(float))
    found = amplification(rule, counts, group, corpus(counts, group), 200, 0, 20)
    for metric in found.values():
        assert metric.value == pytest.approx(0.2) and metric.low > 0.1
        assert metric.control < -0.2  # captions that ignore the group undo the bias


def test_captions_that_ignore_the_group_are_where_the_control_is():
    rng = np.random.default_rng(0)
    counts, group = images(600, P["en"])
    blind = counts.iloc[rng.permutation(600)].set_axis(counts.index)
    found = amplification(blind, counts, group, corpus(counts, group), 300, 0, 20)["amplification_zhao"]
    assert found.control_low <= found.value <= found.control_high and found.value < 0


def test_the_directional_measure_is_that_of_its_equation():
    """Two groups, worked by hand: y is 1 where the corpus joins gender and group above independence."""
    counts, group = images(40, np.array([0.8, 0.4]))
    known = corpus(counts, group)
    assert known.overall == pytest.approx([0.6, 0.4])
    own, reference = np.array([[0.9, 0.1], [0.5, 0.5]]), known.given_group
    by_hand = np.mean([+(0.9 - 0.8), -(0.1 - 0.2), -(0.5 - 0.4), +(0.5 - 0.6)])
    assert directional(own, reference, known) == pytest.approx(by_hand)
    assert zhao(own, reference, known) == pytest.approx(np.mean([0.9 - 0.8, 0.5 - 0.6]))


def test_few_images_have_no_amplification():
    counts, group = images(18, P["en"])
    found = amplification(counts, counts, group, corpus(counts, group), 100, 0, 20)["amplification_zhao"]
    assert np.isnan(found.value) and "18 images" in found.why
    assert list(counts.columns) == list(GENDERS)


# --- the tables


def metric(table, name, lang, source="sampled", attribute="role", group=""):
    rows = table[(table["metric"] == name) & (table["lang"] == lang) & (table["source"] == source)]
    (row,) = rows[(rows["attribute"] == attribute) & (rows["group"] == group)].to_dict("records")
    return row


@pytest.fixture(scope="module")
def planted():
    captions = toy_captions(n=600, n_draws=8, seed=1, spread=0.05)
    roles = roles_table(captions)
    return captions, roles, metrics_table(captions, roles, 100, 0, 20)


def test_planted_shares_are_found_again_in_both_languages_and_in_their_difference(planted):
    _, roles, metrics = planted
    for lang, least in (("en", 0.9), ("ar", 0.9), ("ar-en", 0.8)):
        found = metric(metrics, "correlation", lang)
        assert found["value"] > least and found["low"] > found["control_high"] and found["n"] == len(ROLES)
        error = metric(metrics, "calibration_error", lang)
        assert error["value"] < 3 * error["floor"]
    sampled = roles.query("attribute == 'role' and source == 'sampled' and lang != 'ar-en'")
    assert ((sampled["low"] <= sampled["planted"]) & (sampled["planted"] <= sampled["high"])).mean() >= 0.8
    assert set(roles.columns) == set(BIAS_ROLES.names) and list(metrics.columns) == BIAS_METRICS.names


def test_where_nothing_was_learned_nothing_is_found():
    captions = toy_captions(n=600, n_draws=8, belief="even")
    roles = roles_table(captions)
    metrics = metrics_table(captions, roles, 100, 0, 20)
    for lang in ("en", "ar", "ar-en"):
        found = metric(metrics, "correlation", lang)
        assert found["control_low"] <= found["value"] <= found["control_high"]
    assert (roles.query("source == 'sampled'")["q_even"].dropna() > 0.05).all()


def test_without_planted_shares_there_is_no_agreement_with_them(planted):
    captions = unplanted(planted[0])
    roles = roles_table(captions)
    metrics = metrics_table(captions, roles, 60, 0, 20)
    assert roles["planted"].isna().all() and "correlation" not in set(metrics["metric"])
    assert metric(metrics, "languages_correlation", "en, ar")["n"] == len(ROLES)


def test_without_sampled_captions_or_neutral_images_the_rest_stands(planted):
    captions = planted[0]
    own = replace(captions, said=captions.said[captions.said["source"] != "sampled"])
    assert set(roles_table(own)["source"]) == {"greedy", "reference"}
    nobody = replace(captions, neutral=[])
    roles = roles_table(nobody)
    metrics = metrics_table(nobody, roles, 60, 0, 20)
    assert roles.empty and metrics.query("group == 'neutral'")["value"].isna().all()
    assert metrics.query("metric == 'error'")["value"].notna().all()


def test_one_language_alone_has_no_difference(planted):
    captions = planted[0]
    roles = roles_table(replace(captions, said=captions.said[captions.said["lang"] == "en"]))
    assert set(roles["lang"]) == {"en"}


def generic_roles(captions, n_roles=4):
    """The same world, in which the Arabic of some roles is said in the masculine of everyone, planted or not."""
    said, role = captions.said.copy(), captions.attributes["role"]
    everyone = captions.images["gender"] == "neutral"
    chosen = said["sample_id"].map(role.isin(ROLES[:n_roles]) & everyone) & (said["lang"] == "ar")
    for reading, named in ((MATCHED, "none"), ("unmarked", "unmarked"), ("male", "male"), ("left out", "none")):
        said.loc[chosen, reading] = named
    planted = captions.planted.copy()
    planted.loc[role.isin(ROLES[:n_roles]), "ar"] = float("nan")
    return replace(captions, said=said, planted=planted)


def test_roles_of_which_arabic_says_no_gender_have_no_share_and_spoil_no_other(planted):
    captions = generic_roles(planted[0])
    roles = roles_table(captions)
    mine = roles.query("attribute == 'role' and source == 'sampled' and lang == 'ar'").set_index("value")
    none, others = mine.loc[list(ROLES[:4])], mine.loc[list(ROLES[4:])]
    assert none[["p_male", "low", "high", "q_even", "planted"]].isna().all().all() and (none["n_counted"] == 0).all()
    assert (none["n_unmarked"] == none["n_captions"]).all() and (none["n_captions"] > 0).all()
    before = planted[1].query("attribute == 'role' and source == 'sampled' and lang == 'ar'").set_index("value")
    assert others["p_male"].equals(before.loc[others.index, "p_male"]) and (others["n_unmarked"] == 0).all()
    found = metric(metrics_table(captions, roles, 50, 0, 20), "correlation", "en")
    assert found["n"] == len(ROLES)
    BIAS_ROLES.of_frame(roles), BIAS_POLICIES.of_frame(policies_table(captions))


def test_counted_as_men_they_move_the_share_and_matched_words_do_not(planted):
    captions = generic_roles(planted[0])
    table = policies_table(captions).query("attribute == 'all' and source == 'sampled' and lang == 'ar'")
    share = table.set_index("estimand")["share"]
    known = planted[0].planted["ar"].reindex(planted[0].neutral)
    role = planted[0].attributes["role"].reindex(planted[0].neutral)
    truth = known[~role.isin(ROLES[:4])].mean()
    assert share["matched"] == pytest.approx(truth, abs=0.06) and share["male"] > share["matched"] + 0.1
    assert share["unmarked"] == pytest.approx(role.isin(ROLES[:4]).mean())
    assert share["women"] == pytest.approx((1 - truth) * (1 - share["unmarked"]), abs=0.06)
    english = policies_table(captions).query("attribute == 'all' and source == 'sampled' and lang == 'en'")
    english = english.set_index("estimand")["share"]
    assert english["matched"] == english["male"] == english["left out"] and english["unmarked"] == 0


@pytest.mark.parametrize("policy", ["male", "left out"])
def test_languages_are_compared_by_matched_words_alone(planted, policy):
    captions = replace(planted[0], policy=policy)
    roles = roles_table(captions)
    assert "ar-en" not in set(roles["lang"])
    metrics = metrics_table(captions, roles, 50, 0, 20)
    for found in (metric(metrics, "correlation", "ar-en"), metric(metrics, "languages_correlation", "en, ar")):
        assert np.isnan(found["value"]) and "words.generic_masculine" in found["why"]
    assert metric(metrics, "correlation_matched", "ar")["value"] == metric(planted[2], "correlation", "ar")["value"]


def test_errors_rest_on_words_that_both_genders_must_say_alike():
    """A writer who errs as often on women as on men, and says half of the masculine in generic words."""
    n = 4000
    gender = pd.Series(["female", "male"] * (n // 2))
    rng = np.random.default_rng(0)
    wrong, role = rng.random(n) < 0.2, rng.random(n) < 0.5
    said = np.where(wrong, gender.map({"female": "male", "male": "female"}), gender)
    named = pd.Series(np.where(role & (said == "male"), "unmarked", said))
    matched = pd.Series(np.where(role, "none", said))
    fair, naive = error_rates(named, gender, 20, matched), error_rates(named, gender, 20)
    one = fair["error", "female-male"]
    assert one.low <= 0 <= one.high and naive["error", "female-male"].high < 0
    assert fair["unmarked", "male"].value == pytest.approx(0.4, abs=0.03) and fair["omission", "male"].value == 0


def test_attributes_are_what_images_share():
    texts = {i: f'{{"role": "r{i % 3}", "id": "x{i}", "tone": {i % 2}, "p_male_en": 0.{i % 3 + 1}}}' for i in range(12)}
    attributes, known = read_attributes({**texts, 12: ""})
    assert list(attributes) == ["role", "all"] and pd.isna(attributes.loc[12, "role"])
    assert known["en"].notna().sum() == 12 and known["ar"].isna().all()
    assert planted_by_value(known["en"], attributes["role"].dropna()) == {"r0": 0.1, "r1": 0.2, "r2": 0.3}
    assert planted_by_value(known["en"], pd.Series("one", index=known.index)) == {}
    _, generic = read_attributes({1: '{"p_male_ar": null, "p_male_en": 0.5}'})
    assert generic["en"].item() == 0.5 and generic["ar"].isna().all()
