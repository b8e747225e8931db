"""Each recipe of docs/extending.md is followed to the letter in a copy of the project, and its commands pass there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.config import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "extending.md"
RECIPES = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S))
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", flags=re.M | re.S)
LINKED = ("data", "static")  # large, and changed by no recipe
BIN = Path(sys.executable).parent


def copy_of_the_project(to: Path) -> None:
    """What git knows and does not ignore, as it stands now."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if name.split("/")[0] not in LINKED and (PROJECT_ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT_ROOT / name, to / name)
    for folder in LINKED:
        (to / folder).symlink_to(PROJECT_ROOT / folder, target_is_directory=True)


def changed(text: str, diff: str, name: str) -> str:
    """The text after a change, whose lines begin with + - or a space; its last line may be the beginning of one."""
    lines = diff.splitlines()
    before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
    after = "\n".join(line[1:] for line in lines if not line.startswith("-"))
    assert text.count(before) == 1, f"{name} has {text.count(before)} places for this change, not one:\n{diff}"
    return text.replace(before, after)


def follow(recipe: str, project: Path) -> list[str]:
    """Write the recipe's files and make its changes; its commands."""
    commands = []
    for kind, name, text in BLOCK.findall(recipe):
        if kind == "sh":
            commands += text.splitlines()
            continue
        assert name, f"the block says no file:\n{text}"
        file = project / name
        if kind == "diff":
            text = changed(file.read_text(encoding="utf-8"), text, name)
        else:
            assert not file.exists(), f"{name} is there already"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return commands


def passes(command: list[str], project: Path) -> str:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CAPTIONSCOPE"))
    }
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_leads_where_it_says(title, tmp_path):
    copy_of_the_project(tmp_path)
    commands = follow(RECIPES[title], tmp_path)
    assert any(command.startswith("pytest ") for command in commands)
    for command in commands:
        program, *arguments = command.split()
        if program == "pytest":
            said = passes([sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *arguments], tmp_path)
            assert re.search(r"[1-9]\d* passed", said) and "skipped" not in said, said
        else:
            assert program == "python", f"{command}: no test knows how to run it"
            passes([sys.executable, *arguments], tmp_path)
    written = [name for kind, name, _ in BLOCK.findall(RECIPES[title]) if kind == "python"]
    passes([BIN / "ruff", "check", "--no-cache", *written], tmp_path)
    passes([BIN / "ruff", "format", "--no-cache", "--check", *written], tmp_path)
    passes([BIN / "lint-imports", "--no-cache"], tmp_path)
