"""Steering a model with random weights: references of equal length, and one batch for all rows."""

from __future__ import annotations

import subprocess
import sys
import threading

import pandas as pd
import pytest
import torch

from core.errors import UserError
from core.steering.captions import SteeredModel, added, equal_length, steer
from core.steering.edits import Direction
from core.steering.request import FeatureEdit, Request, Step
from tests.steering.test_steering_edits import LAYER, toy_sae
from tests.steering.test_steering_writing import toy_trie
from tests.vlm.toy_model import toy_features, toy_vlm

EDITS = (FeatureEdit(LAYER, 5, 1.5, 2.0), FeatureEdit(LAYER, 9, 1.0, 1.0))
CONTROL = (FeatureEdit(LAYER, 17, 1.0, 3.0), FeatureEdit(LAYER, 33, 1.0, 1.0))


@pytest.fixture
def model() -> SteeredModel:
    vlm, sae = toy_vlm(), toy_sae()
    way = torch.nn.functional.normalize(torch.arange(1.0, vlm.d_model + 1), dim=0)
    means = {lang: Direction(way, way, torch.zeros_like(way)) for lang in ("en", "ar")}
    n = len(sae.W_dec)
    columns = {"layer": LAYER, "feature": range(n), "alive": True, "density": 0.01, "mean": 1.0, "p999": 2.0}
    prompts = {"en": "Describe.", "ar": "صف."}
    return SteeredModel(vlm, {LAYER: sae}, prompts, 4, {}, toy_trie, lambda layer: means, pd.DataFrame(columns))


def written(model: SteeredModel, request: Request, known: Step | None = None) -> Step:
    return list(steer(model, toy_features()[:1], request, known))[-1]


def test_random_features_and_the_difference_of_means_change_as_much_as_the_edits(model: SteeredModel) -> None:
    request = Request(EDITS, CONTROL, means=True)
    step = written(model, request)
    assert step.finished and step.sizes["control"] == pytest.approx(step.sizes["after"], rel=0.05)
    assert step.sizes["means"] == pytest.approx(step.sizes["after"], rel=0.05)
    W_dec = model.saes[LAYER].W_dec.detach()
    length = lambda edits: float(added(W_dec, edits, LAYER).norm())  # noqa: E731
    assert step.scaled == equal_length(model.saes, request)
    assert length(CONTROL) * step.scaled[LAYER] == pytest.approx(length(EDITS), rel=1e-5)
    assert {row["row"] for row in step.meter} == {"before", "after", "control", "means"}
    assert all((row["layer"], row["feature"]) not in {(LAYER, 5), (LAYER, 9)} for row in step.moved)


@pytest.mark.parametrize("mode", ["clamp", "scale", "ablate"])
def test_in_every_mode_the_difference_of_means_is_about_as_long(model: SteeredModel, mode: str) -> None:
    prompt = model.prompt_ids("before", "en")
    resid = model.vlm.forward([prompt], toy_features()[:1], [LAYER]).resid[LAYER][0].float()
    feature = int(toy_sae().encode(resid).mean(0).argmax())
    step = written(model, Request((FeatureEdit(LAYER, feature, 1.5, 2.0),), mode=mode, means=True))
    assert step.sizes["after"] > 0 and step.sizes["means"] == pytest.approx(step.sizes["after"], rel=0.5)


def test_captions_as_they_were_are_not_written_again_and_draws_repeat(model: SteeredModel) -> None:
    before = written(model, Request())
    again = written(model, Request(EDITS), known=before)
    assert again.texts["before", "en"] == before.texts["before", "en"] and ("after", "ar") in again.texts
    drawn = written(model, Request(EDITS, draw=3))
    assert written(model, Request(EDITS, draw=3)).texts == drawn.texts
    idle = written(model, Request((FeatureEdit(LAYER, 5, 0.0, 2.0),), draw=3))
    assert idle.texts["after", "en"] == idle.texts["before", "en"]  # nothing is changed: the same draw, the same words


def test_a_neutral_prompt_is_a_longer_question_with_nothing_edited(model: SteeredModel) -> None:
    step = written(model, Request(prompt=True))
    assert set(step.texts) == {(row, lang) for row in ("before", "prompt") for lang in ("en", "ar")}
    assert not step.sizes and len(model.prompt_ids("prompt", "ar")) > len(model.prompt_ids("before", "ar"))


def test_a_stop_ends_the_writing_before_the_last_step(model: SteeredModel) -> None:
    stop = threading.Event()
    steps = steer(model, toy_features()[:1], Request(EDITS), stop=stop)
    next(steps)
    stop.set()
    assert not any(step.finished for step in steps)


def test_a_request_by_features_and_strengths_brings_its_controls(model: SteeredModel) -> None:
    request = model.request({(LAYER, 5): 1.5, (LAYER, 9): -1.0}, control=0, means=True)
    assert request.edits == (FeatureEdit(LAYER, 5, 1.5, 2.0), FeatureEdit(LAYER, 9, -1.0, 2.0))
    assert [e.push for e in request.control] == [e.push for e in request.edits]
    assert request.rows == ["after", "control", "means"]
    assert not {e.feature for e in request.control} & {5, 9}
    assert request == model.request({(LAYER, 5): 1.5, (LAYER, 9): -1.0}, control=0, means=True)
    with pytest.raises(UserError, match="no living feature"):
        model.request({(LAYER, len(model.features)): 1.0})


def test_a_request_and_its_controls_are_made_without_torch() -> None:
    code = (
        "import sys\nfrom core.steering import FeatureEdit, Request\nimport core.steering.controls\n"
        "assert Request((FeatureEdit(3, 0, 1.0, 2.0),)).rows == ['after']\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
