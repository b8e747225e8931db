"""The README tells the truth: its tree is the tree, its commands exist, its figures come from the repository."""

import json
import re

import pytest

from tests.docs.readme_tree import tree
from tests.small_run import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tree_is_the_tree():
    assert tree() in README, "print the new one with: python -m tests.docs.readme_tree"


def test_the_two_commands_are_there():
    assert "pip install -r requirements.txt && python -m precompute run demo && streamlit run app.py" in README
    assert "pip install -r requirements.txt && pytest" in README


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python -m precompute ([\w-]+)", README))))
def test_every_command_of_the_readme_exists(command):
    from precompute.__main__ import _parser

    with pytest.raises(SystemExit) as stopped:
        _parser().parse_args([command, "--help"])
    assert stopped.value.code == 0


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(((?!http)[^)#]+)\)", README))))
def test_every_link_leads_somewhere(target):
    assert (ROOT / target).exists()


def test_the_captioners_figures_are_those_of_its_gate():
    results = json.loads((ROOT / "data" / "demo-captioner" / "gate.json").read_text())["results"]
    for key in ("en", "ar", "difference"):
        assert f"{min(r['r'][key] for r in results):.3f}" in README
