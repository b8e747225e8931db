"""``train-demo-captioner``: trains the captioner of the demo world, or its twin with nothing planted."""

from __future__ import annotations

import argparse
from pathlib import Path

from core.config import PROJECT_ROOT
from core.demo.train import RECIPES, Trainer


def command(args: argparse.Namespace) -> int:
    """Train it, or go on where training stopped."""
    name = "demo-captioner-control" if args.control else "demo-captioner"
    out_dir = Path(args.out) if args.out else PROJECT_ROOT / "data" / name
    work_dir = PROJECT_ROOT / ".work" / name
    recipe = RECIPES["control" if args.control else "planted"]
    Trainer(recipe, out_dir, work_dir, lambda text: print(text, flush=True)).run()
    print(f"Written: {out_dir}\nMeasure it: python -m precompute gate {out_dir}")
    return 0
