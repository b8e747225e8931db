"""``gate``: measures a demo captioner against its gate and writes its card."""

from __future__ import annotations

import argparse
from pathlib import Path

from core.config import PROJECT_ROOT
from core.demo import gate
from core.errors import UserError


def command(args: argparse.Namespace) -> int:
    """1 where the gate does not hold."""
    name = "demo-captioner-control" if args.control else "demo-captioner"
    model_dir = Path(args.dir) if args.dir else PROJECT_ROOT / "data" / name
    if not model_dir.is_dir():
        do = "Train one: python -m precompute train-demo-captioner"
        raise UserError(f"There is no model in {model_dir}.", "", do)
    return 0 if gate.main(model_dir, planted=not args.control, say=lambda text: print(text, flush=True)) else 1
