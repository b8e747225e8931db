"""``train-demo-captioner``: trains the captioner of the demo world, or its twin with nothing planted."""

from __future__ import annotations

import argparse
from pathlib import Path

from core.config import PROJECT_ROOT
from core.demo.train import RECIPES, Trainer, going_on_from
from core.errors import UserError


def command(args: argparse.Namespace) -> int:
    """Train it, or go on where training stopped."""
    name = "demo-captioner-control" if args.control else "demo-captioner"
    out_dir = Path(args.out) if args.out else PROJECT_ROOT / "data" / name
    work_dir = Path(args.work) if args.work else PROJECT_ROOT / ".work" / name
    recipe, start = RECIPES["control" if args.control else "planted"], None
    if args.start:
        start = Path(args.start)
        if not (start / "model.safetensors").is_file():
            raise UserError(f"There are no weights in {start}.", "", "Give the folder of an earlier demo captioner.")
        recipe = going_on_from(recipe, start)
    Trainer(recipe, out_dir, work_dir, lambda text: print(text, flush=True), start).run()
    print(f"Written: {out_dir}\nMeasure it: python -m precompute gate {out_dir}")
    return 0
