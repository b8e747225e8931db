"""docs/api.md is what the door says of itself, and its examples give what they show."""

import doctest

import pytest

import core
from tests.docs.api_examples import EXAMPLES
from tests.docs.api_page import PAGE, page
from tests.door.steerable_run import make_steerable_run

MOST_LINES = 5  # of input, imports aside


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    make_steerable_run(folder / "demo")
    return folder


def test_the_page_is_made_from_the_code():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.docs.api_page"


def test_every_name_of_the_door_has_an_example_and_none_is_left_over():
    assert list(EXAMPLES) == list(core.DOOR)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short_and_gives_what_it_shows(name, cache, monkeypatch):
    monkeypatch.setenv("CAPTIONSCOPE_CACHE", str(cache))
    found = doctest.DocTestParser().get_doctest(EXAMPLES[name], {}, name, "tests/docs/api_examples.py", 0)
    lines = [line for one in found.examples for line in one.source.splitlines()]
    assert sum(not line.startswith(("import ", "from ")) for line in lines) <= MOST_LINES
    told: list[str] = []
    doctest.DocTestRunner(verbose=False).run(found, out=told.append)
    assert not told, "".join(told)
