"""How far the app's own sentences can be trusted: the scoreboard, with what disappoints on top."""

from html import escape

import streamlit as st

from core.answers import scoreboard
from core.claims import ROWS, Row
from pages.kit import states, text

QUESTION = "How often is this app wrong?"
KINDS = {"false": "false", "true": "true", "interval": "interval holds the truth"}
METHOD = """
Each sentence that can be marked *supported* makes claims. For each claim there are **simulated worlds** in which it is
false, and others in which it is true: tables of which the truth is known, drawn where possible by the functions that
make them in a run. Both languages describe the same images there. The first number counts the worlds in which the
claim is made though it is false (the worst kind of such worlds, all sizes together); a sentence whose claim is made
in more than 5 % of them is marked *unclear*, whatever the data say. The last counts the worlds in which it is made
where it is true: it says what the instrument overlooks. **What it cannot show**: that your data are
like these worlds. Made by `python -m precompute scoreboard`; every row: docs/scoreboard.md, the rules: docs/methods.md.
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
    """Every size of the worlds of one topic."""
    head = ["What a sentence says", "It is", "World", "n", "d", "Layers", "Said", "95 %"]
    body = [
        [
            escape(scoreboard.plain(row.claim)),
            KINDS[row.kind],
            escape(row.world),
            f"{row.n:,}",
            f"{row.d:,}" if row.d else "",
            str(row.layers or ""),
            f"{row.hits:,} of {row.worlds:,}",
            "–".join(f"{end:.0%}" for end in row.interval),
        ]
        for row in sorted(rows, key=lambda r: (r.claim, r.kind, r.world, r.layers, r.d, r.n))
    ]
    return text.table(head, body, numeric=(3, 4, 5, 6))


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
