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
    """0; a topic or a claim that was asked for alone takes the place of its own rows, the others stay."""
    asked, worlds = tuple(t.strip() for t in args.only.split(",") if t.strip()) or KNOWN, all_worlds()
    claims = {claim for world in worlds for claim in world.claims}
    if unknown := [t for t in asked if t not in (*KNOWN, *claims)]:
        raise UserError(
            f"There is no topic and no claim {unknown[0]!r}.",
            f"Topics: {', '.join(KNOWN)}; claims stand in docs/scoreboard.md.",
            "Give --only TOPIC or --only CLAIM.",
        )

    def wanted(topic: str, claim: str) -> bool:
        return topic in asked or claim in asked

    started, rows = time.monotonic(), [row for row in ROWS if not wanted(row.topic, row.claim)]
    drawn = [world for world in worlds if any(wanted(world.topic, claim) for claim in world.claims)]
    for row in measure(drawn, args.seed, args.quick, progress=say):
        if not wanted(row.topic, row.claim):
            continue
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
