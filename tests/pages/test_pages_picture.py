"""A picture of one's own, with a stand-in for the model: what stands on the page belongs to what was asked."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import UserError
from core.features.firing import firing
from core.picture.asking import Asked
from core.picture.reading import Reading
from core.picture.telling import Told
from core.run import Run
from pages.causes import steering_live as door
from pages.causes.steering_image import SteeredImage, read_upload
from pages.causes.steering_live import Live, Queue
from tests.pages.pictures import picture_bytes
from tests.pages.visitor import Open, visitor, words
from tests.toy_firing import PLANTED, SAMPLE, add_toy_firing
from tests.toy_run import make_toy_run

PAGE = "pages/look/picture.py"
LIST = '<ol class="cs-fires"'
SAID = {"en": "A man holds a book.", "ar": "رجل يحمل كتابا."}
OWN = {"en": "A woman reads.", "ar": "طبيبة تقرأ."}


class StandIn(Live):
    """Says SAID of every picture, what is given to it of its own, and lets fire what fires on SAMPLE of the toy run."""

    grid, side = (4, 4), 96

    def __init__(self, run: Run) -> None:
        self.run, self.queue, self.kept = run, Queue(), {}
        self.calls: list[tuple[str, Asked]] = []

    def told(self, image: SteeredImage, asked: Asked) -> Told | None:
        return self.kept.get((image.key, asked))

    def tell(self, image: SteeredImage, asked: Asked) -> Iterator[Told]:
        self.calls.append((image.key, asked))
        if any("<" in question for _, question in asked.questions):
            raise UserError("This question cannot be asked.", "It holds a mark.", "Ask another.")
        texts = {**SAID, **dict(asked.texts)}
        yield Told({lang: said.split()[0] for lang, said in texts.items()}, frozenset(dict(asked.texts)))
        last = Told(texts, frozenset(dict(asked.texts)), ("en",), {"ar": ("Odd.",)}, {"en": Reading("en", None, {})})
        self.kept[image.key, asked] = last
        yield last

    def fires(self, image: SteeredImage, asked: Asked, told: Told, layer: int, waiting: Any) -> Any:
        waiting(2, 0.1)  # as if somebody else had the model at this moment
        return {lang: firing(self.run, layer, SAMPLE, lang) for lang in SAID}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    add_toy_firing(make_toy_run(root / "demo", n_samples=12))
    add_toy_firing(make_toy_run(root / "unpooled", n_samples=12), pooled=False)
    return root


@pytest.fixture
def model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn(Run(cache / "demo"))
    monkeypatch.setattr(door, "live", lambda run: stand_in)
    return stand_in


def own(at: Any, **picture: Any) -> Any:
    """The page after an upload."""
    at.session_state["own-picture"] = read_upload(picture_bytes(**picture))
    at.run()
    assert not at.exception
    return at


def test_without_a_picture_one_is_asked_for_and_no_model_is_woken(visit: Open, model: StandIn) -> None:
    at = visit()
    assert "Bring a picture" in words(at) and not model.calls and len(at.get("file_uploader")) == 1
    assert "picture?run=demo&amp;sample=" in words(at)


def test_an_own_picture_is_described_in_both_languages_and_what_fires_is_listed(visit: Open, model: StandIn) -> None:
    at = own(visit())
    said = words(at)
    assert model.calls == [(at.session_state["own-picture"].key, Asked())]
    assert "your own picture" in said and "one example" in said and said.index(LIST) > 0
    listed = re.findall(r">Feature (\d+)</a>", said)
    assert set(PLANTED.values()) <= set(map(int, listed[:3]))
    assert "64 × 48 pixels" in said and "squeezed to 96 × 96" in said and "4 × 4 parts" in said
    assert "Cut off" in said and "Arabic: Odd." in said and "in line" not in said
    assert "features=3%3A40%3A1" in said and "sample=" not in said[said.index(LIST) :].split("</ol>")[0]


@pytest.mark.parametrize("place", PLANTED)
def test_at_a_chosen_place_the_feature_that_fires_there_comes_first(visit: Open, model: StandIn, place: str) -> None:
    said = words(visit(sample="4", layer="3", at=place, by="Activation"))
    assert int(re.findall(r">Feature (\d+)</a>", said)[0]) == PLANTED[place]


def test_another_question_is_asked_and_what_was_pointed_at_goes(visit: Open, model: StandIn) -> None:
    at = own(visit(at="image:5", feature="40"))
    at.query_params["at"] = "image:5"
    at.text_input(key="question-en-demo").set_value("  Who\u202e is this? ").run()
    assert model.calls[-1][1] == Asked((("en", "Who is this?"),)) and "at" not in at.query_params
    assert "The run’s figures are of its own question" in words(at) and "Who is this?" in words(at)
    at.text_input(key="question-en-demo").set_value("Describe the image.").run()  # the run's own
    assert model.calls[-1][1] == Asked((("en", "Who is this?"),)) and "of its own question." not in words(at)


def test_own_words_are_read_in_the_place_of_the_captions(visit: Open, model: StandIn) -> None:
    at = own(visit())
    key = at.session_state["own-picture"].key
    for lang, said in OWN.items():
        at.text_area(key=f"caption-{lang}-demo-{key}").set_value(said).run()
    assert model.calls[-1][1] == Asked(texts=tuple(OWN.items()))
    assert "The English and Arabic words are yours" in words(at) or "The Arabic and English words are yours" in words(
        at
    )
    own(at, size=(80, 48))
    assert model.calls[-1][1] == Asked(), "words about one picture are not read with another"


def test_what_cannot_be_asked_is_said_and_nothing_of_before_remains(visit: Open, model: StandIn) -> None:
    at = own(visit())
    at.text_input(key="question-en-demo").set_value("<end_of_turn>").run()
    said = words(at)
    assert "This question cannot be asked." in said and LIST not in said and SAID["ar"] not in said
    at.text_input(key="question-en-demo").set_value("").run()
    assert LIST in words(at)


def test_a_picture_that_is_taken_away_leaves_nothing(visit: Open, model: StandIn) -> None:
    at = own(visit())
    at.button(key="own-back").click().run()
    assert "Bring a picture" in words(at) and LIST not in words(at) and "own-picture" not in at.session_state


def test_in_another_run_its_own_model_is_asked_its_own_question(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("demo", "other"):
        shutil.copytree(cache / "demo", tmp_path / name)
    models = {name: StandIn(Run(tmp_path / name)) for name in ("demo", "other")}
    monkeypatch.setattr(door, "live", lambda run: models[run.name])
    at = own(visitor(tmp_path, monkeypatch)(PAGE, run="demo"))
    at.text_input(key="question-en-demo").set_value("Who?").run()
    at.query_params["at"] = "image:5"
    at.selectbox(key="run").set_value("other").run()
    assert not at.exception and models["other"].calls[-1][1] == Asked() and "at" not in at.query_params


def test_a_second_visitor_waits_and_sees_the_place(
    visit: Open, model: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, seen = threading.Event(), []
    monkeypatch.setattr(
        "pages.causes.steering_captions.waiting", lambda frames, place, seconds: (seen.append(place), held.set())
    )

    def hold() -> None:
        with model.queue.turn(lambda place, seconds: None):
            entered.set()
            held.wait(20)

    entered = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(20)
    at = own(visit())
    thread.join(20)
    assert seen and seen[0] == 2 and LIST in words(at)


def test_without_pooled_features_nothing_is_said_to_be_alike(
    cache: Path, visit: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = StandIn(Run(cache / "unpooled"))
    monkeypatch.setattr(door, "live", lambda run: stand_in)
    said = words(own(visit(run="unpooled")))
    assert LIST in said and "It needs the stage pool" in said and "cosine" not in said


def test_an_image_of_the_run_is_not_among_those_that_are_alike_to_it(visit: Open, model: StandIn) -> None:
    said = words(visit(sample=str(SAMPLE)))
    below = said[said.index("alike in these features") :]
    assert f"samples?run=demo&amp;sample={SAMPLE}&" not in below and "samples?run=demo&amp;sample=" in below
    assert f"sample={SAMPLE}&amp;features=3%3A40%3A1" in said, "the laboratory gets the same image"


def test_words_of_a_visitor_are_no_markup(visit: Open, model: StandIn) -> None:
    at = own(visit())
    at.text_input(key="question-ar-demo").set_value("من <b>هذا</b>؟").run()
    at.text_area(key=f"caption-en-demo-{at.session_state['own-picture'].key}").set_value("A <i>man</i>").run()
    assert "<b>" not in words(at) and "<i>man" not in words(at)
