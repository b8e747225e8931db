"""``planted``: a captioner whose mechanism of gender is known, made from the demo captioner by editing its weights."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from core.config import PROJECT_ROOT
from core.demo.planted import plant
from core.demo.planted_gate import failures, gap, without
from core.errors import UserError
from core.vlm.loading import load_vlm

SOURCE = PROJECT_ROOT / "data" / "demo-captioner"


def command(args: argparse.Namespace) -> int:
    """1 where the gate does not hold."""
    if args.out and Path(args.out).exists() and any(Path(args.out).iterdir()):
        raise UserError(f"{args.out} is not empty.", "The captioner would be written over it.", "Name a new folder.")
    vlm = load_vlm(str(SOURCE), dtype="float32", device="cpu")
    made = plant(vlm, args.kind, args.layer, args.head)
    heads = ", ".join(f"{lang} head {made.layer}.{head}" for lang, head in made.heads.items()) or "no head"
    whole, left = gap(vlm), without(vlm, made)
    print(f"{args.kind}: {heads} writes gender")
    print(
        f"log-odds of women's over men's images: English {whole.en:+.2f}, Arabic {whole.ar:+.2f} (se {whole.error:.2f})"
    )
    print(f"without what was planted: English {left.en:+.2f}, Arabic {left.ar:+.2f} (se {left.error:.2f})")
    said = failures(made, whole, left)
    for one in said:
        print(f"misses the gate: {one}")
    if args.out:
        out = Path(args.out)
        vlm.model.save_pretrained(out)
        for file in SOURCE.iterdir():
            if file.suffix in (".json", ".jinja") and not (out / file.name).exists() and file.name != "gate.json":
                shutil.copy(file, out / file.name)
        print(f"Written: {out}")
    return 1 if said else 0
