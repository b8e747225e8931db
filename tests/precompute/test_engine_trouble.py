"""What people see when something goes wrong: a lock, Ctrl-C, a full disk, a bug."""

import json
import signal
import sys

import pytest

from core.errors import UserError
from core.run import Run, RunHeld
from precompute.__main__ import main


@pytest.fixture
def command(cache, fake, monkeypatch, capsys, tools):
    """The command line in this process over the fake pipeline: code, stdout, stderr."""
    import precompute.engine.local as local

    monkeypatch.setattr(local, "stages", fake.pipeline)
    before = signal.getsignal(signal.SIGTERM)

    def go(*args: str):
        code = main([*args, *(x for s in tools.SMALL for x in ("--set", s))])
        told = capsys.readouterr()
        return code, told.out, told.err

    yield go
    signal.signal(signal.SIGTERM, before)


def test_a_run_prints_plain_lines_where_there_is_no_terminal(command, cache):
    code, out, err = command("run", "demo", "--run", "x")
    assert code == 0 and err == ""
    assert "numbers: starts" in out and "total: done in" in out and "\x1b" not in out


def test_a_second_process_is_told_who_holds_the_run(start, command, cache, tools):
    process = start("run", "demo", "--run", "x", *(x for s in tools.SMALL for x in ("--set", s)), FAKE_SLEEP="0.5")
    tools.wait_for(lambda: Run(cache / "x").holder() == process.pid)
    code, _, err = command("run", "demo", "--run", "x")
    assert code == 2
    assert f"process {process.pid}" in err and "Traceback" not in err
    process.kill()
    process.wait()
    assert Run(cache / "x").holder() is None, "the lock goes with its process"
    assert command("run", "demo", "--run", "x")[0] == 0


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_by_hand(start, cache, tools, sent, code):
    process = start("run", "demo", "--run", "x", *(x for s in tools.SMALL for x in ("--set", s)), FAKE_SLEEP="0.2")
    run = Run(cache / "x")
    tools.wait_for(lambda: (run.progress() or {}).get("done", 0) >= 1)
    process.send_signal(sent)
    _, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert "Traceback" not in err
    told = run.progress()
    assert told["state"] == "stopped" and told["stages"][0]["state"] == "stopped" and told["message"]
    assert list(run.path(".work", "numbers").iterdir()), "the work is kept"
    if sent == signal.SIGINT:
        assert "goes on from the last checkpoint" in err


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_is_said_and_survived(command, cache, monkeypatch, tools):
    monkeypatch.setenv("FAKE_FULL", "1")
    code, _, err = command("run", "demo", "--run", "x")
    assert code == 1 and err.startswith("The disk is full.") and "Traceback" not in err
    run = Run(cache / "x")
    assert run.progress()["state"] == "failed" and "disk is full" in run.progress()["message"]
    assert not run.is_done("numbers")
    monkeypatch.delenv("FAKE_FULL")
    assert command("run", "demo", "--run", "x")[0] == 0


def test_a_disk_too_full_for_anything_still_ends_in_words(command, cache, monkeypatch):
    import errno
    import os

    real = os.replace

    def full(source, target):
        if "numbers" in str(target) or "progress" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(os, "replace", full)
    code, _, err = command("run", "demo", "--run", "x")
    assert code == 1 and err.startswith("The disk is full.")


def test_rust_libraries_say_it_in_words():
    from precompute.engine.local import is_disk_full

    assert is_disk_full(RuntimeError("IoError(Os { code: 28, message: 'No space left on device' })"))
    assert not is_disk_full(RuntimeError("something else")) and not is_disk_full(None)


def test_a_bug_is_three_lines_and_its_traceback_is_in_the_log(command, cache, monkeypatch):
    monkeypatch.setenv("FAKE_BUG", "1")
    code, _, err = command("run", "demo", "--run", "x")
    assert code == 1 and len(err.strip().splitlines()) == 3
    assert "The stage numbers failed: ValueError: a bug" in err
    run = Run(cache / "x")
    assert "Traceback" in run.path("logs", "numbers.log").read_text()
    assert run.progress()["state"] == "failed"


def test_a_stage_may_write_only_what_it_makes(compute, monkeypatch):
    monkeypatch.setenv("FAKE_STRAY", "1")
    with pytest.raises(UserError, match="not its own"):
        compute()


def test_a_stage_has_to_make_what_it_says(compute, monkeypatch):
    monkeypatch.setenv("FAKE_MISSING", "1")
    with pytest.raises(UserError, match=r"ended without numbers\.txt"):
        compute()


def test_an_unknown_setting_is_refused_with_the_nearest(command, capsys):
    code = main(["run", "demo", "--set", "train.stesp=3"])
    assert code == 1 and "did you mean train.steps?" in capsys.readouterr().err


def test_the_lock_is_an_error_for_users(tmp_path):
    run = Run(tmp_path / "x")
    with run.lock(), pytest.raises(RunHeld, match="worked on by process"), run.lock():
        pytest.fail("held twice")


def test_the_record_holds_what_the_app_shows(compute):
    run, _ = compute()
    record = run.manifest().stages["squares"]
    assert record.rows == 12 and record.bytes == sum(record.files.values()) > 0
    assert set(record.files) == {"squares/00.txt", "squares/01.txt", "squares/02.txt"}
    assert record.peak_memory > 1e6 and record.device == "cpu" and "python" in record.versions
    assert "step 1  k 3" in run.path("logs", "squares.log").read_text()
    told = json.loads(run.path("progress.json").read_text())
    assert {
        "run",
        "stage",
        "state",
        "done",
        "total",
        "unit",
        "rate",
        "eta_seconds",
        "started",
        "updated",
        "pid",
        "device",
        "memory_bytes",
        "message",
        "stages",
    } <= told.keys()


def test_a_tracker_hears_metrics_images_and_times(compute):
    heard = []

    class Ear:
        def metrics(self, stage, values, step):
            heard.append(("metrics", stage, dict(values), step))

        def images(self, stage, images):
            heard.append(("images", stage, list(images)))

        def stage_done(self, stage, record):
            heard.append(("done", stage, record.rows))

        def close(self, exit_code): ...

    compute(tracker=Ear())
    assert heard == [
        ("done", "numbers", 12),
        ("metrics", "squares", {"k": 3}, 1),
        ("images", "squares", ["one"]),
        ("done", "squares", 12),
        ("done", "total", 1),
    ]
