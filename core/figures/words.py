"""The words that a feature pushes up and down, in both scripts, as bars to either side of zero."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from core.figures.palette import PUOR, dress, look

UP, DOWN = PUOR[7], PUOR[1]


def words_frame(
    up_words: Sequence[str], up: Sequence[float], down_words: Sequence[str], down: Sequence[float]
) -> pd.DataFrame:
    """One row a word (word, logit, direction "up" or "down"), the strongest first in each direction."""
    rows = [(word, float(value), "up") for word, value in zip(up_words, up, strict=True)]
    rows += [(word, float(value), "down") for word, value in zip(down_words, down, strict=True)]
    return pd.DataFrame(rows, columns=["word", "logit", "direction"])


def visible(word: str) -> str:
    """A token as a reader can see it: spaces and line ends drawn, nothing else changed."""
    shown = word.replace("▁", " ").replace("\n", "⏎").replace("\t", "⇥")
    return shown.strip() or "␣"


def is_word(token: str) -> bool:
    """Whether a token is part of a language: it has a letter, and is no tag of the chat template."""
    shown = visible(token)
    return any(c.isalpha() for c in shown) and not (shown.startswith("<") and shown.endswith(">"))


def words_bars(frame: pd.DataFrame, dark: bool = False, row_height: int = 24) -> go.Figure:
    """Bars of `words_frame`, up to the right in orange and down to the left in purple, one row a rank."""
    inks = look(dark)
    sides = {side: frame[frame["direction"] == side].reset_index(drop=True) for side in ("down", "up")}
    n = max((len(side) for side in sides.values()), default=0)
    fig = go.Figure()
    for side, colour in (("down", DOWN), ("up", UP)):
        part = sides[side]
        fig.add_bar(
            y=part.index,
            x=part["logit"],
            orientation="h",
            marker={"color": colour},
            opacity=0.85,
            customdata=part["word"].map(visible),
            hovertemplate="%{customdata}: %{x:+.3f}<extra></extra>",
        )
    reach = float(frame["logit"].abs().max()) if len(frame) else 1.0
    for side, anchor, shift in (("down", "right", -6), ("up", "left", 6)):
        for rank, (word, value) in enumerate(zip(sides[side]["word"], sides[side]["logit"], strict=True)):
            fig.add_annotation(
                x=value,
                y=rank,
                text=_isolated(visible(word)),
                showarrow=False,
                xanchor=anchor,
                xshift=shift,
                font={"size": 14, "color": inks.ink},
            )
    dress(fig, dark, 62 + row_height * max(n, 1), margin=(8, 8, 46, 6))
    fig.update_layout(barmode="overlay", bargap=0.25)
    fig.update_yaxes(visible=False, range=[n - 0.4, -0.6])
    fig.update_xaxes(
        title_text="change of the word's logit, a unit of activation",
        range=[-1.75 * reach, 1.75 * reach],
        zeroline=True,
        zerolinecolor=inks.muted,
        zerolinewidth=1,
        nticks=7,
    )
    return fig


def _isolated(text: str) -> str:
    """HTML-safe text in Unicode isolates, so that a mark beside an Arabic word stays beside it."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"\u2068{safe}\u2069"
