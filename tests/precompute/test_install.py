"""The project as a wheel: library, command line and presets; what belongs to a checkout is said to be missing."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.small_run import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The contents of the wheel, in a folder that is no checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in names.stdout.splitlines():
        belongs = name.startswith(("core/", "precompute/")) or name in ("pyproject.toml", "requirements.txt")
        if belongs and (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", str(folder / "source"), *options], check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "installed")
    return folder / "installed"


def call(installed, tmp_path, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(installed), "CAPTIONSCOPE_CACHE": str(tmp_path / "cache")}
    return subprocess.run([sys.executable, *args], cwd=tmp_path, env=env, capture_output=True, text=True)


def test_the_wheel_has_a_command_presets_lexicons_and_the_dependencies_of_requirements(installed):
    (info,) = installed.glob("*.dist-info")
    assert "captionscope = precompute.__main__:main" in (info / "entry_points.txt").read_text()
    for top, kind in (("core", "tsv"), ("precompute", "toml")):
        there = {p.relative_to(ROOT).as_posix() for p in (ROOT / top).rglob(f"*.{kind}")}
        assert there and all((installed / name).is_file() for name in there), there
    wanted = {line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()} - {""}
    found = [line.split(":", 1)[1] for line in (info / "METADATA").read_text().splitlines() if "Requires-Dist" in line]
    assert wanted == {line.strip() for line in found if "extra ==" not in line}


def test_an_installed_copy_lists_its_presets_and_finds_the_code_of_a_stage(installed, tmp_path):
    listed = call(installed, tmp_path, "-m", "precompute", "list")
    assert listed.returncode == 0 and "gemma-3-4b" in listed.stdout, listed.stderr
    code = (
        "from core.config import load_config; from precompute.engine.fingerprint import code_of\n"
        "print(*code_of('precompute.stages.caption:run', load_config('demo'))[0])"
    )
    found = call(installed, tmp_path, "-c", code)
    assert "core.vlm.loading" in found.stdout.split(), found.stderr


def test_away_from_a_checkout_the_demo_says_what_is_missing_and_what_to_do(installed, tmp_path):
    refused = call(installed, tmp_path, "-m", "precompute", "run", "demo")
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 3, refused.stderr
    assert "pip install -e" in refused.stderr
