"""The page about the instrument itself: what disappoints stands first, and every claim has its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.answers import CLAIMS, scoreboard
from core.claims import ROWS, Row, rates
from core.scoreboard import planted
from core.scoreboard.worlds import all_worlds
from tests.pages.visitor import visitor, words
from tests.toy_run import make_toy_run

PAGE = "pages/run/instrument.py"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    cache: Path = tmp_path_factory.mktemp("cache")
    make_toy_run(cache / "demo", n_samples=4, d_sae=8)
    with pytest.MonkeyPatch.context() as patch:
        return words(visitor(cache, patch)(PAGE))


def test_every_claim_stands_there_in_words_with_its_rate(said: str) -> None:
    for rate in rates(ROWS).values():
        assert scoreboard.plain(rate.claim) in said and f"{rate.hits:,} of {rate.worlds:,}" in said


def test_what_disappoints_stands_before_the_rest(said: str) -> None:
    for line in scoreboard.disappointments(ROWS):
        assert line.split("”")[0] in said[: said.index("Every claim")]


def test_every_claim_has_plain_words() -> None:
    all_worlds()
    assert set(scoreboard.PLAIN) == set(CLAIMS) | set(planted.CLAIMS)


def row(kind: str, hits: int, claim: str = "gender.lift") -> Row:
    return Row("gender", claim, kind, "its strongest images are any", 20, 0, 0, 200, hits)


def test_a_claim_made_too_often_and_one_never_made_disappoint_and_good_ones_do_not() -> None:
    bad = scoreboard.disappointments([row("false", 40), row("true", 10)])
    assert len(bad) == 2 and "40 of 200" in bad[0] and "10 of 200" in bad[1]
    assert not scoreboard.disappointments([row("false", 2), row("true", 190)])
    assert [r["claim"] for r in scoreboard.by_claim([row("false", 2), row("false", 9, "b")])] == ["b", "gender.lift"]
