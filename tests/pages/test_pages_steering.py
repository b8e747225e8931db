"""The steering page with a stand-in for the model: captions, differences, address, lock and abort."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from core.catalog import Catalog
from core.errors import UserError
from core.runs import Run
from pages.kit import bench, knobs
from pages.kit import live as door
from pages.kit.live import Knob, Live, Step, matched_controls
from tests.pages.visitor import Open, visitor, words
from tests.toy_run import make_toy_run

PAGE = "pages/causes/steering.py"
BEFORE = {"en": "A man holds a book.", "ar": "رجل يحمل كتابا."}
AFTER = {"en": "A woman holds a book.", "ar": "امرأة تحمل كتابا."}


class StandIn(Live):
    """Writes word by word without a model: a positive push of feature 0 turns the gender, all else changes nothing."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls: list[tuple[int, tuple[Knob, ...], tuple[Knob, ...]]] = []

    def before(self, sample_id: int) -> dict[str, str] | None:
        return None

    def captions(self, sample_id: int, knobs: Sequence[Knob], control: Sequence[Knob] = (),
                 stop: threading.Event | None = None) -> Iterator[Step]:
        self.calls.append((sample_id, tuple(knobs), tuple(control)))
        turned = any(k.feature == 0 and k.strength > 0 for k in knobs)
        full: dict[tuple[str, str], str] = {("before", lang): text for lang, text in BEFORE.items()}
        if knobs:
            full |= {("after", lang): text for lang, text in (AFTER if turned else BEFORE).items()}
        if control:
            full |= {("control", lang): text for lang, text in BEFORE.items()}
        for n in range(1, 5):
            yield Step({key: " ".join(text.split(" ")[:n]) for key, text in full.items()})
        yield Step(full, True, {"after": 0.34} if knobs else {}, {"after": 0.25} if knobs else {})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    make_toy_run(root / "demo")
    return root


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setattr(door, "live", lambda run: stand_in)
    return stand_in


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    return partial(visitor(cache, monkeypatch), PAGE)


def test_without_features_the_captions_are_shown_as_they_were(visit: Open, model: StandIn) -> None:
    said = words(visit(sample="4"))
    assert BEFORE["en"] in said and BEFORE["ar"] in said
    assert "Nothing is turned yet" in said and "move its slider" in said
    assert 'class="cs-sure' not in said
    assert model.calls == [(4, (), ())]


def test_a_slider_turns_the_gender_in_both_languages(visit: Open, model: StandIn, cache: Path) -> None:
    at = visit(sample="4", features="3:0")
    at.slider(key="turn-3-0").set_value(2.0).run()
    assert not at.exception
    said = words(at)
    for word in ("woman", "امرأة"):
        assert f'<mark class="cs-mark flipped" title="the gender turns">{word}</mark>' in said
    assert "the gender turns in English and in Arabic" in said and "n = 1 image" in said
    assert "34 % of its size" in said and "25 % of places (steering)" in said
    p999 = Catalog(cache / "demo").feature(3, 0)["p999"]
    assert model.calls[-1][1] == (Knob(3, 0, 2.0, p999),)
    assert at.query_params["features"] == "3:0:2"


def test_the_address_restores_the_bench(visit: Open, model: StandIn) -> None:
    at = visit(sample="9", features="3:0:1.5,1:4:-2")
    assert [at.slider(key=k).value for k in ("turn-3-0", "turn-1-4")] == [1.5, -2.0]
    assert [(k.layer, k.feature, k.strength) for k in model.calls[-1][1]] == [(3, 0, 1.5), (1, 4, -2.0)]


def test_number_box_reset_and_take_off(visit: Open, model: StandIn) -> None:
    at = visit(features="3:0:1.5,3:2:1")
    at.number_input(key="box-3-0").set_value(-0.5).run()
    assert at.slider(key="turn-3-0").value == -0.5
    at.button(key="off-3-2").click().run()
    assert at.query_params["features"] == "3:0:-0.5"
    at.button(key="reset").click().run()
    assert at.query_params["features"] == "3:0" and not model.calls[-1][1]


def test_an_address_that_lags_behind_does_not_take_a_slider_back(visit: Open, model: StandIn) -> None:
    at = visit(features="3:0")
    at.slider(key="turn-3-0").set_value(1.0).run()
    at.query_params["features"] = "3:0"  # the browser sends the next move before it has heard of the new address
    at.slider(key="turn-3-0").set_value(2.0).run()
    assert at.slider(key="turn-3-0").value == 2.0 and at.query_params["features"] == "3:0:2"
    at.query_params["features"] = "3:2:1"
    at.run()
    assert [s.key for s in at.slider] == ["turn-3-2"] and at.slider[0].value == 1.0


def test_up_to_four_features_are_taken(visit: Open, model: StandIn) -> None:
    at = visit()
    for feature in (1, 2, 3, 4):
        at.number_input(key="add-feature").set_value(feature).run()
        at.button(key="add").click().run()
    assert not at.exception and len(at.slider) == 4
    assert "features at a time" in words(at) and not [b for b in at.button if b.key == "add"]


