"""The demo run from nothing: seconds and memory of each stage, as shares of the whole.

Run: python -m tests.bench.bench_demo

Prints one table with the machine and the commit. The reference of the same run is one plain forward pass of the
captioner over every image and prompt; a stage's cost is told in multiples of it as well, which travels between
machines.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


def peak_of_tree(process: psutil.Process, found: list[int], done: threading.Event) -> None:
    """Largest resident memory of a process and its children together, sampled ten times a second."""
    while not done.wait(0.1):
        try:
            family = [process, *process.children(recursive=True)]
            found[0] = max(found[0], sum(p.memory_info().rss for p in family))
        except psutil.NoSuchProcess:
            return


def reference_seconds(run: Path) -> float:
    """One forward pass over every image with both prompts, in batches of 64 rows."""
    from core.run import Run
    from core.samples.images import open_image
    from core.vlm.loading import load_vlm

    config, vlm = Run(run).config(), load_vlm(str(ROOT / "data" / "demo-captioner"))
    prompts = [vlm.prompt_ids(config.caption.prompt_en), vlm.prompt_ids(config.caption.prompt_ar)]
    images = [open_image(Run(run), i) for i in range(config.samples.n)]
    began = time.perf_counter()
    for i in range(0, len(images), 32):
        features = vlm.encode_images(images[i : i + 32])
        for prompt in prompts:
            vlm.forward([prompt] * len(features), features, logits=True)
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "CAPTIONSCOPE_CACHE": cache}
        peak, done, began = [0], threading.Event(), time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "precompute", "run", "demo"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
        ) as process:
            watcher = threading.Thread(target=peak_of_tree, args=(psutil.Process(process.pid), peak, done))
            watcher.start()
            code = process.wait()
        seconds = time.perf_counter() - began
        done.set()
        watcher.join()
        if code:
            sys.exit(code)
        run = Path(cache) / "demo"
        stages = json.loads((run / "manifest.json").read_text())["stages"]
        size = sum(p.stat().st_size for p in run.rglob("*") if p.is_file())
        reference = reference_seconds(run)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"commit {commit}, {time.strftime('%Y-%m-%d')}"
    )
    print(f"reference: one forward pass over all images and prompts, {reference:.1f} s\n")
    print("| stage | seconds | share | x reference | peak memory |\n|---|---|---|---|---|")
    for name, record in stages.items():
        took, peak_gb = record["seconds"], record["peak_memory"] / 1e9
        print(f"| {name} | {took:.0f} | {took / seconds:.0%} | {took / reference:.1f} | {peak_gb:.2f} GB |")
    print(f"| **all, with start** | {seconds:.0f} | 100% | {seconds / reference:.1f} | {peak[0] / 1e9:.2f} GB |")
    print(f"\nrun folder: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
