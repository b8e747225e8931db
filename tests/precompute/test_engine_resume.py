"""What survives a kill, and that what comes out is the same bytes."""

import os
import shutil
import signal

import pytest

from core.run import Run


class Crash(BaseException):
    """A death that no handler of the program expects."""


def sets(tools, *more):
    return [x for s in (*tools.SMALL, *more) for x in ("--set", s)]


def test_killed_three_times_it_goes_on_and_the_bytes_are_the_same(start, compute, cache, tools):
    whole, _ = compute("samples.n=40", name="whole")
    killed = Run(cache / "killed")
    parts = 0
    for at in (5, 15, 28):
        process = start("run", "demo", "--run", "killed", *sets(tools, "samples.n=40"), FAKE_SLEEP="0.02")
        work = killed.path(".work", "numbers")
        tools.wait_for(lambda work=work, at=at: work.exists() and len(list(work.glob("[0-9]*.txt"))) >= at)
        process.send_signal(signal.SIGKILL)
        process.wait()
        left = len(list(work.glob("[0-9]*.txt")))
        assert left >= max(at, parts), "a checkpoint was lost"
        assert not killed.is_done("numbers") and not killed.path("numbers.txt").exists()
        assert killed.progress()["state"] == "stopped", "a dead process does not read as running"
        parts = left
    process = start("run", "demo", "--run", "killed", *sets(tools, "samples.n=40"))
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "goes on where it stopped" in out
    made = killed.path("logs", "numbers.log").read_text().count("made part")
    assert made <= 40 + 3, "no more than the part under way at each kill is made twice"
    assert tools.outputs(killed) == tools.outputs(whole)
    assert not killed.path(".work", "numbers").exists()


@pytest.mark.parametrize("changed", [False, True], ids=["first run", "after a change of settings"])
def test_dying_at_any_file_operation_costs_nothing(compute, tools, monkeypatch, changed, cache):
    """The process dies at the n-th replace, unlink or rmtree, for every n; the next run ends as if nothing had been."""
    whole, _ = compute("seed=5", "samples.n=3", name="whole")
    expected = tools.outputs(whole)
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
        assert tools.outputs(run) == expected, f"died at operation {n}"
        assert not list(run.path(".work").iterdir())
        shutil.rmtree(run.dir)
        if not died:
            break
    assert 20 < n < 399, "every operation has had its turn"


def test_work_of_other_settings_is_not_gone_on_from(compute, tools, monkeypatch, fake):
    monkeypatch.setenv("FAKE_BUG", "1")
    with pytest.raises(Exception, match="a bug"):
        compute("seed=1")
    monkeypatch.delenv("FAKE_BUG")
    run, _ = compute("seed=2")
    expected, _ = compute("seed=2", name="clean")
    assert tools.outputs(run) == tools.outputs(expected)


def test_leftovers_of_a_killed_writer_are_swept(compute, cache):
    run, _ = compute()
    run.path("numbers.txt").unlink()
    stray = run.path(".tmp-99999-numbers.txt")
    stray.write_text("half")
    compute()
    assert not stray.exists()
