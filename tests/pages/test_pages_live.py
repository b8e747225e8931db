"""The door to the model, over a model with random weights: references of equal length, and one batch for all rows."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch

from core.config import load_config
from core.gender.logit_words import WordSets
from core.sae.files import sae_id
from core.steering import Direction
from pages.kit.asked import Asked, Knob
from pages.kit.line import Line
from pages.kit.live import Live
from pages.kit.subject import Subject
from tests.steering.test_steering_edits import LAYER, toy_sae
from tests.vlm.toy_model import toy_features, toy_vlm

PUSHED, CONTROL = (
    (Knob(LAYER, 5, 1.5, 2.0), Knob(LAYER, 9, 1.0, 1.0)),
    (Knob(LAYER, 17, 1.0, 3.0), Knob(LAYER, 33, 1.0, 1.0)),
)


@pytest.fixture
def live() -> Live:
    model = object.__new__(Live)
    model.vlm, model.line, model.run = toy_vlm(), Line(), None
    model.config = load_config("demo", [f"activations.layers=[{LAYER}]", "caption.max_new_tokens=4"])
    model._saes = {LAYER: (toy_sae(), sae_id(toy_sae()))}
    way = torch.nn.functional.normalize(torch.arange(1.0, toy_vlm().d_model + 1), dim=0)
    model._means = {LAYER: {lang: Direction(way, way, torch.zeros_like(way)) for lang in ("en", "ar")}}
    model._sets = {lang: WordSets(lang, torch.tensor([3]), torch.tensor([5])) for lang in ("en", "ar")}
    model._images, model._before = OrderedDict({"4": toy_features()[:1]}), OrderedDict()
    return model


def written(live: Live, asked: Asked):
    return list(live.captions(Subject("4", 4), asked))[-1]


def test_random_features_and_the_difference_of_means_change_as_much_as_the_edit(live: Live) -> None:
    step = written(live, Asked(PUSHED, CONTROL, means=True))
    assert step.sizes["control"] == pytest.approx(step.sizes["after"], rel=0.05)
    assert step.sizes["means"] == pytest.approx(step.sizes["after"], rel=0.05)
    added = lambda knobs, factor=1.0: float(live._added(knobs, LAYER).norm()) * factor  # noqa: E731
    assert added(CONTROL, step.scaled[LAYER]) == pytest.approx(added(PUSHED), rel=1e-5)
    assert {row["row"] for row in step.meter} == {"before", "after", "control", "means"}
    assert all((row["layer"], row["feature"]) not in {(LAYER, 5), (LAYER, 9)} for row in step.moved)


@pytest.mark.parametrize("mode", ["clamp", "scale", "ablate"])
def test_in_every_mode_the_difference_of_means_is_about_as_long(live: Live, mode: str) -> None:
    feature = int(
        toy_sae()
        .encode(live.vlm.forward([live._prompt("before", "en")], toy_features()[:1], [LAYER]).resid[LAYER][0].float())
        .mean(0)
        .argmax()
    )
    step = written(live, Asked((Knob(LAYER, feature, 1.5, 2.0),), mode=mode, means=True))
    assert step.sizes["after"] > 0 and step.sizes["means"] == pytest.approx(step.sizes["after"], rel=0.5)


def test_captions_as_they_were_are_written_once_and_kept_for_each_draw(live: Live) -> None:
    first = written(live, Asked())
    assert live._before and written(live, Asked(PUSHED)).texts["before", "en"] == first.texts["before", "en"]
    drawn = written(live, Asked(PUSHED, draw=3))
    assert written(live, Asked(PUSHED, draw=3)).texts == drawn.texts and len(live._before) == 2
    idle = written(
        live, Asked((Knob(LAYER, 5, 0.0, 2.0),), draw=3)
    )  # nothing is changed: the same draw, the same words
    assert idle.texts["after", "en"] == idle.texts["before", "en"]


def test_a_neutral_prompt_is_a_longer_question_with_nothing_edited(live: Live) -> None:
    step = written(live, Asked(prompt=True))
    assert set(step.texts) == {(row, lang) for row in ("before", "prompt") for lang in ("en", "ar")}
    assert not step.sizes and len(live._prompt("prompt", "ar")) > len(live._prompt("before", "ar"))
