"""The page Hiding with a stand-in for the model: areas by address, what is stored, what is written, what is said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.errors import UserError
from core.run.reader import Catalog
from pages.causes import hiding_texts
from pages.causes import steering_live as door
from pages.causes.steering_live import Live, Queue
from tests.pages.visitor import Open, visitor, words
from tests.toy_hiding import add_toy_hiding
from tests.toy_run import make_toy_run

PAGE = "pages/causes/hiding.py"
TEXTS = {"en": ("A man with a cat.", "A woman with a cat."), "ar": ("رجل مع قطة.", "امرأة مع قطة.")}


class StandIn(Live):
    """The gender turns where patch 0 is hidden; at layer 1 it says that nothing can be hidden."""

    def __init__(self) -> None:
        self.queue, self.calls = Queue(), []

    def hidden(
        self, sample_id: int, areas: Sequence[tuple[int, ...]], layer: int, filling: str
    ) -> dict[str, list[tuple[str, bool]]]:
        if layer == 1:
            raise UserError("Nothing can be hidden at layer 1 of this model.")
        self.calls.append((sample_id, areas[1], layer, filling))
        return {lang: [(two[0 in area], True) for area in areas] for lang, two in TEXTS.items()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    add_toy_hiding(make_toy_run(root / "demo", n_samples=40))
    make_toy_run(root / "unknown", n_samples=12)
    return root


@pytest.fixture
def visit(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    go = visitor(cache, monkeypatch)
    return lambda **state: go(PAGE, **state)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setattr(door, "live", lambda run: stand_in)
    return stand_in


def test_with_nothing_hidden_the_captions_stand_as_they_are(visit: Open, model: StandIn) -> None:
    said = words(visit(sample="30"))
    assert "Nothing is hidden yet" in said and "the whole picture" in said and not model.calls
    assert "hiding the person changes" in said and "window of 9 patches" in said


def test_an_area_of_the_address_is_hidden_and_stands_beside_random_places(visit: Open, model: StandIn) -> None:
    at = visit(sample="30", area="0-1.8")
    said = words(at)
    assert model.calls == [(30, (0, 1, 8), -1, "mean")]
    assert "Hiding this area changes the English" in said and re.search(r"at \d+ of \d+ random places", said)
    assert "3 patches hidden" in said and "n = 1" in said
    at.selectbox(key="filled").set_value("Zero").run()
    assert model.calls[-1] == (30, (0, 1, 8), -1, "zero")
    at.selectbox(key="at").set_value("Layer 3").run()
    assert model.calls[-1] == (30, (0, 1, 8), 3, "zero") and len(model.calls) == 3
    at.run()
    assert len(model.calls) == 3, "what has been written is not written again"


def test_nothing_of_the_old_remains_where_the_new_cannot_be_written(visit: Open, model: StandIn) -> None:
    at = visit(sample="30", area="0-1.8")
    assert "3 patches hidden" in words(at)
    at.selectbox(key="at").set_value("Layer 1").run()
    said = words(at)
    assert "Nothing can be hidden at layer 1" in said
    for old in ("patches hidden", "the whole picture", "word for word"):
        assert old not in said, said[said.index(old) - 300 : said.index(old) + 100]


def test_an_area_that_is_not_there_is_said(visit: Open, model: StandIn) -> None:
    said = words(visit(sample="30", area="2-3.900.x"))
    assert "names no patches" in said and model.calls[-1][1] == (2, 3)


def test_unknown_areas_and_a_stage_that_is_missing_are_said(visit: Open, model: StandIn) -> None:
    said = words(visit(run="unknown", sample="3"))
    assert "nobody has said" in said and "has not been computed" in said


def test_what_the_run_holds_is_not_written_again(visit: Open, model: StandIn, cache: Path) -> None:
    """An example has 25 random places for each of its whole kinds: its person is answered from the table."""
    person = "0-2.6-8.12-14"  # of a map of 6 x 6
    cat = Catalog(cache / "demo")
    area = tuple(n for part in person.split(".") for n in range(int(part.split("-")[0]), int(part.split("-")[1]) + 1))
    found = hiding_texts.stored(cat, 0, area, "mean")
    assert found is not None and {len(written) for written in found.values()} == {27}
    assert hiding_texts.stored(cat, 0, area, "zero") is None, "zero has no random places"
    assert hiding_texts.stored(cat, 20, area, "mean") is None, "of the experiment, which has few"
    assert hiding_texts.stored(cat, 0, area[1:], "mean") is None
