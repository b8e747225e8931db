"""``scoreboard``: how often each sentence of the app is wrong where nothing is, and said where it is true."""

from __future__ import annotations

import argparse
import time

from core.claims import ROWS, TABLE, written
from core.config import PROJECT_ROOT
from core.errors import UserError
from core.run.folder import atomic_path
from core.scoreboard import planted
from core.scoreboard.docs import disappointing, page
from core.scoreboard.measure import measure
from core.scoreboard.worlds import TOPICS, all_worlds

KNOWN = (*TOPICS, planted.TOPIC)
PAGE = PROJECT_ROOT / "docs" / "scoreboard.md"


def command(args: argparse.Namespace) -> int:
    """0; a topic that was asked for alone takes the place of its own rows, the others stay."""
    asked = tuple(t for t in args.only.split(",") if t) or KNOWN
    if unknown := [t for t in asked if t not in KNOWN]:
        raise UserError(f"There is no topic {unknown[0]!r}.", f"Known: {', '.join(KNOWN)}.", "Give --only TOPIC.")
    started, rows = time.monotonic(), [] if set(asked) == set(KNOWN) else [r for r in ROWS if r.topic not in asked]
    for row in measure([w for w in all_worlds() if w.topic in asked], args.seed, args.quick, progress=say):
        low, high = row.interval
        share = f"{row.hits} of {row.worlds} [{low:.2f}, {high:.2f}]"
        say(f"  {row.claim} ({row.kind}): n = {row.n}, d = {row.d}, layers = {row.layers}: {share}")
        rows.append(row)
    if planted.TOPIC in asked:
        rows += planted.planted_rows(2 if args.quick else planted.SEEDS, progress=say)
    say("\nWhat disappoints\n" + "\n".join(disappointing(rows)))
    if not args.dry:
        for path, body in ((TABLE, written(rows)), (PAGE, page(rows))):
            with atomic_path(path) as new:
                new.write_text(body, encoding="utf-8")
        say(f"\nWritten: {TABLE}, {PAGE}")
    say(f"{time.monotonic() - started:.0f} s")
    return 0


def say(text: str) -> None:
    print(text, flush=True)
