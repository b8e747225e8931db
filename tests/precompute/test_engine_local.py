"""A run that is killed goes on to the same bytes; a lock, Ctrl-C, a full disk and a bug are said in words."""

import json
import os
import shutil
import signal
import sys

import pytest

from core.errors import UserError
from core.run import Run, RunHeld
from precompute.__main__ import main
from tests.precompute.fake_runs import outputs, run_arguments, wait_for


class Crash(BaseException):
    """A death that no handler of the program expects."""


def test_killed_three_times_it_goes_on_and_the_bytes_are_the_same(start, compute, cache):
    whole, _ = compute("samples.n=40", name="whole")
    killed = Run(cache / "killed")
    parts = 0
    for at in (5, 15, 28):
        process = start(*run_arguments("killed", "samples.n=40"), FAKE_SLEEP="0.02")
        work = killed.path(".work", "numbers")
        wait_for(lambda work=work, at=at: work.exists() and len(list(work.glob("[0-9]*.txt"))) >= at)
        process.send_signal(signal.SIGKILL)
        process.wait()
        left = len(list(work.glob("[0-9]*.txt")))
        assert left >= max(at, parts), "a checkpoint was lost"
        assert not killed.is_done("numbers") and not killed.path("numbers.txt").exists()
        assert killed.progress()["state"] == "stopped", "a dead process does not read as running"
        parts = left
    process = start(*run_arguments("killed", "samples.n=40"))
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "goes on where it stopped" in out
    made = killed.path("logs", "numbers.log").read_text().count("made part")
    assert made <= 40 + 3, "no more than the part under way at each kill is made twice"
    assert outputs(killed) == outputs(whole)
    assert not killed.path(".work", "numbers").exists()


@pytest.mark.parametrize("changed", [False, True], ids=["first run", "after a change of settings"])
def test_dying_at_any_file_operation_costs_nothing(compute, monkeypatch, changed, cache):
    """The process dies at the n-th replace, unlink or rmtree, for every n; the next run ends as if nothing had been."""
    whole, _ = compute("seed=5", "samples.n=3", name="whole")
    expected = outputs(whole)
    compute("samples.n=3", name="other")
    real = {"replace": os.replace, "unlink": os.unlink, "rmtree": shutil.rmtree}
    for n in range(400):
        if changed:
            shutil.copytree(cache / "other", cache / "one")
        count = 0

        def dying(name, n=n):
            def operation(*args, **kwargs):
                nonlocal count
                if not str(args[-1]).endswith("progress.json"):  # written by a clock
                    count += 1
                    if count == n + 1:
                        if name == "rmtree":  # dies with half of it gone
                            files = [p for p in sorted(args[0].rglob("*")) if p.is_file()]
                            [real["unlink"](p) for p in files[: len(files) // 2]]
                        raise Crash
                return real[name](*args, **kwargs)

            return operation

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying("replace"))
            patch.setattr(os, "unlink", dying("unlink"))
            patch.setattr(shutil, "rmtree", dying("rmtree"))
            try:
                compute("seed=5", "samples.n=3")
            except Crash:
                died = True
            else:
                died = False
        run, _ = compute("seed=5", "samples.n=3")
        assert outputs(run) == expected, f"died at operation {n}"
        assert not list(run.path(".work").iterdir())
        shutil.rmtree(run.dir)
        if not died:
            break
    assert 20 < n < 399, "every operation has had its turn"


def test_work_of_other_settings_is_not_gone_on_from(compute, monkeypatch, fake):
    monkeypatch.setenv("FAKE_BUG", "1")
    with pytest.raises(Exception, match="a bug"):
        compute("seed=1")
    monkeypatch.delenv("FAKE_BUG")
    run, _ = compute("seed=2")
    expected, _ = compute("seed=2", name="clean")
    assert outputs(run) == outputs(expected)


def test_leftovers_of_a_killed_writer_are_swept(compute, cache):
    run, _ = compute()
    run.path("numbers.txt").unlink()
    stray = run.path(".tmp-99999-numbers.txt")
    stray.write_text("half")
    compute()
    assert not stray.exists()


@pytest.fixture
def command(cache, fake, monkeypatch, capsys):
    """command() runs the small run of the fake pipeline in this process: code, stdout, stderr."""
    import precompute.engine.local as local

    monkeypatch.setattr(local, "stages", fake.pipeline)
    before = signal.getsignal(signal.SIGTERM)

    def go():
        code = main(run_arguments())
        told = capsys.readouterr()
        return code, told.out, told.err

    yield go
    signal.signal(signal.SIGTERM, before)


def test_a_run_prints_plain_lines_where_there_is_no_terminal(command, cache):
    code, out, err = command()
    assert code == 0 and err == ""
    assert "numbers: starts" in out and "total: done in" in out and "\x1b" not in out


def test_a_second_process_is_told_who_holds_the_run(start, command, cache):
    process = start(*run_arguments(), FAKE_SLEEP="0.5")
    wait_for(lambda: Run(cache / "x").holder() == process.pid)
    code, _, err = command()
    assert code == 2
    assert f"process {process.pid}" in err and "Traceback" not in err
    process.kill()
    process.wait()
    assert Run(cache / "x").holder() is None, "the lock goes with its process"
    assert command()[0] == 0


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_by_hand(start, cache, sent, code):
    process = start(*run_arguments(), FAKE_SLEEP="0.2")
    run = Run(cache / "x")
    wait_for(lambda: (run.progress() or {}).get("done", 0) >= 1)
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
def test_a_full_disk_is_said_and_survived(command, cache, monkeypatch):
    monkeypatch.setenv("FAKE_FULL", "1")
    code, _, err = command()
    assert code == 1 and err.startswith("The disk is full.") and "Traceback" not in err
    run = Run(cache / "x")
    assert run.progress()["state"] == "failed" and "disk is full" in run.progress()["message"]
    assert not run.is_done("numbers")
    monkeypatch.delenv("FAKE_FULL")
    assert command()[0] == 0


def test_a_disk_too_full_for_anything_still_ends_in_words(command, cache, monkeypatch):
    import errno
    import os

    real = os.replace

    def full(source, target):
        if "numbers" in str(target) or "progress" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(os, "replace", full)
    code, _, err = command()
    assert code == 1 and err.startswith("The disk is full.")


def test_rust_libraries_say_it_in_words():
    from precompute.engine.local import is_disk_full

    assert is_disk_full(RuntimeError("IoError(Os { code: 28, message: 'No space left on device' })"))
    assert not is_disk_full(RuntimeError("something else")) and not is_disk_full(None)


def test_a_bug_is_three_lines_and_its_traceback_is_in_the_log(command, cache, monkeypatch):
    monkeypatch.setenv("FAKE_BUG", "1")
    code, _, err = command()
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
