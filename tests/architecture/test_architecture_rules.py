"""The rules of the house that no linter holds: names, hosts, and a command line that answers at once."""

import re
import subprocess
import sys
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


def test_import_contracts_hold():
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_room_is_called_utilities():
    assert not [p for p in SOURCES if re.search(r"(^|_)(utils?|helpers?|common|misc)$", p.stem)]


def test_the_text_names_no_registry_host():
    hosts = re.compile(r"\b(?:files\.pythonhosted|pypi|registry\.npmjs|deb\.debian|security\.debian)\.org\b")
    text = [p for p in TRACKED if p.suffix in {".py", ".md", ".toml", ".txt", ".sh", ".tsv", ".css"} or p.name == "run"]
    assert not [name(p) for p in text if hosts.search(p.read_text(encoding="utf-8"))]


def test_help_is_ready_without_heavy_imports():
    code = (
        "import sys, runpy\nsys.argv = ['precompute', '--help']\n"
        "try:\n    runpy.run_module('precompute', run_name='__main__')\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'pandas', 'pyarrow', 'duckdb', 'streamlit', 'umap'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
