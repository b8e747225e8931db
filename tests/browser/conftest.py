"""A real server on the small run and a real Chromium; skipped, with the reason, where there is none."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.small_run import ROOT

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in Path(item.fspath).parents:
            item.add_marker(pytest.mark.browser)
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="no Chromium on this machine"))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": ARGUMENTS}


def serve(cache: Path, log: Path, start: tuple[str, ...] = ("streamlit", "run", "app.py")):
    """Start the app over a cache folder by the module `start`; yields its address and ends it."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    settings = {"port": port, "headless": "true", "fileWatcherType": "none"}
    command = [sys.executable, "-m", *start]
    command += [part for name, value in settings.items() for part in (f"--server.{name}", str(value))]
    environment = {**os.environ, "CAPTIONSCOPE_CACHE": str(cache)}
    with open(log, "w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).read()
                break
            except OSError:
                time.sleep(0.2)
        else:
            raise RuntimeError(log.read_text())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def app(small_run, tmp_path_factory):
    """Address of the app over the small run of the real pipeline."""
    yield from serve(small_run.parent, tmp_path_factory.mktemp("log") / "app.txt")


@pytest.fixture
def fresh_app(small_run, tmp_path):
    """Address of a server that nobody has visited yet, over the small run."""
    yield from serve(small_run.parent, tmp_path / "fresh.txt")


@pytest.fixture
def held_app(small_run, tmp_path):
    """Address of the app over the small run, and the file at which its model waits before the first word."""
    file, start = tmp_path / "held", "tests.browser.held_app"
    for address in serve(small_run.parent, tmp_path / "held.txt", (start, str(file))):
        yield address, file


@pytest.fixture(scope="session")
def empty_app(tmp_path_factory):
    """Address of the app with nothing computed yet."""
    yield from serve(tmp_path_factory.mktemp("nothing"), tmp_path_factory.mktemp("log") / "empty.txt")


@pytest.fixture
def outside(page):
    """Every request of the page that leaves this machine."""
    requests = []
    page.on(
        "request",
        lambda r: (
            requests.append(r.url)
            if not r.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))
            else None
        ),
    )
    return requests
