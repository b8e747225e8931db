"""What the whole suite shares: a small run of the real pipeline, made once, also where tests run side by side."""

import os
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

from tests import shapes

shapes.hold()

from precompute.__main__ import REPRODUCIBLE  # noqa: E402
from tests.small_run import ROOT, small_command  # noqa: E402

# Before torch is loaded: what runs in this process ends in the same bytes as the command line, and threads of tests
# side by side do not wait for each other's cores.
os.environ.update({name: os.environ.get(name, value) for name, value in REPRODUCIBLE.items()})
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

LONG = ("pipeline", "browser", "vlm", "docs")  # folders that take longest: first, so that no process ends up alone


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.parent.name not in LONG)


@pytest.fixture(scope="session")
def small_cache(tmp_path_factory, worker_id) -> Path:
    """A cache folder for runs of this session, the same for all of its processes."""
    base = tmp_path_factory.getbasetemp()
    cache = (base if worker_id == "master" else base.parent) / "cache"
    cache.mkdir(exist_ok=True)
    return cache


@pytest.fixture(scope="session")
def small_run(small_cache) -> Path:
    """The folder of a run of the shipped captioner at small size, through the command line.

    Where CAPTIONSCOPE_TEST_RUNS names a folder, it is kept there, and what is up to date is not computed again.
    """
    made, kept = small_cache / "small.made", os.environ.get("CAPTIONSCOPE_TEST_RUNS")
    runs = Path(kept) if kept else small_cache
    with FileLock(small_cache / "small.lock"):
        if not made.exists():
            environment = {**os.environ, "CAPTIONSCOPE_CACHE": str(runs)}
            command = small_command("small")
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=800)
            assert done.returncode == 0, done.stdout + done.stderr
            made.touch()
    return runs / "small"
