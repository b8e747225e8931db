"""What a run costs that stores no activations, or few: python tests/bench/bench_store.py [--images 200]

Captions are written once; then the stages activations to layers run in copies of that folder: with everything stored,
with nothing stored and room for all layers, for one layer and for half a layer, and with a quarter of the image tokens.
Told are the processor's seconds of each stage and the largest size of the run folder's activations, stored and passing,
as shares of the run that stores everything; and whether all results are the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.small_run import SMALL  # noqa: E402

STAGES = ("activations", "train", "features", "pool", "crosslingual", "layers")  # gender is counted to crosslingual
TRAINING = (
    "activations.layers=[1,3,5,7]",
    "train.d_sae=512",
    "train.k=16",
    "train.steps=300",
    "train.batch_tokens=1024",
    "crosslingual.steps=200",
)
OURS = ("activations", "logs", ".work", "manifest.json", "progress.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    n = parser.parse_args().images
    with tempfile.TemporaryDirectory() as cache:
        precompute(cache, "start", n, (), "--until", "words")
        whole = case(cache, "all", n, "activations.store=all")
        layer_gb = whole["layer"] / 1e9
        cases = {
            "all stored": whole,
            "none stored, room for all layers": case(cache, "none", n, "activations.store=none"),
            "none stored, room for one layer": case(
                cache, "one", n, "activations.store=none", f"activations.cache_gb={1.01 * layer_gb:.6f}"
            ),
            "none stored, room for half a layer": case(
                cache, "half", n, "activations.store=none", f"activations.cache_gb={layer_gb / 2:.6f}"
            ),
            "4 of 64 image tokens, all stored": case(cache, "few", n, "activations.image_tokens=4"),
        }
        same = {name: results(c["run"]) == results(whole["run"]) for name, c in cases.items()}
    print(f"{n} images, 4 layers; processor seconds and bytes as shares of those where all is stored\n")
    print("| run | " + " | ".join(STAGES) + " | together | stored | passing | same bytes |\n" + "|---" * 11 + "|")
    for name, c in cases.items():
        shares = [f"{c[s]:.1f} s" if c is whole else f"{c[s] / whole[s]:.2f}" for s in STAGES]
        total, base = (sum(x[s] for s in STAGES) for x in (c, whole))
        shares.append(f"{total:.1f} s" if c is whole else f"{total / base:.2f}")
        disk = [
            f"{c[k] / 1e6:.1f} MB" if c is whole else f"{c[k] / whole['stored']:.2f}" for k in ("stored", "passing")
        ]
        print(f"| {name} | " + " | ".join(shares + disk) + f" | {'yes' if same[name] else 'no'} |")


def case(cache: str, name: str, n: int, *sets: str) -> dict:
    """One run of the stages from the captions on."""
    run = shutil.copytree(Path(cache) / "start", Path(cache) / name)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "run": name}))
    found: dict = {"run": run, "stored": 0, "passing": 0}
    for stage in STAGES:
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = threading.Event()
        watcher = threading.Thread(target=watch, args=(run, found, done))
        watcher.start()
        precompute(cache, name, n, sets, "--until", stage)
        done.set()
        watcher.join()
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        found[stage] = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    first = run / "activations" / "layer_01"
    found["layer"] = size(first) if first.exists() else 0
    found["stored"] = size(run / "activations")
    return found


def watch(run: Path, found: dict, done: threading.Event) -> None:
    """Keep the largest size of activations that are there only while a stage runs."""
    while not done.wait(0.1):
        found["passing"] = max(found["passing"], sum(size(f) for f in run.glob(".work/*/passes")))


def size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # it has just been removed
            continue
    return total


def precompute(cache: str, name: str, n: int, sets: tuple[str, ...], *how: str) -> None:
    flags = [part for s in (*SMALL, *TRAINING, f"samples.n={n}", *sets) for part in ("--set", s)]
    command = [sys.executable, "-m", "precompute", "run", "demo", "--run", name, *flags, *how]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "CAPTIONSCOPE_CACHE": cache}, check=True, capture_output=True)


def results(run: Path) -> dict[str, bytes]:
    """What the stages made, without the activations themselves."""
    paths = [p for p in sorted(run.rglob("*")) if p.is_file() and p.relative_to(run).parts[0] not in OURS]
    return {str(p.relative_to(run)): p.read_bytes() for p in paths if p.name != ".lock"}


if __name__ == "__main__":
    main()