def test_control_is_alive_in_the_same_layer_and_pushed_as_hard(visit: Open, model: StandIn, cache: Path) -> None:
    at = visit(features="3:0:2", control="true", seed="5")
    pushed, control = model.calls[-1][1:]
    assert len(control) == 1 and control[0].layer == 3 and control[0].feature != 0
    assert control[0].push == pytest.approx(pushed[0].push)
    assert Catalog(cache / "demo").feature(3, control[0].feature)["alive"]
    assert "A random feature pushed as hard: no word changes" in words(at)
    visit(features="3:0:2", control="true", seed="5")
    assert model.calls[-1][2] == control


def test_a_rerun_without_a_change_does_not_write_again(visit: Open, model: StandIn) -> None:
    at = visit(features="3:0:2")
    at.number_input(key="add-feature").set_value(7).run()
    assert len(model.calls) == 1 and AFTER["en"].split()[1] in words(at)


def test_the_figure_of_the_captions_names_the_edits_and_holds_both_scripts(cache: Path) -> None:
    from core.figures.paper import render

    pushed, control = [Knob(3, 0, 2.0, 1.5)], [Knob(3, 4, 1.0, 3.0)]
    *_, step = StandIn().captions(4, pushed, control)
    fig = bench.sheet(Run(cache / "demo"), step, 4, pushed, control)
    drawn = [text.get_text() for text in fig.texts]
    assert "English, as steered (layer 3, feature 0 at +2.0)" in drawn
    assert "Arabic, random control (layer 3, feature 4 at +1.0)" in drawn and "امرأة" in drawn and "woman" in drawn
    assert len(fig.axes[0].images) == 1
    assert render(fig, "pdf").startswith(b"%PDF") and b"<svg" in render(fig, "svg")[:400]


def test_another_image_at_random(visit: Open, model: StandIn) -> None:
    at = visit(sample="4")
    at.button(key="shuffle").click().run()
    assert model.calls[-1][0] != 4 and at.query_params["sample"] == str(model.calls[-1][0])


@pytest.mark.parametrize("features", [
    "x", "3", "3:", ":17", "3:15", "3:9999", "77:1", "3:0:abc", "3:0:99", "3:0,3:0", "3:0:nan", "-3:1",
    ",".join(f"3:{n}" for n in range(9)), "9" * 60 + ":1", "3:0:1e9",
])  # fmt: skip
def test_any_address_is_survived_and_said(visit: Open, model: StandIn, features: str) -> None:
    at = visit(features=features, sample="4")
    assert all(-4 <= s.value <= 4 for s in at.slider) and len(at.slider) <= 4
    if features not in ("3:0:99",):
        assert at.warning


@pytest.mark.parametrize("state", [{"sample": "x"}, {"control": "?"}, {"seed": "x", "control": "true"}])
def test_other_bad_values_give_the_default(visit: Open, model: StandIn, state: dict[str, str]) -> None:
    assert BEFORE["en"] in words(visit(features="3:1:1", **state))


def test_a_missing_image_and_a_missing_model_are_explained(visit: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(run: Run) -> Live:
        raise UserError("The model cannot run here.", "torch is not installed.", "Install it.")

    monkeypatch.setattr(door, "live", none)
    assert "has no sample 4000" in words(visit(sample="4000"))
    assert "The model cannot run here." in words(visit(sample="4"))


def test_parse_and_address_are_inverse() -> None:
    turned, wrong = knobs.parse("3:17:1.5,5:40,0:0:-4")
    assert not wrong and knobs.address(turned) == "3:17:1.5,5:40,0:0:-4"
    assert knobs.parse("") == ([], [])


def test_controls_are_matched_on_firing_rate_and_never_dead_or_chosen() -> None:
    features = pd.DataFrame({"layer": 0, "feature": range(100), "alive": [i != 41 for i in range(100)],
                             "density": [10 ** (-4 + i / 33) for i in range(100)], "p999": 2.0})  # fmt: skip
    knob = Knob(0, 40, 3.0, 1.0)
    drawn = {matched_controls(features, [knob], seed, n_near=10)[0].feature for seed in range(200)}
    assert drawn == set(range(34, 47)) - {40, 41} - {34, 46} | (drawn & {34, 46})
    assert len(drawn) == 10
    assert matched_controls(features, [knob], 0)[0].push == pytest.approx(3.0)
    assert matched_controls(features.iloc[:0], [knob], 0) == []
    pair = matched_controls(features, [knob, Knob(0, 42, 1.0, 1.0)], 1)
    assert len({k.feature for k in pair} | {40, 42}) == 4


def test_a_second_visitor_waits_and_may_leave() -> None:
    model, waited = StandIn(), []

    def leave(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            raise TimeoutError

    with model.turn(leave):
        with pytest.raises(TimeoutError), model.turn(leave):
            raise AssertionError("two visitors have the model")
        assert model.lock.locked()
    assert not model.lock.locked() and len(waited) == 2


def test_leaving_the_stream_stops_the_model_and_keeps_no_half_caption() -> None:
    class Half(Live):
        def __init__(self) -> None:
            self.vlm, self._before, self._saes = None, {}, {}
            self.stop: threading.Event | None = None

        def _stream(self, sample_id: int, jobs: Any, edits: Any, stop: threading.Event) -> Iterator[Step]:
            self.stop = stop
            while not stop.is_set():
                time.sleep(0.001)
                yield Step(dict.fromkeys(jobs, "A"))

    half = Half()
    with closing(half.captions(1, [])) as steps:
        next(steps)
        assert half.stop is not None and not half.stop.is_set()
    assert half.stop.is_set() and half.before(1) is None
