"""GPUs as nvidia-smi tells of them: a program of that name on PATH answers, badly or not at all."""

import io
import json
import os
import time

import pytest
from rich.console import Console

from precompute.commands import status
from precompute.engine import machine as gpu_module
from precompute.engine.machine import Gpu, gpus

TWO = """0, GPU-aaaa1111, NVIDIA RTX 3090, 87, 8123, 24576
1, GPU-bbbb2222, NVIDIA T4, [N/A], 10, 15360
"""


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Put a program called nvidia-smi on PATH that runs this shell script."""

    def put(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        path = folder / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return put


def says(text: str) -> str:
    return f"cat <<'END'\n{text}END"


def test_use_and_memory_are_read(smi):
    smi(says(TWO))
    assert gpus() == [
        Gpu("NVIDIA RTX 3090", pytest.approx(0.87), 8123 * 2**20, 24576 * 2**20),
        Gpu("NVIDIA T4", None, 10 * 2**20, 15360 * 2**20),
    ]


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["NVIDIA T4"]),
        ("GPU-aaaa", ["NVIDIA RTX 3090"]),
        ("", []),
        ("1,0", ["NVIDIA RTX 3090", "NVIDIA T4"]),
        ("7", []),
    ],
)
def test_only_the_gpus_of_this_process_count(smi, monkeypatch, visible, names):
    smi(says(TWO))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.name for gpu in gpus()] == names


@pytest.mark.parametrize(
    "script", ["exit 9", "echo 'No devices were found'", says("0, GPU-a, half a line\n"), "echo ,,,,"]
)
def test_a_program_that_talks_nonsense_tells_nothing(smi, script):
    smi(script)
    assert gpus() == []


def test_a_driver_that_hangs_is_not_waited_for(smi, monkeypatch):
    monkeypatch.setattr(gpu_module, "TIMEOUT", 0.2)
    smi("exec sleep 30")
    began = time.monotonic()
    assert gpus() == [] and time.monotonic() - began < 5


def test_without_the_program_there_is_no_gpu(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpus() == []


def test_a_run_tells_of_gpus_and_of_its_last_lines(smi, compute, fake, monkeypatch, cache):
    """Whoever looks on reads progress.json alone."""
    smi(says(TWO))
    monkeypatch.setattr(status, "stages", fake.pipeline)
    run, _ = compute("samples.n=30")
    told = json.loads(run.path("progress.json").read_text(encoding="utf-8"))
    assert [g["name"] for g in told["gpus"]] == ["NVIDIA RTX 3090", "NVIDIA T4"] and told["gpus"][0]["memory_total"]
    assert 1 <= len(told["log"]) <= 12 and "total: done in" in told["log"][-1]
    told["state"] = "failed"
    monkeypatch.setattr(type(run), "progress", lambda self: told | {"state": "running", "cores": 1.5})
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(status.status_view(run))
    text = console.export_text()
    assert "GPU NVIDIA RTX 3090, 87% in use, 8.5 GB of 26 GB of its memory" in text
    assert "GPU NVIDIA T4, 10 MB of 16 GB" in text and "1.5 CPU cores" in text
    assert told["log"][-1].split()[-1] in text


def test_progress_of_another_version_is_shown_too(compute, fake, monkeypatch):
    monkeypatch.setattr(status, "stages", fake.pipeline)
    run, _ = compute()
    told = json.loads(run.path("progress.json").read_text(encoding="utf-8"))
    for name in ("gpus", "log", "cores"):
        del told[name]
    monkeypatch.setattr(type(run), "progress", lambda self: told | {"state": "running"})
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(status.status_view(run))
    assert "of memory" in console.export_text()
