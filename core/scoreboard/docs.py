"""The scoreboard as a page of the docs: every claim with what simulated worlds give, the disappointing ones first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.claims import AT_MOST, MIN_WORLDS, Row, rates

COVERAGE = 0.93  # least share of worlds whose nominal 95 % interval should hold the truth
HEAD = f"""# Scoreboard

How often each sentence of the app is said where it is false, and where it is true, over simulated worlds: tables of
which the truth is known, drawn as far as possible through the functions that make them in a run. Made by

```
python -m precompute scoreboard
```

A sentence is marked *supported* only while the claim that it makes is made in at most {AT_MOST:.0%} of the worlds in
which it is false (the worst kind of such worlds, all sizes together, {MIN_WORLDS} worlds or more), and at no size of
the data surely in more (lower end of the interval). The rows below
stand in `core/claims.tsv`, from which the app reads them: see [methods.md](methods.md). n: units (of each gender, where
two are compared); d: dimensions or features; layers: tested together. Brackets: Wilson's 95 % interval.
"""


def page(rows: Sequence[Row]) -> str:
    """docs/scoreboard.md."""
    return (
        "\n".join([HEAD, "## What disappoints", "", *disappointing(rows), "", *_summary(rows), *_topics(rows)]) + "\n"
    )


def disappointing(rows: Sequence[Row]) -> list[str]:
    """One line a claim that is made too often where it is false, never or seldom where it is true, or badly covered."""
    said = [
        f"- `{r.claim}`: made in {r.hits:,} of {r.worlds:,} worlds ({r.share:.0%}) where it is false ({r.world})."
        for r in sorted(rates(rows).values(), key=lambda r: -r.share)
        if r.too_high
    ]
    for claim, mine in _by_claim(rows, "true").items():
        low = [r for r in mine if r.share < 0.5]
        if low:
            where = ", ".join(f"{_size(r)}: {r.share:.0%}" for r in low)
            said.append(f"- `{claim}`: made in less than half of the worlds in which it is true ({where}).")
    for claim, mine in _by_claim(rows, "interval").items():
        low = [r for r in mine if r.interval[1] < COVERAGE]
        if low:
            where = ", ".join(f"{_size(r)}: {r.share:.2f}" for r in low)
            said.append(
                f"- `{claim}`: nominal 95 % intervals hold the truth in fewer worlds than {COVERAGE} ({where})."
            )
    return said or ["Nothing: every claim is within the bound, and made where it is true."]


def _summary(rows: Sequence[Row]) -> list[str]:
    worst = rates(rows)
    lines = [
        "## Every claim",
        "",
        "| claim | made where it is false | worst world | made where it is true |",
        "|---|---|---|---|",
    ]
    recall = _by_claim(rows, "true")
    for claim in sorted({*worst, *recall}):
        rate, true = worst.get(claim), recall.get(claim, [])
        wrong = f"{rate.hits:,} of {rate.worlds:,} ({rate.share:.1%})" if rate else "not measured"
        hits, worlds = sum(r.hits for r in true), sum(r.worlds for r in true)
        right = f"{hits:,} of {worlds:,} ({hits / worlds:.0%})" if worlds else "not measured"
        lines.append(f"| `{claim}` | {wrong} | {rate.world if rate else ''} | {right} |")
    return [*lines, ""]


def _topics(rows: Sequence[Row]) -> list[str]:
    lines = []
    for topic in sorted({r.topic for r in rows}):
        lines += [
            f"## {topic}",
            "",
            "| claim | it is | world | n | d | layers | made |",
            "|---|---|---|---|---|---|---|",
        ]
        for r in sorted(
            (r for r in rows if r.topic == topic), key=lambda r: (r.claim, r.kind, r.world, r.layers, r.d, r.n)
        ):
            low, high = r.interval
            kind = "covered" if r.kind == "interval" else r.kind
            made = f"{r.hits:,} of {r.worlds:,} [{low:.2f}, {high:.2f}]"
            size = f"{r.n:,} | {r.d or ''} | {r.layers or ''}"
            lines.append(f"| `{r.claim}` | {kind} | {r.world} | {size} | {made} |")
        lines.append("")
    return lines


def _by_claim(rows: Iterable[Row], kind: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.kind == kind:
            found.setdefault(row.claim, []).append(row)
    return found


def _size(row: Row) -> str:
    parts = [f"n = {row.n:,}", f"d = {row.d:,}" * bool(row.d), f"{row.layers} layers" * bool(row.layers)]
    return ", ".join(p for p in parts if p)
