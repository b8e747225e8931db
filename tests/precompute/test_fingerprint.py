"""Hashes of code and files, and that the real stages declare the code they run."""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import PROJECT_ROOT
from precompute.fingerprint import BLOCK, WHOLE, code_files, content_hash, hash_json, source_hash
from precompute.pipeline import check_stages, stages

# The frame every stage stands in: a change there does not change what a stage makes.
FRAME = {
    "core/__init__.py",
    "core/errors.py",
    "core/runs.py",
    "core/config/__init__.py",
    "core/config/reading.py",
    "core/config/sections.py",
    "precompute/__init__.py",
    "precompute/context.py",
    "precompute/stages/__init__.py",
}


def test_comments_docstrings_and_layout_do_not_count():
    a = '"""Doc."""\ndef f(x):\n    """Doc."""\n    return x + 1  # why\n'
    b = "def f(x):\n\n    return (x\n        + 1)\n"
    assert source_hash(a) == source_hash(b)
    assert source_hash(b) != source_hash(b.replace("1", "2"))
    assert source_hash(b) != source_hash(b.replace("1", "1.0"))
    assert source_hash("x = None") != source_hash("x = False") != source_hash("x = ()")


def test_a_text_that_is_no_docstring_counts():
    assert source_hash("x = 'a'") != source_hash("x = 'b'")


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(), st.integers()))
def test_json_hash_does_not_know_order(d):
    assert hash_json(d) == hash_json(dict(reversed(d.items())))


def test_a_pattern_that_names_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no_such"):
        code_files(("no_such/*.py",), tmp_path)


def test_content_knows_names_bytes_and_the_middle_of_large_files(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100)
    one = content_hash(tmp_path, ["a"])
    path.write_bytes(b"x" * 99 + b"y")
    assert content_hash(tmp_path, ["a"]) != one
    large = bytearray(WHOLE + 10 * BLOCK)
    path.write_bytes(large)
    one = content_hash(tmp_path, ["a"])
    large[-1] = 1
    path.write_bytes(large)
    assert content_hash(tmp_path, ["a"]) != one
    path.rename(tmp_path / "b")
    large[-1] = 0
    (tmp_path / "b").write_bytes(large)
    assert content_hash(tmp_path, ["b"]) != one


def test_the_pipeline_makes_sense():
    check_stages(stages())
    assert [s.name for s in stages()] == [
        "prepare",
        "caption",
        "words",
        "activations",
        "train",
        "features",
        "pool",
        "gender",
        "crosslingual",
        "layers",
        "bias",
        "explain",
        "interventions",
        "mechanisms",
    ]


def imported(path) -> set[str]:
    """Files of this project that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        for name in names:
            stem = name.replace(".", "/")
            found |= {f for f in (f"{stem}.py", f"{stem}/__init__.py") if (PROJECT_ROOT / f).is_file()}
    return found


@pytest.mark.parametrize("stage", stages(), ids=lambda s: s.name)
def test_a_stage_declares_all_the_code_it_runs(stage):
    declared = {p.relative_to(PROJECT_ROOT).as_posix() for p in code_files(stage.code)}
    first = stage.fn.partition(":")[0].replace(".", "/") + ".py"
    seen, queue = set(), [first]
    while queue:
        name = queue.pop()
        if name not in seen and name not in FRAME:
            seen.add(name)
            queue += imported(PROJECT_ROOT / name)
    assert seen - declared <= {f for f in seen if f.endswith("__init__.py")}, "declare it in precompute/pipeline.py"
