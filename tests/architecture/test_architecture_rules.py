"""The rules of the house that no linter holds: names and hosts."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    if (ROOT / name).is_file()
]
SOURCES = [p for p in TRACKED if p.suffix == ".py"]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_room_is_called_utilities():
    assert not [p for p in SOURCES if re.search(r"(^|_)(utils?|helpers?|common|misc)$", p.stem)]


def test_the_text_names_no_registry_host():
    hosts = re.compile(r"\b(?:files\.pythonhosted|pypi|registry\.npmjs|deb\.debian|security\.debian)\.org\b")
    text = [p for p in TRACKED if p.suffix in {".py", ".md", ".toml", ".txt", ".sh", ".tsv", ".css"} or p.name == "run"]
    assert not [name(p) for p in text if hosts.search(p.read_text(encoding="utf-8"))]
