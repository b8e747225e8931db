"""How well a plan tells what a run takes: a probe, a small run of the demo, and the two side by side, stage by stage.

Run: python tests/bench/bench_plan.py [--n 300] [--set key=value ...]

Both are timed by the processor time of one thread, so that what else the machine does changes little: on a quiet
machine that is what a clock shows. Nothing in the constants of work.py was fitted to the settings used here.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

OTHERS = (
    "train.steps=400",
    "train.d_sae=1024",
    "interventions.n_images=12",
    "interventions.n_development=10",
    "interventions.k=[1,5,25]",
    "caption.batch_size=32",
    "activations.layers=[2,4,6]",
    "mechanisms.n_images=120",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=300, help="images")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    from core.config import load_config
    from core.run import Run
    from precompute.engine.local import LocalEngine
    from precompute.engine.progress import PlainScreen, show_bytes, show_time
    from precompute.forecast.estimate import estimate
    from precompute.forecast.probe import run_probe
    from precompute.forecast.shape import model_shape

    class Stopwatch(PlainScreen):
        """Processor seconds of each stage."""

        def __init__(self) -> None:
            super().__init__(every=60.0)
            self.seconds: dict[str, float] = {}

        def start(self, stage: str, resumed: bool) -> None:
            self.began = time.process_time()
            super().start(stage, resumed)

        def end(self, text: str) -> None:
            self.seconds[self.stage] = time.process_time() - self.began
            super().end(text)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["CAPTIONSCOPE_CACHE"] = folder
        config = load_config("demo", ["model.device=cpu", f"samples.n={args.n}", *OTHERS, *args.set])
        probe = run_probe(config, "cpu", print, timer=time.process_time)
        shape, watch = model_shape(config), Stopwatch()
        told = estimate(config, "cpu", args.n, shape, probe)
        run = Run(Path(folder) / "demo")
        LocalEngine(run, config, show=watch, workers=1).run_all()
        records = run.manifest().stages
    head = ("stage", "planned", "ran", "ratio", "planned disk", "disk", "planned memory", "memory")
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for stage, seconds in [*watch.seconds.items(), ("all", sum(watch.seconds.values()))]:
        chosen = watch.seconds if stage == "all" else [stage]
        planned, disk, memory = (
            how(getattr(told[s], name) for s in chosen)
            for how, name in ((sum, "seconds"), (sum, "disk"), (max, "memory"))
        )
        cells = [
            stage,
            show_time(planned),
            show_time(seconds),
            f"{planned / seconds:.2f}",
            show_bytes(disk),
            show_bytes(sum(records[s].bytes for s in chosen)),
            show_bytes(memory),
            show_bytes(max(records[s].peak_memory for s in chosen)),
        ]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
