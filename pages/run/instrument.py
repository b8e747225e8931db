"""How far the app's own sentences can be trusted: the scoreboard, with what disappoints on top."""

from html import escape

import streamlit as st

from core.answers import scoreboard
from core.claims import AT_MOST, ROWS, Row
from pages.kit import states, text

QUESTION = "How often is this app wrong?"
KINDS = {"false": "false", "true": "true", "interval": "interval holds the truth"}
METHOD = """
Each sentence that can be marked *supported* makes claims. For each claim there are **simulated worlds** in which it
is false, and others in which it is true: tables of which the truth is known, drawn where possible by the functions
that make them in a run. Both languages describe the same images there. The first number counts the worlds in which
the claim is made though it is false (the worst kind of such worlds, all sizes together); a sentence whose claim is
made in more than 5 % of them, or surely in more at any size of the data, is marked *unclear*, whatever the data say.
The last counts the worlds in which it is made where it is true: it says what the instrument overlooks. **What it
cannot show**: that your data are like these worlds. Made by `python -m precompute scoreboard`; every row:
docs/scoreboard.md, the rules: docs/methods.md.
"""


def claims_table(rows: tuple[Row, ...]) -> str:
    """Every claim, the most often wrong first."""
    head = ["What a sentence says", "Said where it is false", "Share", "The worst such worlds", "Said where it is true"]
    body = [
        [
            escape(scoreboard.plain(str(row["claim"]))),
            escape(str(row["wrong"])),
            f"{row['share']:.1%}" if row["wrong"] else "–",
            escape(str(row["world"])),
            escape(str(row["right"])),
        ]
        for row in scoreboard.by_claim(rows)
    ]
    return text.table(head, body, numeric=(1, 2, 4))


def sizes_table(rows: list[Row]) -> str:
    """Every size of the worlds of one topic: a row a claim and kind of world, a column a number of units."""
    sizes = sorted({row.n for row in rows})
    kinds: dict[tuple[str, str, str, int, int], dict[int, Row]] = {}
    for row in sorted(rows, key=lambda r: (r.claim, r.kind, r.world, r.layers, r.d)):
        kinds.setdefault((row.claim, row.kind, row.world, row.layers, row.d), {})[row.n] = row
    body, before = [], ""
    for (claim, kind, world, layers, d), mine in kinds.items():
        more = [f"d = {d:,}"] * bool(d) + [f"{layers} layers"] * (layers > 1)
        body.append(
            [
                "" if claim == before else escape(scoreboard.plain(claim)),
                KINDS[kind],
                escape(", ".join([world, *more])),
                *(_made(mine.get(n)) for n in sizes),
            ]
        )
        before = claim
    head = ["What a sentence says", "It is", "World", *(f"n = {n:,}" for n in sizes)]
    return text.table(head, body, numeric=range(3, len(head)))


def _made(row: Row | None) -> str:
    """In how many worlds, with the interval to hover over; in bold where it is surely too often."""
    if row is None:
        return ""
    said = f"{row.hits:,} of {row.worlds:,}"
    surely = row.kind == "false" and row.interval[0] > AT_MOST
    title = "–".join(f"{end:.0%}" for end in row.interval)
    return f'<span title="95 %: {title}">{f"<strong>{said}</strong>" if surely else said}</span>'


def main() -> None:
    answer = scoreboard.scoreboard_answer(ROWS)
    text.page_title(QUESTION, answer.text, eyebrow="About this instrument")
    if not ROWS:
        states.empty("There are no rates.", answer.text, "Run: python -m precompute scoreboard")
        return
    text.heading("What disappoints")
    lines = "".join(f"<li>{escape(line)}</li>" for line in scoreboard.disappointments(ROWS))
    text.html(f"<ul>{lines}</ul>" if lines else "<p>Nothing that was looked for.</p>", key="disappoints")
    text.heading("Every claim", "the most often wrong first")
    text.html(claims_table(ROWS), key="claims")
    topics = sorted({row.topic for row in ROWS})
    topic = st.selectbox("By size of the data, topic", topics, key="topic")
    text.html(sizes_table([row for row in ROWS if row.topic == topic]), key="sizes")
    text.method(METHOD)


main()
