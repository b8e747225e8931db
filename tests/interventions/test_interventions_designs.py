"""Designs: what is asked, what it is judged by, and how layer, strength and ranking are chosen."""

from dataclasses import replace

from core.config import load_config
from core.interventions.designs import (
    FEATURES,
    MEANS,
    NONE,
    RANDOM,
    REPLACED,
    TARGET,
    UNIFORM,
    UNTRAINED,
    Arm,
    arms_of,
    choose,
    comparisons,
    count_arms,
    designs,
    grid,
    planned,
    tried_untrained,
    with_untrained,
)
from tests.toy_interventions import SETTINGS


def choice(best=None):
    tried = grid(SETTINGS)[1:]
    return choose(SETTINGS, {arm: float(arm == best) for arm in tried}, {1: 0.1, 3: 0.4})


def whole(strength=0.5):
    """With a random dictionary that does most in this strength."""
    tried = tried_untrained(SETTINGS, choice())
    return tried, with_untrained(choice(), tried, {arm: float(arm.strength == strength) for arm in tried})


def test_the_best_arm_of_the_development_images_is_taken_and_of_equals_the_weakest():
    best = Arm(FEATURES, "swap", 3, 1.0, "own", "auc", 25)
    assert choice(best).features["swap"] == best and choice(best).least_layer == 1
    none = choice().features["swap"]
    assert (none.strength, none.layer) == (0.5, 1) and choice().least_layer == 3


def test_every_design_with_a_set_has_controls_that_differ_in_the_draw_alone():
    for design in designs(SETTINGS, choice()):
        if design.part in ("sets", "modes", "controls", "transfer", "layers", "dose"):
            assert len(design.controls) == (5 if design.part in ("modes", "controls", "dose") else 20)
            assert {c.uniform for c in design.controls} == {design.note == UNIFORM}
            assert {replace(c, draw=TARGET, uniform=False) for c in design.controls} == {design.target}
        if design.part == "directions":
            assert {c.method for c in design.controls} == {RANDOM}


def test_one_language_has_no_question_of_transfer_and_half_the_captions():
    alone = [d.part for d in designs(replace(SETTINGS, languages=("ar",)), choice())]
    assert [d.part for d in designs(SETTINGS, choice()) if d.part != "transfer"] == alone and "transfer" not in alone
    one, both = (planned(load_config("demo", [f"samples.languages={lang}"]), 1500) for lang in ("en", "en,ar"))
    transfer = both.n_arms - one.n_arms
    assert transfer and one.n_captions == both.n_captions / 2 - transfer * both.n_confirming


def test_one_question_a_mode_is_fixed_beforehand():
    heads = [d for d in designs(SETTINGS, choice()) if d.headline]
    assert [d.target.mode for d in heads] == list(SETTINGS.modes) and {d.target.k for d in heads} == {25}


def test_every_k_is_asked_in_every_mode_and_neutralise_changes_what_ablate_does():
    found = [d.target for d in designs(SETTINGS, choice()) if d.part in ("sets", "modes")]
    assert sorted((a.mode, a.k) for a in found) == sorted((m, k) for m in SETTINGS.modes for k in SETTINGS.k)
    best = choice(Arm(FEATURES, "ablate", 3, 1.0, "own", "auc", 25)).features
    assert replace(best["neutralise"], mode="ablate") == best["ablate"] and best["swap"].layer == 1
    assert not any(a.mode == "neutralise" for a in grid(SETTINGS))


def test_the_same_targets_stand_beside_matched_and_uniform_controls_with_and_without_the_error():
    asked = [d for d in designs(SETTINGS, choice()) if d.target.mode == "ablate" and d.target.k == 25]
    cells = {(d.target.method, d.note == UNIFORM) for d in asked if d.target.sets}
    assert cells == {(method, uniform) for method in (FEATURES, REPLACED) for uniform in (False, True)}
    assert len({replace(d.target, method=FEATURES) for d in asked if d.target.sets}) == 1


def test_the_unedited_model_comes_first_and_no_arm_twice():
    tried, best = whole()
    arms = arms_of(designs(SETTINGS, best), comparisons(SETTINGS, best))
    assert arms[0] == Arm(NONE) and len(arms) == len(set(arms))
    assert grid(SETTINGS)[0] == Arm(NONE) and any(a.method == MEANS for a in grid(SETTINGS))
    assert count_arms(SETTINGS) == (len(grid(SETTINGS)) + len(tried), len(arms))


def test_two_layers_are_changed_as_each_is_alone_and_held_against_both():
    best = choice(Arm(FEATURES, "swap", 3, 1.0, "own", "auc", 25))
    (asked,) = [d for d in designs(SETTINGS, best) if d.part == "two layers"]
    below, above = asked.target.parts
    assert (below, above) == (best.by_layer[1], best.features["swap"]) and (below.layer, above.layer) == (1, 3)
    assert [c.parts[1].draw for c in asked.controls] == list(range(20))
    held = {c.name: c.others for c in comparisons(SETTINGS, best)}
    assert held["both layers less the upper"] == (above,) and held["both layers less the sum"] == (below, above)
    assert set(arms_of(designs(SETTINGS, best))) >= {below, above}
    for alone in (replace(SETTINGS, pair=(3,)), replace(SETTINGS, layers=(3,))):
        best = choose(alone, dict.fromkeys(grid(alone)[1:], 0.0), {1: 0.1, 3: 0.4})
        assert best.pair is None and not comparisons(alone, best)


def test_a_random_dictionary_is_asked_what_the_headline_is_in_the_strength_that_serves_it_best():
    tried, best = whole(1.0)
    (asked,) = [d for d in designs(SETTINGS, best) if d.part == "nulls"]
    head = best.features["swap"]
    assert [a.strength for a in tried] == [0.5, 1.0] and head.strength == 0.5 and asked.target.strength == 1.0
    assert replace(asked.target, method=FEATURES, strength=0.5, dictionary=-1) == head
    assert {replace(c, draw=TARGET) for c in asked.controls} == {asked.target} and len(asked.controls) == 20
    held = comparisons(SETTINGS, best)[0]
    assert held.arm == head and [a.dictionary for a in held.others] == [0, 1, 2, 3, 4]
    assert {a.method for a in held.others} == {UNTRAINED} and len({a.strength for a in held.others}) == 1
    middle = replace(SETTINGS, modes=("neutralise",))
    assert not tried_untrained(middle, choose(middle, dict.fromkeys(grid(middle)[1:], 0.0), {1: 0.1, 3: 0.4}))
    assert all(c.others[0].method == FEATURES for c in comparisons(SETTINGS, choice()))
    assert all(d.part != "nulls" for d in designs(SETTINGS, choice()))


def test_the_plan_counts_captions_before_anything_runs():
    amount = planned(load_config("demo"), 1500)
    config = load_config("demo").interventions
    assert (amount.n_development, amount.n_confirming) == (config.n_development, config.n_images)
    assert 10_000 < amount.n_captions < 30_000
    study = planned(load_config("gemma-3-4b"), 2000)
    assert study.n_confirming == 300 and study.n_captions > 100_000  # 400 held-out images, 100 of them to choose on
