"""README is a front door that tells the truth: short, its commands exist, its figures come from the repository; and the
table of rooms in docs/architecture.md is that of the code."""

import json
import re

import pytest

from tests.docs.rooms import PAGE, rooms
from tests.small_run import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_front_door_is_small():
    assert len(README.encode()) <= 10_000


def test_the_rooms_are_the_rooms():
    assert rooms() in PAGE.read_text(encoding="utf-8"), "write the new ones: python -m tests.docs.rooms --write"


def test_the_two_commands_are_there():
    assert "pip install -r requirements.txt && python -m precompute run demo && streamlit run app.py" in README
    assert "pip install -r requirements.txt && pytest" in README


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python -m precompute ([\w-]+)", README))))
def test_every_command_of_the_readme_exists(command):
    from precompute.commands import parser

    with pytest.raises(SystemExit) as stopped:
        parser().parse_args([command, "--help"])
    assert stopped.value.code == 0


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name
)
def test_every_link_leads_somewhere(page):
    targets = re.findall(r"\]\(((?!http|#)[^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_the_captioners_figures_are_those_of_its_gate():
    results = json.loads((ROOT / "data" / "demo-captioner" / "gate.json").read_text())["results"]
    for key in ("en", "ar", "difference"):
        assert f"{min(r['r'][key] for r in results):.3f}" in README
