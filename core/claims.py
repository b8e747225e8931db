"""How often each claim of a page is made where it is false, as the scoreboard has measured it; read once, at import.

The measurements stand in claims.tsv beside this file, which ``python -m precompute scoreboard`` writes: a claim is
known by its id, never by its words, so that a sentence may be reworded and keeps its rate.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from core.intervals import wilson

TABLE = Path(__file__).with_name("claims.tsv")
KINDS = ("false", "true", "interval")
AT_MOST = 0.05  # of the worlds in which a claim is false, in which it may be made and still be called supported
MIN_WORLDS = 100  # simulated worlds below which a rate calls nothing supported


@dataclass(frozen=True)
class Row:
    """In how many simulated worlds of one kind and size a claim was made.

    ``kind``: "false" where the claim is false in these worlds, "true" where it is true (``hits`` is then its recall),
    "interval" where ``hits`` counts the worlds whose interval holds the truth. ``n``: units (of each gender, where two
    are compared), ``d``: dimensions or features, ``layers``: layers tested together; 0 where it has none.
    """

    topic: str
    claim: str
    kind: str
    world: str
    n: int
    d: int
    layers: int
    worlds: int
    hits: int

    @property
    def share(self) -> float:
        return self.hits / self.worlds if self.worlds else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        low, high = wilson(self.hits, self.worlds)
        return float(low), float(high)


@dataclass(frozen=True)
class Rate:
    """The worst of a claim's false worlds: all sizes together, and the sizes at which it is surely made too often."""

    claim: str
    world: str
    hits: int
    worlds: int
    sizes: tuple[Row, ...] = ()

    @property
    def share(self) -> float:
        return self.hits / self.worlds

    @property
    def too_high(self) -> bool:
        return (self.worlds >= MIN_WORLDS and self.share > AT_MOST) or bool(self.sizes)

    def told(self) -> str:
        """The line that stands below an answer."""
        at = "; ".join(f"{row.hits:,} of {row.worlds:,} at n = {row.n:,}" for row in self.sizes)
        return (
            f"How often such a sentence is wrong where there is nothing: {self.hits:,} of {self.worlds:,} simulated "
            f"worlds{f' ({at})' if at else ''}"
        )


def read(text: str) -> list[Row]:
    """The rows of a table as ``written`` makes it; ValueError where it is none."""
    lines = csv.DictReader(io.StringIO(text), delimiter="\t")
    names = [f.name for f in fields(Row)]
    if lines.fieldnames is not None and list(lines.fieldnames) != names:
        raise ValueError(f"claims.tsv has the columns {lines.fieldnames}, not {names}: run the scoreboard again.")
    rows = []
    for line in lines:
        numbers = (int(line[name]) for name in names[4:])
        rows.append(Row(line["topic"], line["claim"], line["kind"], line["world"], *numbers))
    return rows


def written(rows: Iterable[Row]) -> str:
    """The table as text: tab separated, sorted, so that a row keeps its place when others change."""
    out = io.StringIO()
    table = csv.writer(out, delimiter="\t", lineterminator="\n")
    table.writerow([f.name for f in fields(Row)])
    table.writerows(sorted(astuple(row) for row in rows))
    return out.getvalue()


def rates(rows: Iterable[Row]) -> dict[str, Rate]:
    """By claim, the worst of its false worlds.

    All sizes together, so that a rate rests on many worlds; a size at which even the lower end of the rate's interval
    is above AT_MOST counts by itself, since the others would hide it.
    """
    kinds: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.kind == "false" and row.worlds:
            kinds.setdefault((row.claim, row.world), []).append(row)
    found: dict[str, Rate] = {}
    for (claim, world), mine in kinds.items():
        hits, worlds = sum(row.hits for row in mine), sum(row.worlds for row in mine)
        one = Rate(claim, world, hits, worlds, tuple(row for row in mine if row.interval[0] > AT_MOST))
        if claim not in found or (one.too_high, one.share) > (found[claim].too_high, found[claim].share):
            found[claim] = one
    return found


ROWS = tuple(read(TABLE.read_text(encoding="utf-8"))) if TABLE.is_file() else ()
RATES = rates(ROWS)
