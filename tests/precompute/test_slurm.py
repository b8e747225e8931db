"""Job scripts: bash reads them, and their parts call what they should, with a sbatch and a python that only tell."""

import argparse
import os
import subprocess
import sys

import pytest

from precompute.__main__ import main
from precompute.commands import slurm
from precompute.commands.slurm import wall_time
from precompute.forecast.estimate import Estimate

ODD = "samples.images=/my photos/it's"


@pytest.fixture
def script(cache, capsys, monkeypatch, tmp_path):
    """The script that these options print, in a file whose programs only say how they were called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "python-that-tells"):
        answer = "echo '17;cluster'" if name == "sbatch" else ":"
        (programs / name).write_text(
            f'#!/bin/sh\nfor a in "$@"; do printf "%s\\n" "$a"; done >> {tmp_path}/called\n{answer}\n'
        )
        (programs / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python-that-tells"))

    def make(*options: str):
        assert main(["slurm", "demo", *options]) == 0
        path = tmp_path / "job.sh"
        path.write_text(capsys.readouterr().out)
        subprocess.run(["bash", "-n", str(path)], check=True)

        def run(**environment: str) -> list[str]:
            (tmp_path / "called").unlink(missing_ok=True)
            env = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **environment}
            subprocess.run(["bash", "job.sh"], cwd=tmp_path, env=env, check=True, capture_output=True)
            return (tmp_path / "called").read_text().splitlines()

        return path.read_text(), run

    return make


def test_one_job_runs_the_whole(script):
    text, run = script(
        "--gpus", "0", "--run", "mine", "--set", ODD, "--partition", "long", "--account", "me", "--mem", "9G"
    )
    options = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]
    assert {"--job-name=mine", "--partition=long", "--account=me", "--mem=9G", "--signal=B:TERM@120"} <= set(options)
    assert not any(option.startswith("--gpus") for option in options)
    assert run(SLURM_JOB_ID="1") == ["-m", "precompute", "run", "demo", "--run", "mine", "--set", ODD]


def test_an_array_trains_one_layer_a_job_between_two_other_jobs(script):
    _, run = script("--gpus", "0", "--array")
    submitted = run()
    assert submitted.count("--parsable") == 2 and "--array=0-3" in submitted
    assert submitted.count("--dependency=afterok:17") == 2, "each waits for the one before"
    assert sum(part.endswith("/job.sh") and part.startswith("/") for part in submitted) == 3
    job = {"SLURM_JOB_ID": "1"}
    assert run(**job, PART="before")[-2:] == ["--until", "activations"]
    layers = [run(**job, PART="layers", SLURM_ARRAY_TASK_ID=str(i))[-4:] for i in range(4)]
    assert layers == [["--only", "train", "--layers", n] for n in ("1", "3", "5", "7")]
    assert run(**job, PART="rest") == ["-m", "precompute", "run", "demo", "--run", "demo"]


def test_time_and_memory_come_from_the_plan(script, monkeypatch):
    text, _ = script("--gpus", "1", "--time", "3:00:00")
    assert "#SBATCH --time=3:00:00" in text and "#SBATCH --gpus=1" in text
    hour = Estimate(3600.0, 0, 0, 10e9, 0, "")
    assert wall_time([hour, hour]) == "4:00:00" and wall_time([hour] * 8, side_by_side=8) == "2:00:00"
    assert wall_time([]) == "24:00:00", "where nothing is known"
    short = Estimate(1.0, 0, 0, 10e9, 0, "")
    assert wall_time([short]) == "0:30:00"
    assert slurm._memory(argparse.Namespace(mem=""), [hour]) == "13G"
