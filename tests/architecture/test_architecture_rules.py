"""The rules of the house that a reader relies on: who imports whom, no pickle, no hidden door to torch, sizes."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    if (ROOT / name).is_file()
]
SOURCES = [p for p in TRACKED if p.suffix == ".py"]
PAGES = [p for p in SOURCES if p.is_relative_to(ROOT / "pages") or p == ROOT / "app.py"]


def imported(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_import_contracts_hold():
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_pages_reach_torch_by_one_door_only(path):
    forbidden = {"torch", "transformers", "precompute", "duckdb", "ray", "umap", "sae_lens"}
    rooms = {"core.vlm", "core.sae", "core.activations", "core.steering"}
    if name(path) == "pages/kit/live.py":
        return
    assert not packages(path) & forbidden
    assert not {m for m in imported(path) if any(m == r or m.startswith(r + ".") for r in rooms)}


@pytest.mark.parametrize("path", [p for p in PAGES if "kit" not in p.parts], ids=name)
def test_pages_never_import_pages(path):
    assert not {m for m in imported(path) if re.match(r"pages\.(?!kit)", m)}


@pytest.mark.parametrize("path", [p for p in SOURCES if p.is_relative_to(ROOT / "precompute" / "stages")], ids=name)
def test_stages_never_import_stages(path):
    assert not {m for m in imported(path) if m.startswith("precompute.stages")}


@pytest.mark.parametrize("path", [p for p in SOURCES if p.is_relative_to(ROOT / "core" / "figures")], ids=name)
def test_figures_read_no_file_and_no_database(path):
    assert not packages(path) & {"duckdb", "pyarrow", "streamlit", "torch"}


@pytest.mark.parametrize("path", [p for p in SOURCES if "core" in p.parts and "reader" not in p.parts], ids=name)
def test_only_the_reader_speaks_sql(path):
    if "tests" not in path.parts:
        assert "duckdb" not in packages(path)


@pytest.mark.parametrize("path", [p for p in SOURCES if "tests" not in p.parts], ids=name)
def test_no_pickle_and_no_swallowed_errors(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not packages(path) & {"pickle", "joblib", "dill", "cloudpickle", "shelve"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert f"{node.value.id}.{node.attr}" not in {"torch.save", "torch.load"}
        if isinstance(node, ast.ExceptHandler):
            named = isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
            broad = node.type is None or named
            assert not (broad and all(isinstance(x, ast.Pass) for x in node.body)), f"line {node.lineno}"


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
