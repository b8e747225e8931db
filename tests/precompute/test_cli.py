"""The command line: quick help, and tables that say what they should."""

import io
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from core.config import PROJECT_ROOT
from core.errors import UserError
from core.run import Run
from precompute.__main__ import main
from precompute.commands import doctor, status
from precompute.engine.machine import Gpu
from precompute.engine.progress import Meter, PlainScreen, show_bytes, show_time
from tests.precompute.fake_runs import run_arguments, wait_for

COMMANDS = ("", "run", "plan", "slurm", "status", "doctor", "list", "train-demo-captioner", "gate")
HEAVY = ("torch", "transformers", "pandas", "pyarrow", "numpy", "rich", "PIL", "wandb", "sae_lens")


def test_help_imports_nothing_heavy_and_is_quick():
    code = f"""
import sys
from precompute.__main__ import main
from precompute.engine.machine import Gpu
for command in {COMMANDS!r}:
    try:
        main([*([command] if command else []), "--help"])
    except SystemExit as e:
        assert e.code == 0, command
heavy = [m for m in {HEAVY!r} if m in sys.modules]
assert not heavy, heavy
"""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage:") == len(COMMANDS)
    assert time.monotonic() - began < 3, "one help takes about a tenth of a second; this leaves room for a busy machine"


def test_list_names_runs_and_presets(compute, capsys):
    compute(name="mine")
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "mine" in out and "gemma-3-4b" in out


def text_of(renderable) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_status_of_a_finished_run(compute, monkeypatch, fake):
    monkeypatch.setattr(status, "stages", fake.pipeline)
    run, _ = compute()
    text = text_of(status.status_view(run))
    assert text.count("done") == 4 and "12 rows" in text


def test_status_of_a_running_one(start, cache, fake, monkeypatch):
    monkeypatch.setattr(status, "stages", fake.pipeline)
    start(*run_arguments(), FAKE_SLEEP="0.3")
    run = Run(cache / "x")
    wait_for(lambda: (run.progress() or {}).get("done", 0) >= 3)
    text = text_of(status.status_view(run))
    assert "numbers  running" in text and "/12 samples" in text and "samples/s" in text and "squares  waiting" in text
    assert status.latest_run().name == "x"


def test_status_without_a_run_says_how_to_get_one(cache, capsys):
    assert main(["status"]) == 1
    assert "python -m precompute run demo" in capsys.readouterr().err


def test_status_of_an_unknown_run_names_those_there_are(compute, capsys):
    compute(name="mine")
    assert main(["status", "yours"]) == 1
    assert "mine" in capsys.readouterr().err


def test_the_doctor_looks_at_everything():
    found = {f.what: f for f in doctor.examine()}
    assert {"Python", "torch", "device", "memory", "disk", "fonts", "Chromium", "wandb", "streamlit"} <= found.keys()
    assert found["Python"].good and found["torch"].good
    assert found["preset demo"].good and "fits: " in found["preset demo"].found


@pytest.mark.parametrize(("total", "verdict"), [(1e12, "fits"), (1e9, "too large")])
def test_the_doctor_says_which_preset_fits(monkeypatch, total, verdict):
    monkeypatch.setattr(doctor, "free_disk", lambda path: total)
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: SimpleNamespace(total=total, available=total))
    found = doctor._preset("gemma-3-4b", "cpu")
    assert found.found.startswith(verdict) and found.good is (True if verdict == "fits" else None)
    assert ("1.0 GB there" in found.found) == (verdict == "too large")


def test_a_gpu_that_torch_does_not_use_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "gpus", lambda: [Gpu("NVIDIA T4", None, None, None)])
    (found,) = doctor._gpu_memory("cpu")
    assert "NVIDIA T4" in found.found and found.good is None


def test_wandb_missing_is_said(monkeypatch, cache, capsys):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["run", "demo", "--wandb"]) == 1
    assert "pip install wandb" in capsys.readouterr().err


def test_a_missing_demo_captioner_is_said(tmp_path, capsys):
    assert main(["gate", str(tmp_path / "none")]) == 1
    assert "train-demo-captioner" in capsys.readouterr().err


def test_the_meter_does_not_count_what_was_there_before():
    meter = Meter()
    meter.update(900, 1000, "samples", at=0.0)
    assert meter.rate is None and meter.eta is None
    meter.update(910, 1000, "samples", at=1.0)
    meter.update(920, 1000, "samples", at=2.0)
    assert meter.rate == pytest.approx(10) and meter.eta == pytest.approx(8)
    meter.update(5, 50, "steps", at=3.0)
    assert meter.rate is None, "another count begins anew"
    for i in range(10_000):
        meter.update(5 + i // 300, 50, "steps", at=3 + i / 1000)
    assert meter.rate == pytest.approx(3.3, rel=0.05)


def test_the_meter_follows_a_change_of_pace():
    meter = Meter()
    for i in range(100):
        meter.update(i, 1000, "samples", at=float(i))
    for i in range(50):
        meter.update(100 + 10 * i, 1000, "samples", at=100.0 + i)
    assert meter.rate == pytest.approx(10, rel=0.1)


def test_plain_lines_come_now_and_then(capsys):
    screen, meter = PlainScreen(every=0), Meter()
    screen.start("caption", resumed=True)
    meter.update(0, 40, "rows", at=0.0)
    meter.update(10, 40, "rows", at=1.0)
    screen.update(meter, "English")
    assert capsys.readouterr().out == (
        "caption: goes on where it stopped\ncaption: 10/40 rows (25%), 10 rows/s, 3.0 s left, English\n"
    )


def test_a_reader_that_leaves_does_not_end_the_work(start, cache):
    process = start(*run_arguments(), FAKE_SLEEP="0.05")
    process.stdout.close()
    assert process.wait(20) == 0
    assert Run(cache / "x").is_done("total")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.04, "0.0 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (40_000, "11 h"),
        (1e6, "12 days"),
    ],
)
def test_durations_read_well(seconds, text):
    assert show_time(seconds) == text


def test_sizes_read_well():
    assert [show_bytes(n) for n in (512, 3.4e6, 51e9)] == ["512 B", "3.4 MB", "51 GB"]


def test_errors_for_users_are_at_most_three_lines():
    assert str(UserError("what", "why", "do")) == "what\nwhy\ndo"
    assert str(UserError("what", do="do")) == "what\ndo"
