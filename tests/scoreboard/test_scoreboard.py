"""Each sentence that can be marked "supported" has worlds in which it is false and worlds in which it is true."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest

import core.answers
from core.answers import CLAIMS, Answer, made, weigh
from core.claims import AT_MOST, MIN_WORLDS, ROWS, Row, rates, read, written
from core.scoreboard.measure import measure
from core.scoreboard.worlds import TOPICS, Size, World, all_worlds

ANSWERS = Path(core.answers.__file__).parent
CODE = ANSWERS.parent.parent
ELSEWHERE = [path for room in ("core", "pages", "precompute") for path in sorted((CODE / room).rglob("*.py"))]


def row(kind: str = "false", hits: int = 0, worlds: int = 200, world: str = "nothing", n: int = 20) -> Row:
    return Row("topic", "topic.claim", kind, world, n, 0, 0, worlds, hits)


@pytest.mark.parametrize("path", sorted(ANSWERS.glob("[a-z]*.py")), ids=lambda p: p.stem)
def test_whatever_can_be_marked_supported_names_its_claims(path):
    """Read from the code: a function that holds the mark and is not bound to a claim would never be measured."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.FunctionDef) or not (node.returns and ast.unparse(node.returns) == "Answer"):
            continue
        holds = any(map(_is_mark, ast.walk(node)))
        named = any(isinstance(d, ast.Call) and ast.unparse(d.func) == "says" for d in node.decorator_list)
        assert named or not holds, f"{path.stem}.{node.name} can say supported and names no claim"


def test_nothing_else_calls_a_sentence_supported():
    """A page that marks a sentence of its own, or hands the mark about, would have no rate."""
    marked = {"core/answers": "sentences", "core/scoreboard": "worlds", "pages/kit/text.py": "how a mark looks"}
    for path in ELSEWHERE:
        name = path.relative_to(CODE).as_posix()
        if name.startswith(tuple(marked)):
            continue
        found = [n.lineno for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if _is_mark(n)]
        assert not found, f"{name} holds the mark in line {found}; a function of core.answers has to say it"


def _is_mark(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value == "supported"


def test_every_claim_has_worlds_in_which_it_is_false_and_in_which_it_is_true():
    worlds = all_worlds()
    for path in ANSWERS.glob("[a-z]*.py"):
        importlib.import_module(f"core.answers.{path.stem}")
    for claim in CLAIMS:
        kinds = {w.kind for w in worlds if claim in w.claims}
        assert {"false", "true"} <= kinds, f"{claim} has worlds of kinds {kinds}"
    assert {c for w in worlds if w.kind != "interval" for c in w.claims} == set(CLAIMS)
    assert {w.topic for w in worlds} == set(TOPICS)


def test_every_claim_is_made_somewhere_where_it_is_true():
    """A claim that is never made has no false claims and no merit."""
    for claim in CLAIMS:
        hits = sum(r.hits for r in ROWS if r.claim == claim and r.kind == "true")
        assert hits > 0, f"{claim} was made in no world in which it is true"


def test_a_claim_made_too_often_where_it_is_false_is_not_supported():
    answer = Answer("It is so.", "supported", ("topic.claim",))
    often = weigh(answer, rates([row(hits=round(2 * AT_MOST * 200))]))
    seldom = weigh(answer, rates([row(hits=round(AT_MOST * 200))]))
    assert (often.sure, seldom.sure) == ("unclear", "supported")
    assert often.text == seldom.text == answer.text
    assert "20 of 200" in often.note and "10 of 200" in seldom.note


def test_a_size_at_which_a_claim_is_surely_made_too_often_is_not_hidden_by_the_others():
    """12 of 60 worlds of 20 images and 0 of 300 larger ones are 3 %; who has 20 images is told wrong in a fifth."""
    answer = Answer("It is so.", "supported", ("topic.claim",))
    small = Row("topic", "topic.claim", "false", "a", 20, 0, 0, 60, 12)
    large = Row("topic", "topic.claim", "false", "a", 400, 0, 0, 300, 0)
    found = weigh(answer, rates([small, large]))
    assert found.sure == "unclear" and "12 of 60 at n = 20" in found.note
    by_chance = Row("topic", "topic.claim", "false", "a", 20, 0, 0, 60, 4)  # 7 %, and the interval begins at 3 %
    assert weigh(answer, rates([by_chance, large])).sure == "supported"


def test_a_rate_that_is_hardly_known_supports_nothing():
    answer = Answer("It is so.", "supported", ("topic.claim",))
    assert weigh(answer, rates([row(hits=0, worlds=MIN_WORLDS - 1)])).sure == "unclear"
    assert weigh(answer, rates([row(hits=0, worlds=MIN_WORLDS)])).sure == "supported"
    assert weigh(answer, {}).sure == "unclear"
    assert weigh(Answer("It is so.", "supported"), {}).sure == "supported", "what claims nothing needs no rate"


def test_every_claim_has_been_measured_in_enough_worlds():
    few = {claim: rates(ROWS)[claim].worlds if claim in rates(ROWS) else 0 for claim in CLAIMS}
    assert not {claim: n for claim, n in few.items() if n < MIN_WORLDS}


def test_a_sentence_counts_by_the_worst_of_its_claims_and_of_their_worlds():
    found = rates([row(hits=1, world="a"), row(hits=9, world="b"), row(hits=9, world="b", n=50), row("true", 200)])
    assert (found["topic.claim"].hits, found["topic.claim"].worlds, found["topic.claim"].world) == (18, 400, "b")
    other = rates([Row("topic", "topic.other", "false", "a", 20, 0, 0, 200, 100)])
    both = Answer("It is so.", "supported", ("topic.claim", "topic.other"))
    assert weigh(both, found | other).sure == "unclear"


def test_one_claim_is_made_by_the_mark_and_an_unknown_one_is_refused():
    assert made(Answer("", "supported"), ("a",)).claims == ("a",)
    assert made(Answer("", "unclear"), ("a",)).claims == ()
    assert made(Answer("", "unclear", ("b",)), ("a", "b")).claims == ("b",)
    with pytest.raises(ValueError, match="claimed and not named"):
        made(Answer("", "supported", ("c",)), ("a", "b"))


def test_the_table_comes_back_as_it_was_written():
    rows = [row(hits=3), row("true", 7), row(n=50)]
    assert sorted(map(repr, read(written(rows)))) == sorted(map(repr, rows))
    with pytest.raises(ValueError, match="columns"):
        read("topic\tclaim\n")


def test_a_cell_is_the_same_alone_as_beside_others(monkeypatch):
    """Worlds of a coin that falls on its head in a quarter of throws: the rate is its chance, whatever else is run."""
    monkeypatch.setitem(CLAIMS, "coin.head", lambda head: Answer("", "supported", ("coin.head",) if head else ()))
    sizes = (Size(20), Size(50))

    def throw(rng: np.random.Generator, size: Size) -> tuple[bool]:
        return (bool(rng.random() < 0.25),)

    alone = World("coin", "a coin", ("coin.head",), "false", sizes[1:], 2000, throw)
    beside = World("coin", "a coin", ("coin.head",), "false", sizes, 2000, throw)
    assert next(measure([alone], 1)) == list(measure([beside], 1))[1]
    assert list(measure([alone], 1)) != list(measure([alone], 2))
    assert abs(next(measure([beside], 1)).share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 2000)
