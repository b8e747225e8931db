"""One feature: where it fires, how strongly, and the words that it pushes, in both scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from core.figures.marks import Axis, Bars, Chart, Note, Panel, Rule
from core.figures.palette import PUOR, STEERED

KINDS = {
    "density_image": "image patches",
    "density_prompt": "question words",
    "density_caption_en": "English captions",
    "density_caption_ar": "Arabic captions",
}
SIDES = {"down": PUOR[1], "up": PUOR[7]}


def language_lean(density_en: pd.Series, density_ar: pd.Series) -> pd.Series:
    """(ar - en) / (ar + en): -1 fires on English captions only, +1 on Arabic only, missing where on neither."""
    total = density_en + density_ar
    return ((density_ar - density_en) / total.where(total > 0)).astype(float)


def percent(share: float) -> str:
    """A share in words that its size supports: "0", "0.03 %", "1.2 %", "34 %"."""
    if not share or np.isnan(share):
        return "0"
    value = share * 100
    if value < 0.01:
        return "<0.01 %"
    return f"{value:.0f} %" if value >= 10 else f"{value:.2g} %"


def visible(word: str) -> str:
    """A token as a reader can see it: spaces and line ends drawn, nothing else changed."""
    shown = word.replace("▁", " ").replace("\n", "⏎").replace("\t", "⇥")
    return shown.strip() or "␣"


def is_word(token: str) -> bool:
    """Whether a token is part of a language: it has a letter, and is no tag of the chat template."""
    shown = visible(token)
    return any(c.isalpha() for c in shown) and not (shown.startswith("<") and shown.endswith(">"))


def isolated(text: str) -> str:
    """HTML-safe text in Unicode isolates, so that Arabic beside a number leaves the number in its place."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"\u2068{safe}\u2069" if safe else ""


def densities_frame(feature: Mapping[str, Any]) -> pd.DataFrame:
    """One row a kind of position that the run has (kind, where, density as a share of that kind's tokens), read from a
    feature's row."""
    rows = [(kind, name, float(feature[kind])) for kind, name in KINDS.items() if pd.notna(feature.get(kind))]
    return pd.DataFrame(rows, columns=["kind", "where", "density"])


def density_bars(frame: pd.DataFrame) -> Chart:
    """Bars of `densities_frame`: the share of each kind of token on which the feature fires."""
    colours = {"density_caption_en": "en", "density_caption_ar": "ar"}
    bars = Bars(
        frame["where"],
        frame["density"],
        colour=[colours.get(kind, "single") for kind in frame["kind"]],
        text=[percent(value) for value in frame["density"]],
        hover="fires on %{text} of the tokens of %{y}",
    )
    top = float(frame["density"].max()) if len(frame) else 0.0
    x = Axis("share of tokens", range=(0, top * 1.05 or 1.0), format=".2~%", n_ticks=5, angle=0)
    panel = Panel([bars], x, Axis(turned=True, grid=False, names=True))
    return Chart([panel], 58 + 34 * max(len(frame), 1), (8, 58, 44, 6))


def histogram_frame(counts: Sequence[int], top: float) -> pd.DataFrame:
    """One row a bin (low, high, count) from counts in equal bins between 0 and `top` (activation units)."""
    n = len(counts)
    edges = [top * i / n for i in range(n + 1)] if n else [0.0]
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": [int(c) for c in counts]})


def activation_histogram(frame: pd.DataFrame, p999: float) -> Chart:
    """Bars of `histogram_frame` on a log count axis, with a dashed line at `p999` (activation units)."""
    seen = frame[frame["count"] > 0]
    bars = Bars(
        (seen["low"] + seen["high"]) / 2,
        seen["count"],
        across=False,
        width=seen["high"] - seen["low"],
        edge=(0.5, "ground"),
        data=seen[["low", "high"]],
        hover="%{y:,} tokens fire between %{customdata[0]:.3g} and %{customdata[1]:.3g}",
    )
    line = [
        Rule(x=p999, colour=STEERED, width=2, dash="dash"),
        Note(p999, 1, "p99.9", "right", "bottom", shift=8, colour="muted", y_in="panel"),
    ]
    top = float(frame["high"].max()) if len(frame) else 1.0
    x = Axis("activation", range=(0, top or 1.0), grid=False)
    y = Axis("tokens", log=True, step=1, to_zero=True)
    return Chart([Panel([bars, *(line if p999 > 0 else [])], x, y)], 230, (52, 10, 44, 26))


def words_frame(
    up_words: Sequence[str], up: Sequence[float], down_words: Sequence[str], down: Sequence[float]
) -> pd.DataFrame:
    """One row a word (word, logit, direction "up" or "down"), the strongest first in each direction."""
    rows = [(word, float(value), "up") for word, value in zip(up_words, up, strict=True)]
    rows += [(word, float(value), "down") for word, value in zip(down_words, down, strict=True)]
    return pd.DataFrame(rows, columns=["word", "logit", "direction"])


def words_bars(frame: pd.DataFrame) -> Chart:
    """Bars of `words_frame`, up to the right in orange and down to the left in purple, one row a rank."""
    marks, n = [], 1
    for side, colour in SIDES.items():
        part = frame[frame["direction"] == side].reset_index(drop=True)
        n = max(n, len(part))
        shown = part["word"].map(visible)
        hover = "%{customdata}: %{x:+.3f}"
        marks.append(Bars(part.index, part["logit"], colour=colour, opacity=0.85, data=shown, hover=hover))
        anchor, shift = ("right", -6) if side == "down" else ("left", 6)
        for rank, (word, value) in enumerate(zip(shown, part["logit"], strict=True)):
            marks.append(Note(value, rank, isolated(word), anchor, shift=shift, size=14))
    reach = 1.75 * float(frame["logit"].abs().max()) if len(frame) else 1.75
    x = Axis("change of the word's logit, a unit of activation", range=(-reach, reach), zero=True, n_ticks=7)
    panel = Panel(marks, x, Axis(shown=False, range=(n - 0.4, -0.6)))
    return Chart([panel], 62 + 24 * n, (8, 8, 46, 6), bars="overlay", bar_gap=0.25)
