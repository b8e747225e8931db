"""The captions of one image on paper: as it was, as steered and the control, with the words that changed marked.

Words are measured and set one by one, so that each can carry its mark: a line through what went, a ground under what
came, and heavier type where the gender turned, which also tells them apart in grey.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from core.config import LANGUAGE_NAME
from core.figures.caption_diff import Change
from core.figures.palette import LANGUAGE, LIGHT, STEERED, mix
from core.figures.paper import FAMILIES, settings
from core.frames import records

WIDTH, MARGIN, GAP = 7.2, 0.08, 0.3  # inches
IMAGE = 1.5  # side of the image
COLUMN = (WIDTH - 2 * MARGIN - IMAGE - 2 * GAP) / 2
SIZE, LABEL_SIZE = 9.5, 8.0  # points
LINE, BLOCK = 0.21, 0.16  # inches: from line to line, and between two captions
MOST_LINES = 8
FINE = 720  # dots an inch at which words are measured


@dataclass(frozen=True)
class _Word:
    """A word in its place: `x` is its left edge and `y` its baseline, in inches from the column's left and the top."""

    text: str
    kind: str
    x: float
    y: float
    width: float


def caption_sheet(captions: pd.DataFrame, image: UInt8[np.ndarray, "height width 3"] | None = None) -> Figure:
    """A figure of one image beside its captions, English in the left column and Arabic in the right.

    `captions` has a row a caption with `name` (above it), `lang`, `caption` and `changes` (of
    `core.figures.caption_diff`), in order; `image` is (height, width, 3) in 0..255.
    """
    with mpl.rc_context(settings()):
        measure = _Measure()
        placed: list[tuple[str, str, float, list[_Word]]] = []
        depth = IMAGE
        for lang in LANGUAGE:
            y = 0.0
            for row in records(captions[captions["lang"] == lang]):
                words = _lay(row["caption"], row["changes"], lang, y + 0.14 + LINE, measure)
                placed.append((lang, f"{LANGUAGE_NAME[lang]}, {row['name']}", y + 0.14, words))
                y = max([word.y for word in words], default=y + 0.14) + BLOCK
            depth = max(depth, y)
        height = depth + 2 * MARGIN
        fig = Figure(figsize=(WIDTH, height))
        if image is not None:
            _picture(fig, image, height)
        for lang, name, y, words in placed:
            _caption(fig, lang, name, y, words, height)
        return fig


class _Measure:
    """The width of a text in inches, in the type of the figure."""

    def __init__(self) -> None:
        self.renderer = FigureCanvasAgg(Figure(dpi=FINE)).get_renderer()
        self.space = self("a a") - self("aa")

    def __call__(self, text: str, weight: str = "regular") -> float:
        font = FontProperties(family=FAMILIES[:2], size=SIZE, weight=weight)
        return self.renderer.get_text_width_height_descent(text, font, ismath=False)[0] / FINE


def _lay(caption: str, changes: Sequence[Change], lang: str, top: float, measure: _Measure) -> list[_Word]:
    """The words of a caption in lines of a column; what is longer than MOST_LINES ends in an ellipsis."""
    words, x, y, last = [], 0.0, top, top + (MOST_LINES - 1) * LINE
    for match in re.finditer(r"\S+", caption):
        kind = next((c.kind for c in changes if c.start < match.end() and match.start() < c.end), "")
        width = measure(match.group(), _weight(kind))
        if x and x + width > COLUMN - 0.12:
            x, y = 0.0, y + LINE
        if y > last + 1e-9:
            words[-1] = _Word("…", "", words[-1].x, words[-1].y, measure("…"))
            break
        words.append(_Word(match.group(), kind, x, y, width))
        x += width + measure.space
    inset = 0.12  # beside the rule of the language's colour
    if lang == "ar":
        return [_Word(w.text, w.kind, COLUMN - inset - w.x - w.width, w.y, w.width) for w in words]
    return [_Word(w.text, w.kind, inset + w.x, w.y, w.width) for w in words]


def _weight(kind: str) -> str:
    return "semibold" if kind in ("flipped", "neutralised") else "regular"


def _picture(fig: Figure, image: np.ndarray, height: float) -> None:
    ax = fig.add_axes((MARGIN / WIDTH, (height - MARGIN - IMAGE) / height, IMAGE / WIDTH, IMAGE / height))
    ax.imshow(image)
    ax.set_axis_off()


def _caption(fig: Figure, lang: str, name: str, y: float, words: list[_Word], height: float) -> None:
    """One caption under its name, with the rule of its language at the side where it begins."""
    left = MARGIN + IMAGE + GAP + (COLUMN + GAP if lang == "ar" else 0)
    inches, top = fig.dpi_scale_trans, height - MARGIN
    start, side = (left + COLUMN, "right") if lang == "ar" else (left, "left")
    fig.text(start, top - y, name, transform=inches, ha=side, fontsize=LABEL_SIZE, color=LIGHT.muted)
    if not words:
        return
    ends = [top - y - 0.07, top - max(word.y for word in words) - 0.06]
    fig.add_artist(Line2D([start, start], ends, transform=inches, color=LANGUAGE[lang], linewidth=1.8))
    for word in words:
        x, base = left + word.x, top - word.y
        came, gone = word.kind in ("added", "flipped", "neutralised"), word.kind == "removed"
        if came:
            fig.add_artist(
                Rectangle(
                    (x - 0.02, base - 0.05),
                    word.width + 0.04,
                    0.185,
                    transform=inches,
                    facecolor=mix(("#FFFFFF", STEERED), 0.3),
                    linewidth=0,
                )
            )
        fig.text(
            x,
            base,
            word.text,
            transform=inches,
            fontsize=SIZE,
            fontweight=_weight(word.kind),
            fontfamily=FAMILIES[:2],
            color=LIGHT.muted if gone else LIGHT.ink,
        )
        if gone:
            fig.add_artist(
                Line2D([x, x + word.width], [base + 0.045] * 2, transform=inches, color=LIGHT.muted, linewidth=0.9)
            )
