"""``slurm``: prints a job script for a run; with --array, the layers are trained as an array of jobs of their own.

Nothing else of the project knows of clusters: the script only runs ``python -m precompute``.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from core.config import PROJECT_ROOT, load_config
from core.run import Run, check_run_name, runs_dir
from precompute.forecast.estimate import Estimate
from precompute.forecast.forecast import Forecast, forecast

TIME_SAFETY, MEMORY_SAFETY = 2.0, 1.3  # what is asked for, over what is expected: a job that runs out is killed
LEAST_SECONDS, LEAST_MEMORY, UNKNOWN_SECONDS = 1800.0, 4e9, 86_400.0
BY_LAYER = "train"


def command(args: argparse.Namespace) -> int:
    """Print the script, and on stderr how to submit it."""
    config = load_config(args.preset, args.set)
    run = Run(runs_dir() / check_run_name(args.run or config.name))
    print(job_script(args, run.name, runs_dir().resolve(), forecast(config, run, for_gpu=args.gpus > 0)), end="")
    how = "bash job.sh (it calls sbatch three times)" if args.array else "sbatch job.sh"
    print(f"Keep it in a file, look it over, and submit it: {how}", file=sys.stderr)
    return 0


def job_script(args: argparse.Namespace, name: str, runs: Path, seen: Forecast) -> str:
    """The whole script as text; ``args`` as the parser reads them."""
    layers, estimates = seen.config.activations.layers, seen.estimates
    command = ["run", args.preset, "--run", name, *(part for s in args.set for part in ("--set", s))]
    command += ["--notify-cmd", args.notify_cmd] if args.notify_cmd else []
    where = [
        "set -euo pipefail",
        f"cd {shlex.quote(str(PROJECT_ROOT))}",
        f"export CAPTIONSCOPE_CACHE={shlex.quote(str(runs))}",
    ]
    program = f"{shlex.quote(sys.executable)} -m precompute {shlex.join(command)}"
    if not args.array:
        time = args.time or wall_time(estimates.values())
        return "\n".join(
            [*_head(args, name, time, _memory(args, estimates.values())), "", *where, f"exec {program}", ""]
        )
    stages = list(estimates) or [BY_LAYER]
    at = stages.index(BY_LAYER)
    parts = {"before": stages[:at], "layers": [BY_LAYER], "rest": stages[at + 1 :]}
    times = {
        part: args.time
        or wall_time((estimates[s] for s in of if s in estimates), len(layers) if part == "layers" else 1)
        for part, of in parts.items()
    }
    last = stages[at - 1] if at else BY_LAYER
    after = "--kill-on-invalid-dep=yes --dependency=afterok"
    return "\n".join(
        [
            *_head(args, name, times["rest"], _memory(args, estimates.values())),
            "",
            f"layers=({' '.join(map(str, layers))})",
            'script=$(realpath "$0")',
            *where,
            "",
            'if [[ -z "${SLURM_JOB_ID:-}" ]]; then  # not within a job: submit three, each after the one before',
            f'  first=$(sbatch --parsable --time={times["before"]} --export=ALL,PART=before "$script")',
            f'  each=$(sbatch --parsable --time={times["layers"]} {after}:"${{first%%;*}}" \\',
            f'    --array=0-{len(layers) - 1} --output={name}-%A-%a.log --export=ALL,PART=layers "$script")',
            f'  sbatch {after}:"${{each%%;*}}" --export=ALL,PART=rest "$script"',
            "  exit",
            "fi",
            "",
            'case "${PART:-rest}" in',
            f"  before) exec {program} --until {last} ;;",
            f'  layers) exec {program} --only {BY_LAYER} --layers "${{layers[SLURM_ARRAY_TASK_ID]}}" ;;',
            f"  rest) exec {program} ;;",
            "esac",
            "",
        ]
    )


def _head(args: argparse.Namespace, name: str, time: str, memory: str) -> list[str]:
    wanted = [
        f"--job-name={name}",
        f"--output={name}-%j.log",
        f"--time={time}",
        f"--mem={memory}",
        f"--cpus-per-task={args.cpus}",
        "--signal=B:TERM@120",
    ]
    wanted += [f"--gpus={args.gpus}"] if args.gpus else []
    wanted += [f"--{key}={value}" for key in ("partition", "account") if (value := getattr(args, key))]
    return [
        "#!/bin/bash",
        f"# CaptionScope: the run {name}. Made by python -m precompute slurm; change what you like.",
        "# A job that is stopped goes on where it was: submit the same script again.",
        *(f"#SBATCH {option}" for option in wanted),
    ]


def wall_time(estimates: Iterable[Estimate], side_by_side: int = 1) -> str:
    """H:MM:SS for stages one after the other, with room to be wrong; of one of several jobs that share the work."""
    expected = [e.seconds for e in estimates]
    seconds = max(LEAST_SECONDS, TIME_SAFETY * sum(expected) / side_by_side) if expected else UNKNOWN_SECONDS
    minutes = 10 * math.ceil(seconds / 600)
    return f"{minutes // 60}:{minutes % 60:02d}:00"


def _memory(args: argparse.Namespace, estimates: Iterable[Estimate]) -> str:
    """What Slurm is asked for: whole gigabytes, with room to be wrong."""
    most = max((e.memory for e in estimates), default=0.0)
    return args.mem or f"{math.ceil(max(LEAST_MEMORY, MEMORY_SAFETY * most) / 1e9)}G"
