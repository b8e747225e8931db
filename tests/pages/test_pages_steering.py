"""The steering page with a stand-in for the model: captions, differences, address, queue and abort."""

from __future__ import annotations

import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import streamlit as st

from core.errors import UserError
from core.features.notes import Notes
from core.run import Run, manifest_version
from core.run.reader import Catalog
from core.steering.request import FeatureEdit, Request, Step, Strip
from pages.causes import steering_captions, steering_sliders
from pages.causes import steering_live as door
from pages.causes.steering_image import SteeredImage, read_upload
from pages.causes.steering_live import Live, Queue
from tests.pages.pictures import picture_bytes
from tests.pages.visitor import Open, visitor, words
from tests.toy_explain import write_doses
from tests.toy_gender import add_gender_tables
from tests.toy_run import make_toy_run

PAGE = "pages/causes/steering.py"
BEFORE = {"en": "A man holds a book.", "ar": "رجل يحمل كتابا."}
AFTER = {"en": "A woman holds a book.", "ar": "امرأة تحمل كتابا."}


class StandIn(Live):
    """Writes word by word without a model: a positive push of feature 0 turns the gender, all else changes nothing."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.calls: list[tuple[str, Request]] = []

    def captions(self, image: SteeredImage, request: Request) -> Iterator[Step]:
        self.calls.append((image.key, request))
        turned = any(k.feature == 0 and (k.strength > 0 or request.mode == "ablate") for k in request.edits)
        full = {("before", lang): text for lang, text in BEFORE.items()}
        for row in request.rows:
            full |= {(row, lang): text for lang, text in (AFTER if turned and row == "after" else BEFORE).items()}
        for n in range(1, 5):
            yield Step({key: " ".join(text.split(" ")[:n]) for key, text in full.items()})
        size = {"after": 0.34} if request.edits else {}
        strips = {
            key: Strip(tuple(text.split(" ")), *((p,) * len(text.split(" ")) for p in (0.2, 0.7, 0.0, 0.031)))
            for key, text in full.items()
        }
        meter = [
            {"measure": m, "layer": layer, "row": row, "lang": lang, "value": value}
            for m in ("probe", "lens")
            for layer in (1, 3)
            for lang in ("en", "ar")
            for row, value in (("before", 0.9), ("after", -1.2))
        ]
        moved = [{"layer": 3, "feature": 2, "size": 4.0, "before_en": 0.5, "after_en": 2.5}]
        yield Step(
            full,
            True,
            size,
            {"after": 0.25} if request.edits else {},
            strips,
            meter if request.edits else [],
            moved if request.edits else [],
        )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    make_toy_run(root / "demo")
    add_gender_tables(root / "demo")
    write_doses(root / "demo", sample_id=14, edits=["3:0:2"], before=BEFORE, after=AFTER)
    return root


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setattr(door, "live", lambda run: stand_in)
    return stand_in


def test_without_features_the_captions_are_shown_as_they_were(visit: Open, model: StandIn) -> None:
    said = words(visit(sample="4"))
    assert BEFORE["en"] in said and BEFORE["ar"] in said
    assert "Nothing is turned yet" in said and "move its slider" in said
    assert 'class="cs-sure' not in said
    assert model.calls == [("4", Request())]


def test_a_slider_turns_the_gender_in_both_languages(visit: Open, model: StandIn, cache: Path) -> None:
    at = visit(sample="4", features="3:0")
    at.slider(key="turn-3-0").set_value(2.0).run()
    assert not at.exception
    said = words(at)
    for word in ("woman", "امرأة"):
        title = "the gender turns: a noun for a woman"
        assert f'<mark class="cs-mark flipped" title="{title}">{word}</mark>' in said
    assert "the gender turns in English and in Arabic" in said and "n = 1 image" in said
    assert "steering 34 %" in said and "steering 25 %" in said
    p999 = Catalog(cache / "demo").feature(3, 0)["p999"]
    assert model.calls[-1][1].edits == (FeatureEdit(3, 0, 2.0, p999),)
    assert at.query_params["features"] == "3:0:2"


def test_the_address_restores_the_sliders(visit: Open, model: StandIn) -> None:
    at = visit(sample="9", features="3:0:1.5,1:4:-2")
    assert [at.slider(key=k).value for k in ("turn-3-0", "turn-1-4")] == [1.5, -2.0]
    assert [(k.layer, k.feature, k.strength) for k in model.calls[-1][1].edits] == [(3, 0, 1.5), (1, 4, -2.0)]


def test_number_box_reset_and_take_off(visit: Open, model: StandIn) -> None:
    at = visit(features="3:0:1.5,3:2:1")
    at.number_input(key="box-3-0").set_value(-0.5).run()
    assert at.slider(key="turn-3-0").value == -0.5
    at.button(key="off-3-2").click().run()
    assert at.query_params["features"] == "3:0:-0.5"
    at.button(key="reset").click().run()
    assert at.query_params["features"] == "3:0" and not model.calls[-1][1].edits


def test_an_address_that_lags_behind_does_not_take_a_slider_back(visit: Open, model: StandIn) -> None:
    at = visit(features="3:0")
    at.slider(key="turn-3-0").set_value(1.0).run()
    at.query_params["features"] = "3:0"  # the browser sends the next move before it has heard of the new address
    at.slider(key="turn-3-0").set_value(2.0).run()
    assert at.slider(key="turn-3-0").value == 2.0 and at.query_params["features"] == "3:0:2"
    at.query_params["features"] = "3:2:1"
    at.run()
    assert turns(at) == ["turn-3-2"] and at.slider(key="turn-3-2").value == 1.0


def test_up_to_four_features_are_taken(visit: Open, model: StandIn) -> None:
    at = visit()
    for feature in (1, 2, 3, 4):
        at.number_input(key="add-feature").set_value(feature).run()
        at.button(key="add").click().run()
    assert not at.exception and len(turns(at)) == 4
    assert "features at a time" in words(at) and not [b for b in at.button if b.key == "add"]


def test_control_is_alive_in_the_same_layer_and_pushed_as_hard(visit: Open, model: StandIn, cache: Path) -> None:
    at = visit(features="3:0:2", control="true", seed="5")
    pushed, control = model.calls[-1][1].edits, model.calls[-1][1].control
    assert len(control) == 1 and control[0].layer == 3 and control[0].feature != 0
    assert control[0].push == pytest.approx(pushed[0].push)
    assert Catalog(cache / "demo").feature(3, control[0].feature)["alive"]
    assert "A random feature pushed as hard: no word changes" in words(at)
    visit(features="3:0:2", control="true", seed="5")
    assert model.calls[-1][1].control == control


def test_a_rerun_without_a_change_does_not_write_again(visit: Open, model: StandIn) -> None:
    at = visit(features="3:0:2")
    at.number_input(key="add-feature").set_value(7).run()
    assert len(model.calls) == 1 and AFTER["en"].split()[1] in words(at)


def test_the_figure_of_the_captions_names_the_edits_and_holds_both_scripts(cache: Path) -> None:
    from core.figures.paper import render

    asked = Request((FeatureEdit(3, 0, 2.0, 1.5),), (FeatureEdit(3, 4, 1.0, 3.0),))
    *_, step = StandIn().captions(SteeredImage("4", 4), asked)
    fig = steering_captions.sheet(Run(cache / "demo"), step, SteeredImage("4", 4), asked)
    drawn = [text.get_text() for text in fig.texts]
    assert "English, as steered (layer 3, feature 0 at +2.0)" in drawn
    assert "Arabic, random control (layer 3, feature 4 at +1.0)" in drawn and "امرأة" in drawn and "woman" in drawn
    assert len(fig.axes[0].images) == 1
    assert render(fig, "pdf").startswith(b"%PDF") and b"<svg" in render(fig, "svg")[:400]


def test_another_image_at_random(visit: Open, model: StandIn) -> None:
    at = visit(sample="4")
    at.button(key="shuffle").click().run()
    assert model.calls[-1][0] != "4" and at.query_params["sample"] == model.calls[-1][0]


@pytest.mark.parametrize(
    "features",
    [
        "x,3,3:,:17,-3:1,3:0:abc,3:0:nan,3:0:1e9",
        "3:15",
        "3:9999,77:1",
        "3:0:99",
        "3:0,3:0",
        ",".join(f"3:{n}" for n in range(9)),
        "9" * 60 + ":1",
    ],
)
def test_any_address_is_survived_and_said(visit: Open, model: StandIn, features: str) -> None:
    at = visit(features=features, sample="4")
    assert all(-4 <= s.value <= 4 for s in at.slider) and len(turns(at)) <= 4
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
    turned, wrong = steering_sliders.parse("3:17:1.5,5:40,0:0:-4")
    assert not wrong and steering_sliders.address(turned) == "3:17:1.5,5:40,0:0:-4"
    assert steering_sliders.parse("") == ([], [])


def test_visitors_queue_in_order_and_may_leave() -> None:
    model, places, order = StandIn(), [], []

    def leave(place: int, seconds: float) -> None:
        places.append(place)
        if len(places) == 2:
            raise TimeoutError

    def visit(name: str) -> None:
        with model.queue.turn(lambda place, seconds: None):
            order.append(name)

    with model.queue.turn(leave):
        with pytest.raises(TimeoutError), model.queue.turn(leave):
            raise AssertionError("two visitors have the model")
        others = []
        for n, name in enumerate("abc"):
            others.append(threading.Thread(target=visit, args=name))
            others[-1].start()
            while len(model.queue) < n + 2:
                time.sleep(0.001)
    for thread in others:
        thread.join()
    assert places == [2, 2] and order == ["a", "b", "c"] and len(model.queue) == 0


def test_the_model_writes_an_image_as_it_was_once_and_leaving_the_stream_stops_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Bare(Live):
        def __init__(self) -> None:
            self._before, self._images = OrderedDict(), OrderedDict({"1": None})
            self.model, self.known, self.left = None, [], 0

    def steer(model: Any, features: Any, request: Request, known: Step | None) -> Iterator[Step]:
        live.known.append(known)
        jobs = [(row, "en") for row in ["before", *request.rows]]
        try:
            yield Step(dict.fromkeys(jobs, "A"))
            yield Step(dict.fromkeys(jobs, "A man"), True, strips=dict.fromkeys(jobs, Strip((), (), (), (), ())))
        finally:
            live.left += 1

    live, image = Bare(), SteeredImage("1", 1)
    monkeypatch.setattr("core.steering.captions.steer", steer)
    with closing(live.captions(image, Request())) as steps:
        next(steps)
    assert live.left == 1 and not live._before  # a half caption is not kept
    *_, whole = live.captions(image, Request())
    *_, again = live.captions(image, Request())
    assert len(live.known) == 2 and again.texts == whole.texts and again.finished
    *_, steered = live.captions(image, Request((FeatureEdit(3, 0, 1.0, 1.0),)))
    assert live.known[-1] is not None and set(live.known[-1].texts) == {("before", "en")}
    assert set(live._before) == {("1", None)} and ("after", "en") in steered.texts


def test_a_ready_made_set_is_taken_at_once_and_moved_together(visit: Open, model: StandIn) -> None:
    at = visit(sample="4")
    at.button(key="set-female").click().run()
    pushed = model.calls[-1][1].edits
    assert (
        len(pushed) == len(turns(at)) >= 2
        and {k.strength for k in pushed} == {1.0}
        and (3, 0) in {(k.layer, k.feature) for k in pushed}
    )
    at.slider(key="turn-all").set_value(-2.0).run()
    assert {k.strength for k in model.calls[-1][1].edits} == {-2.0}
    assert at.query_params["features"].count(":-2") == len(pushed)


def test_a_list_of_the_visitor_is_taken(visit: Open, model: StandIn, cache: Path) -> None:
    saes = Catalog(cache / "demo").saes().set_index("layer")["sae_id"]
    notes = Notes(cache / "demo")
    for layer, feature in ((1, 4), (3, 2)):
        notes.put_on_list("mine", layer, feature, saes[layer])
    notes.put_on_list("mine", 3, 5, "0" * 16)  # of an earlier dictionary
    at = visit(sample="4")
    at.button(key="add-list").click().run()
    assert at.query_params["features"] == "1:4,3:2"


@pytest.mark.parametrize(("named", "mode"), [("Hold at", "clamp"), ("Remove", "ablate")])
def test_what_a_slider_does_stands_in_the_address_and_reaches_the_model(
    visit: Open, model: StandIn, named: str, mode: str
) -> None:
    at = visit(sample="4", features="3:0:2", mode=named)
    assert model.calls[-1][1].mode == mode and not at.exception
    assert at.slider(key="turn-3-0").disabled == (mode == "ablate")


def test_removing_needs_no_slider(visit: Open, model: StandIn) -> None:
    visit(sample="4", features="3:0", mode="Remove")
    assert [k.feature for k in model.calls[-1][1].edits] == [0]


def test_words_drawn_by_chance_have_their_number_in_the_address(visit: Open, model: StandIn) -> None:
    visit(sample="4", features="3:0:2", chance="true", draw="7")
    assert model.calls[-1][1].draw == 7


def test_reference_columns_are_switched_on_one_by_one(visit: Open, model: StandIn) -> None:
    said = words(visit(sample="4", features="3:0:2", prompt="true", control="true"))
    assert model.calls[-1][1].rows == ["after", "control", "prompt"]
    assert "Asked for neutral words" in said and "Use gender-neutral words." in said and "Random control" in said
    assert "Difference of means" not in said


def test_what_else_moves_is_shown_below_the_captions(visit: Open, model: StandIn) -> None:
    at = visit(sample="4", features="3:0:2")
    said = words(at)
    assert "At layer 3 the probe goes, in English from +0.9 to −1.2 and in Arabic from +0.9 to −1.2." in said
    assert "0.5 → 2.5" in said and len(at.get("plotly_chart")) >= 3


def test_an_answer_of_the_grid_is_marked_and_needs_no_model(visit: Open, model: StandIn) -> None:
    at = visit(sample="14", features="3:0:2")
    assert ">cached</span>" in words(at) and not model.calls and "امرأة" in words(at)
    at.slider(key="turn-3-0").set_value(1.9).run()  # between two doses nothing is read off
    assert ">live</span>" in words(at) and len(model.calls) == 1
    at.slider(key="turn-3-0").set_value(2.0).run()
    at.button(key="write-live").click().run()
    assert ">live</span>" in words(at) and len(model.calls) == 2


def test_stop_keeps_what_was_written_and_go_on_writes_again(
    cache: Path, visit: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(StandIn):
        def captions(self, image: SteeredImage, request: Request) -> Iterator[Step]:
            for n, step in enumerate(super().captions(image, request)):
                yield step
                if n == 2 and len(self.calls) == 2:  # as if Stop were pressed: the script is left in the middle
                    st.session_state["halted"] = (str(run.dir), manifest_version(run), image.key, request)
                    st.rerun()

    run, model = Run(cache / "demo"), Stopped()
    monkeypatch.setattr(door, "live", lambda run: model)
    at = visit(sample="4", features="3:0")
    at.slider(key="turn-3-0").set_value(2.0).run()
    assert "Stopped before the end." in words(at) and "as steered" in words(at)
    at.button(key="go-on").click().run()
    assert len(model.calls) == 3 and "the gender turns in English" in words(at)


def test_stop_before_the_first_word_leaves_nothing_of_the_setting_before(
    cache: Path, visit: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(StandIn):
        def captions(self, image: SteeredImage, request: Request) -> Iterator[Step]:
            if len(self.calls) == 1:  # as if Stop were pressed while the model reads the picture
                self.calls.append((image.key, request))
                st.session_state["halted"] = (str(run.dir), manifest_version(run), image.key, request)
                st.rerun()
            yield from super().captions(image, request)

    run, model = Run(cache / "demo"), Stopped()
    monkeypatch.setattr(door, "live", lambda run: model)
    at = visit(sample="4", features="3:0:3")
    assert "تحمل" in words(at)
    at.slider(key="turn-3-0").set_value(-4.0).run()
    assert "Stopped before the end." in words(at) and "تحمل" not in words(at)


def test_a_picture_of_ones_own_is_steered_and_left_again(visit: Open, model: StandIn) -> None:
    at = visit(sample="9", features="3:0:2")
    at.session_state["own-picture"] = read_upload(picture_bytes())
    at.run()
    assert not at.exception and model.calls[-1][0].startswith("upload-") and "your own picture" in words(at)
    at.button(key="own-back").click().run()
    assert "your own picture" not in words(at) and at.query_params["sample"] == "9"


def test_without_a_number_the_first_test_image_is_steered(visit: Open, model: StandIn) -> None:
    at = visit(sample="9", features="3:0:2")
    at.number_input(key="sample").set_value(None).run()
    assert not at.exception and model.calls[-1][0].isdecimal() and model.calls[-1][0] != "9"


def test_sliders_of_one_run_turn_no_feature_of_another(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: StandIn
) -> None:
    for name in ("demo", "other"):
        shutil.copytree(cache / "demo", tmp_path / name)
    at = visitor(tmp_path, monkeypatch)(PAGE, run="demo", features="3:0:2", sample="4")
    at.selectbox(key="run").set_value("other").run()
    assert not at.exception and turns(at) == [] and "features" not in at.query_params
    assert not model.calls[-1][1].edits
    at.selectbox(key="run").set_value("demo")
    at.query_params["features"] = "3:2:1"  # an address that this page has not written is followed in any run
    at.run()
    assert turns(at) == ["turn-3-2"]


def turns(at: Any) -> list[str]:
    """Keys of the sliders that turn one feature."""
    return [s.key for s in at.slider if s.key != "turn-all"]
