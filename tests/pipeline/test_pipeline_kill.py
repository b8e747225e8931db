"""kill -9 in the middle of every stage, run again with another number of processes: the files are the same bytes."""

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from precompute.pipeline import stages
from tests.small_run import ROOT, small_command

STAGES = [stage.name for stage in stages()]


def content(run: Path) -> dict[str, str]:
    """Hash of every file that a stage makes."""
    manifest = json.loads((run / "manifest.json").read_text())
    names = [name for record in manifest["stages"].values() for name in record["files"]]
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names}


def kill_when_running(command: list[str], environment: dict[str, str], run: Path, stage: str) -> bool:
    """Start the pipeline and kill it as soon as ``stage`` has done some of its work; False if it got past it."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 240
    while process.poll() is None and time.time() < deadline:
        try:
            progress = json.loads((run / "progress.json").read_text())
        except (FileNotFoundError, ValueError):
            progress = {}
        if progress.get("stage") == stage and progress.get("state") == "running" and progress.get("done", 0) > 0:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.01)
    process.wait()
    return False


@pytest.mark.timeout(1800)  # a start of Python and torch a stage, on a busy machine
def test_killed_in_every_stage_and_still_the_same_bytes(small_run, tmp_path):
    environment = {**os.environ, "CAPTIONSCOPE_CACHE": str(tmp_path)}
    run, killed = tmp_path / "killed", []
    for i, stage in enumerate(STAGES):
        command = [*small_command("killed"), "--workers", str(1 + i % 3)]
        killed += [stage] if kill_when_running(command, environment, run, stage) else []
    assert killed == STAGES
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert content(run) == content(small_run)
