"""A control task that can be learned by heart: types that images share, from annotations, from words, or none."""

import numpy as np
import pytest

from core.layers import TransformerProbeAnalyzer
from core.layers.control_task import image_types, shared_names, telling_words
from tests.layers.layers_toys import QUICK, auc_row, images, residuals

THINGS = ["dog", "car", "kite", "cake", "boat", "book", "lamp", "tree", "horse", "phone", "piano", "train"]


def captions(n: int, seed: int = 0) -> list[list[str]]:
    """A caption of a woman or a man beside one of THINGS, in one of two colours."""
    rng = np.random.default_rng(seed)
    return [
        [f"A {('woman', 'man')[i % 2]} with a {rng.choice(['red', 'blue'])} {THINGS[i // 2 % 12]}."] for i in range(n)
    ]


def test_without_annotations_the_control_task_is_not_at_chance_where_the_layer_holds_what_is_on_the_image():
    n = 240
    types = image_types([[]] * n, telling_words(captions(n), "en", 5), 5)
    assert types.source == "words" and set(types.names) == set(THINGS)
    female, things = np.arange(n) % 2 == 0, np.eye(12)[np.arange(n) // 2 % 12]
    seen = residuals(female, 0) + 6 * (things @ np.random.default_rng(1).standard_normal((12, 24))).astype(np.float32)
    row = auc_row(TransformerProbeAnalyzer(female, kind=types.names, config=QUICK).analyze({"en": seen}))
    assert row["control_low"] > 0.8 and row["selectivity_high"] < 0
    assert (row["n_types"], row["n_typed"]) == (12, n)


def test_the_control_is_at_chance_where_the_layer_does_not_hold_the_types():
    found = []
    for seed in range(8):
        female, kind = images(160, n_types=16, seed=seed)
        analyzer = TransformerProbeAnalyzer(female, kind=kind, config=QUICK, seed=seed)
        found.append(auc_row(analyzer.analyze({"en": residuals(female, 6, seed=seed)})))
    assert abs(np.mean([row["control"] for row in found]) - 0.5) < 0.06
    assert all(row["selectivity_low"] > 0.2 for row in found)


def test_one_type_an_image_is_no_control_task_and_the_reason_is_said():
    female, _ = images(80)
    row = auc_row(
        TransformerProbeAnalyzer(female, kind=np.arange(80), config=QUICK).analyze({"en": residuals(female, 8)})
    )
    assert np.isnan(row["control"]) and np.isnan(row["selectivity"]) and row["no_control"].startswith("0 types")
    assert row["value"] > 0.9 and row["p"] < 1e-6  # against labels of single images


def test_words_that_name_a_gender_make_no_type():
    said = telling_words([["a girl runs"], ["a girl sits"], ["a cook sits"], ["a cook runs"], ["rain"]], "en", 2)
    assert said[:2] == [["runs"], ["sits"]] and "cook" in said[2]


@pytest.mark.parametrize("seed", range(3))
def test_each_type_has_its_images_and_no_image_waits_for_a_type_that_is_there(seed):
    rng = np.random.default_rng(seed)
    names = [[f"w{w}" for w in np.flatnonzero(rng.random(30) < 0.15)] for _ in range(100)]
    given = shared_names(names, 4)
    counts = {name: given.count(name) for name in set(given) - {""}}
    assert counts and min(counts.values()) >= 4
    for own, name in zip(names, given, strict=True):
        assert name in own if name else not set(own) & set(counts)


def test_values_that_few_images_share_lose_their_last_one():
    things = [["dog", "red"]] * 6 + [["dog", "blue"]] * 3 + [["dog", "pink"]] * 3 + [["cat"]] * 2
    types = shared_names([["\0".join(v[:n]) for n in range(len(v), 0, -1)] for v in things], 5)
    assert types == ["dog\0red"] * 6 + ["dog"] * 6 + [""] * 2


def test_annotations_that_are_too_few_leave_the_types_to_words():
    n = 120
    words = telling_words(captions(n), "en", 5)
    assert image_types([["beach"]] * n, words, 5).source == "words"
    assert image_types([[f"place {i % 12}"] for i in range(n)], words, 5).source == "annotations"
    assert image_types([[]] * n, [[]] * n, 5).source == ""
