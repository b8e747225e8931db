"""Three tiny stages and the real command line over them; also run as a program, so that it can be killed.

numbers -> squares -> total. The environment says how the stages behave: FAKE_SLEEP seconds a part, FAKE_FULL writes to
a full device, FAKE_STRAY writes a file that is not the stage's own, FAKE_BUG raises, FAKE_MISSING leaves a file out.
"""

import os
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import precompute.engine.local as local
from core.run import atomic_path
from precompute.context import StageContext
from precompute.pipeline import Stage


def pipeline(**changes: dict) -> tuple[Stage, ...]:
    found = (
        Stage(
            name="numbers",
            needs=(),
            makes=("numbers.txt",),
            sections=("seed", "samples.n"),
            fn="fake_pipeline:numbers",
        ),
        Stage(
            name="squares",
            needs=("numbers",),
            makes=("squares/",),
            sections=("train.k",),
            fn="fake_pipeline:squares",
        ),
        Stage(
            name="total",
            needs=("numbers", "squares"),
            makes=("total.txt", "mean.txt"),
            sections=("features",),
            fn="fake_pipeline:total",
            digest="fake_pipeline:outside",
        ),
    )
    return tuple(replace(s, **changes.get(s.name, {})) for s in found)


def outside(config) -> str:
    return os.environ.get("FAKE_OUTSIDE", "same")


def numbers(ctx: StageContext) -> dict:
    n = ctx.config.samples.n
    for i in range(n):
        part = ctx.work_dir / f"{i:04d}.txt"
        if not part.exists():
            with atomic_path(part) as temporary:
                temporary.write_text(f"{random.Random(f'{ctx.config.seed}-{i}').random()}\n")
            ctx.log.info("made part %d", i)
            time.sleep(float(os.environ.get("FAKE_SLEEP", "0")))
        ctx.progress(i + 1, n)
    if os.environ.get("FAKE_FULL"):
        Path("/dev/full").write_text("x" * 10)
    if os.environ.get("FAKE_BUG"):
        raise ValueError("a bug\nof two lines")
    if os.environ.get("FAKE_STRAY"):
        ctx.run.path("stray.txt").write_text("not mine")
    if not os.environ.get("FAKE_MISSING"):
        with atomic_path(ctx.run.path("numbers.txt")) as temporary:
            temporary.write_text("".join(p.read_text() for p in sorted(ctx.work_dir.iterdir())))
    return {"rows": n, "notes": {"seed": ctx.config.seed}}


def squares(ctx: StageContext) -> dict:
    values = [float(line) for line in ctx.run.path("numbers.txt").read_text().split()]
    for i in range(ctx.config.train.k):
        with atomic_path(ctx.run.path("squares", f"{i:02d}.txt")) as temporary:
            temporary.write_text("".join(f"{v ** (2 + i)}\n" for v in values))
        ctx.progress(i + 1, ctx.config.train.k, "powers", "raising")
    ctx.metrics({"k": ctx.config.train.k}, step=1)
    ctx.images({"one": ctx.run.path("numbers.txt")})
    return {"rows": len(values)}


def between_layers() -> None:
    """Where a test may wait."""


def squares_by_layer(ctx: StageContext) -> dict:
    """The same in parts, one a layer of the settings, each in a file of the work folder."""
    known = ctx.config.activations.layers
    for layer in ctx.layers or known:
        part = ctx.work_dir / f"{layer:02d}.txt"
        if not part.exists():
            ctx.progress(0, 1, "layers", f"layer {layer}")
            between_layers()
            ctx.log.info("made layer %d", layer)
            with atomic_path(part) as temporary:
                temporary.write_text(f"{layer**2}\n")
    if ctx.layers:
        return {"rows": len(ctx.layers)}
    for layer in known:
        with atomic_path(ctx.run.path("squares", f"{layer:02d}.txt")) as temporary:
            temporary.write_text((ctx.work_dir / f"{layer:02d}.txt").read_text())
    return {"rows": len(known)}


def total(ctx: StageContext) -> dict:
    values = [float(x) for p in sorted(ctx.run.path("squares").iterdir()) for x in p.read_text().split()]
    for name, value in (("total.txt", sum(values)), ("mean.txt", sum(values) / len(values))):
        with atomic_path(ctx.run.path(name)) as temporary:
            temporary.write_text(f"{value} {ctx.config.features.n_logits}\n")
    return {"rows": 1}


if __name__ == "__main__":
    from precompute.__main__ import main

    local.stages = pipeline
    sys.exit(main(sys.argv[1:]))
