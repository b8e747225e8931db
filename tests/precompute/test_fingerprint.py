"""Hashes of code and files, and the order of the real stages."""

import ast

from hypothesis import given, settings
from hypothesis import strategies as st

from precompute.engine.fingerprint import BLOCK, WHOLE, content_hash, hash_json, tree_hash
from precompute.pipeline import check_stages, stages


def source_hash(text: str) -> str:
    return tree_hash(ast.parse(text))


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
