"""What the whole suite shares: a small run of the real pipeline, made once."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.small_run import ROOT, small_command


@pytest.fixture(scope="session")
def small_cache(tmp_path_factory) -> Path:
    """A cache folder for runs of this session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def small_run(small_cache) -> Path:
    """The folder of a run of the shipped captioner at small size, through the command line."""
    environment = {**os.environ, "CAPTIONSCOPE_CACHE": str(small_cache)}
    command = small_command("small")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return small_cache / "small"
