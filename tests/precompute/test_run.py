"""A command of the user's that is told how a run ended, whatever becomes of the command."""

import shlex
import signal
import time

import pytest

from core.errors import UserError
from core.run import Run
from precompute.__main__ import main
from precompute.commands import run as notify
from precompute.commands.run import notifying, parse_command
from tests.precompute.fake_runs import run_arguments, wait_for


@pytest.fixture
def told(tmp_path):
    """A command that writes what it was told into a file, and what it wrote, by name."""
    out = tmp_path / "told.txt"
    command = ["sh", "-c", f"env | grep ^CAPTIONSCOPE_ > {shlex.quote(str(out))}"]

    def read() -> dict[str, str]:
        lines = out.read_text().splitlines() if out.exists() else []
        return dict(line.removeprefix("CAPTIONSCOPE_").split("=", 1) for line in lines)

    return command, read


def test_the_end_is_told(told, cache):
    command, read = told
    with notifying(command, Run(cache / "x")):
        pass
    assert (
        read()["STATE"] == "done" and read()["RUN"] == "x" and int(read()["SECONDS"]) >= 0 and read()["MESSAGE"] == ""
    )


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (UserError("what went wrong", "why"), "failed"),
        (ValueError(""), "failed"),
        (KeyboardInterrupt(), "stopped"),
        (SystemExit(143), "stopped"),
    ],
)
def test_a_bad_end_is_told_and_stays_what_it_was(told, cache, error, state):
    command, read = told
    with pytest.raises(type(error)), notifying(command, Run(cache / "x")):
        raise error
    assert read()["STATE"] == state and read()["MESSAGE"]


def test_the_command_line_tells_of_the_stage_that_failed(told, start):
    command, read = told
    args = [*run_arguments(), "--notify-cmd", shlex.join(command)]
    process = start(*args, FAKE_BUG="1")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1, err
    assert read()["STATE"] == "failed" and read()["STAGE"] == "numbers" and "a bug" in read()["MESSAGE"]
    process = start(*args)
    assert process.wait(30) == 0
    assert read()["STATE"] == "done"


def test_a_run_that_is_stopped_tells_so(told, start, cache):
    command, read = told
    process = start(*run_arguments(), "--notify-cmd", shlex.join(command), FAKE_SLEEP="0.2")
    wait_for(lambda: (Run(cache / "x").progress() or {}).get("done", 0) >= 1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143 and read()["STATE"] == "stopped"


@pytest.mark.parametrize("command", [["sh", "-c", "echo oh dear; exit 3"], ["/nowhere/at/all"]])
def test_a_command_that_fails_is_a_line_in_a_log(cache, capsys, command):
    run = Run(cache / "x")
    with notifying(command, run):
        pass
    assert "notify:" in capsys.readouterr().err
    if command[0] == "sh":
        assert run.path("logs", "notify.log").read_text() == "oh dear\nsh ended with 3\n"


def test_a_command_that_takes_too_long_is_ended_with_its_children(cache, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(notify, "TIMEOUT", 0.3)
    began = time.monotonic()
    with notifying(["sh", "-c", f"(sleep 2; touch {tmp_path / 'late'}) & wait"], Run(cache / "x")):
        pass
    assert time.monotonic() - began < 2 and "longer than" in capsys.readouterr().err
    time.sleep(2.2 - (time.monotonic() - began))
    assert not (tmp_path / "late").exists()


def test_there_is_no_shell_unless_one_is_asked_for(cache, tmp_path):
    run = Run(cache / "x")
    with notifying(parse_command(f"echo $HOME ; touch {tmp_path / 'made'}"), run):
        pass
    assert run.path("logs", "notify.log").read_text() == f"$HOME ; touch {tmp_path / 'made'}\n"
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("text", ["no-such-program-anywhere now", "echo 'unclosed", "   "])
def test_a_command_that_cannot_be_is_refused_before_anything_runs(cache, capsys, text):
    assert main(["run", "demo", "--run", "x", "--notify-cmd", text]) == 1
    assert "--notify-cmd" in capsys.readouterr().err
    assert not (cache / "x").exists()
