"""The same frames drawn for paper: SVG, PDF and PNG by matplotlib, in IBM Plex, Arabic shaped and searchable.

matplotlib (3.11 and newer) shapes Arabic natively. PDF text is embedded as TrueType (fonttype 42), so that it can be
searched and selected; a text with dollar signs is set plainly and never read as mathematics.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from core.figures.densities import percent
from core.figures.palette import LANGUAGE, LIGHT, STEERED
from core.figures.points import NAMES, shading
from core.figures.words import DOWN, UP, visible

FONTS_DIR = Path(__file__).resolve().parents[2] / "static"
FORMATS = {"svg": "image/svg+xml", "pdf": "application/pdf", "png": "image/png"}
FAMILIES = ["IBM Plex Sans", "IBM Plex Sans Arabic", "DejaVu Sans"]  # DejaVu comes with matplotlib and knows Arabic
WIDTH = 5.2  # inches: a column and a half


@cache
def _register_fonts() -> tuple[str, ...]:
    """Make the shipped TTF files known to matplotlib; returns the families that are there, in order of use."""
    for path in sorted(FONTS_DIR.rglob("IBMPlex*.ttf")):
        font_manager.fontManager.addfont(str(path))
    known = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(family for family in FAMILIES if family in known)


def _settings() -> dict[Any, Any]:
    return {
        "font.family": list(_register_fonts()),
        "font.size": 9,
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "path",
        "svg.hashsalt": "captionscope",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": LIGHT.muted,
        "axes.linewidth": 0.7,
        "xtick.color": LIGHT.muted,
        "ytick.color": LIGHT.muted,
        "text.color": LIGHT.ink,
        "axes.labelcolor": LIGHT.ink,
        "text.parse_math": False,
        "axes.axisbelow": True,
        "grid.color": LIGHT.rule,
        "grid.linewidth": 0.6,
    }


def render(fig: Figure, kind: str, dpi: int = 220) -> bytes:
    """The file of a figure in one of `FORMATS`; the same figure gives the same bytes."""
    if kind not in FORMATS:
        raise ValueError(f"unknown format {kind!r}, known are {', '.join(FORMATS)}")
    stamp = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    out = io.BytesIO()
    with mpl.rc_context(_settings()):
        fig.savefig(out, format=kind, dpi=dpi, bbox_inches="tight", metadata=stamp)
    return out.getvalue()


def _start(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    fig = Figure(figsize=(width, height), layout="constrained")
    return fig, fig.add_subplot()


@contextmanager
def sheet(height: float, width: float = WIDTH) -> Iterator[tuple[Figure, Axes]]:
    """An empty figure (inches) and its axes, to be drawn on within the settings of all paper figures."""
    with mpl.rc_context(_settings()):
        yield _start(height, width)


def histogram(frame: pd.DataFrame, p999: float) -> Figure:
    """`core.figures.histogram.activation_histogram` on paper."""
    with mpl.rc_context(_settings()):
        fig, ax = _start(2.4)
        ax.bar(
            frame["low"],
            frame["count"],
            width=frame["high"] - frame["low"],
            align="edge",
            color=LIGHT.single,
            edgecolor="white",
            linewidth=0.4,
        )
        if frame["count"].max() > 0:
            ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        if p999 > 0:
            ax.axvline(p999, color=STEERED, linewidth=1.4, linestyle="--")
            ax.annotate(
                "p99.9",
                (p999, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=8,
                color=LIGHT.muted,
            )
        ax.set(xlabel="activation", ylabel="tokens", xlim=(0, None))
        ax.grid(axis="y")
        return fig


def densities(frame: pd.DataFrame) -> Figure:
    """`core.figures.densities.density_bars` on paper."""
    with mpl.rc_context(_settings()):
        fig, ax = _start(0.55 + 0.28 * max(len(frame), 1))
        colours = {"density_caption_en": LANGUAGE["en"], "density_caption_ar": LANGUAGE["ar"]}
        rows = np.arange(len(frame))
        ax.barh(rows, frame["density"] * 100, color=[colours.get(k, LIGHT.single) for k in frame["kind"]], height=0.7)
        for row, value in zip(rows, frame["density"], strict=True):
            ax.annotate(percent(value), (value * 100, row), xytext=(4, 0), textcoords="offset points", va="center")
        ax.set_yticks(rows, frame["where"])
        ax.tick_params(axis="y", length=0)
        ax.invert_yaxis()
        ax.margins(x=0.15)
        ax.set_xlabel("share of tokens, %")
        return fig


def words(frame: pd.DataFrame) -> Figure:
    """`core.figures.words.words_bars` on paper."""
    with mpl.rc_context(_settings()):
        n = int(frame.groupby("direction").size().max()) if len(frame) else 1
        fig, ax = _start(0.6 + 0.2 * n)
        for side, colour, sign in (("down", DOWN, -1), ("up", UP, 1)):
            part = frame[frame["direction"] == side].reset_index(drop=True)
            ax.barh(part.index, part["logit"], color=colour, height=0.7)
            for row, (word, value) in enumerate(zip(part["word"], part["logit"], strict=True)):
                ax.annotate(
                    visible(word),
                    (value, row),
                    xytext=(4 * sign, 0),
                    textcoords="offset points",
                    va="center",
                    ha="left" if sign > 0 else "right",
                )
        reach = 1.7 * float(frame["logit"].abs().max()) if len(frame) else 1.0
        ax.set(xlim=(-reach, reach), xlabel="change of the word's logit, a unit of activation")
        ax.axvline(0, color=LIGHT.muted, linewidth=0.7)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.invert_yaxis()
        return fig


def feature_map(
    frame: pd.DataFrame, colour: str = "density", chosen: int | None = None, kept: set[int] | None = None
) -> Figure:
    """`core.figures.umap_map.feature_map` on paper."""
    with mpl.rc_context(_settings()):
        fig, ax = _start(4.4)
        placed = frame.dropna(subset=["umap_x", "umap_y"])
        _points(fig, ax, placed, "umap_x", "umap_y", colour, chosen, kept)
        ax.set_axis_off()
        ax.set_aspect("equal", adjustable="datalim")
        return fig


def language_scatter(frame: pd.DataFrame, chosen: int | None = None, kept: set[int] | None = None) -> Figure:
    """`core.figures.densities.language_scatter` on paper, on symmetric-log axes, so that 0 has its place."""
    with mpl.rc_context(_settings()):
        fig, ax = _start(4.6)
        both = frame[(frame["density_caption_en"] > 0) | (frame["density_caption_ar"] > 0)]
        seen = pd.concat([both["density_caption_en"], both["density_caption_ar"]])
        floor = float(seen[seen > 0].min()) if (seen > 0).any() else 1e-6
        _points(fig, ax, both, "density_caption_en", "density_caption_ar", "lean", chosen, kept)
        ax.axline((0, 0), slope=1, color=LIGHT.muted, linewidth=0.7, linestyle=":", zorder=0)
        ax.set_xscale("symlog", linthresh=floor)
        ax.set_yscale("symlog", linthresh=floor)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
        ax.set(xlabel="share of English caption tokens", ylabel="share of Arabic caption tokens")
        return fig


def _points(
    fig: Figure, ax: Axes, frame: pd.DataFrame, x: str, y: str, colour: str, chosen: int | None, kept: set[int] | None
) -> None:
    inside = frame["feature"].isin(kept) if kept is not None else pd.Series(True, index=frame.index)
    rest, part = frame[~inside], frame[inside]
    ax.scatter(rest[x], rest[y], s=6, color=LIGHT.rule, linewidths=0)
    values, low, high, colours, ticks = shading(part, colour)
    dots = ax.scatter(
        part[x],
        part[y],
        c=values,
        s=14,
        vmin=low,
        vmax=high,
        edgecolors=LIGHT.muted,
        linewidths=0.25,
        cmap=LinearSegmentedColormap.from_list(colour, list(colours)),
    )
    bar = fig.colorbar(dots, ax=ax, orientation="horizontal", location="top", shrink=0.4, aspect=30, anchor=(0, 0))
    bar.set_ticks(ticks["tickvals"], labels=ticks["ticktext"])
    bar.set_label(NAMES.get(colour, colour), fontsize=8)
    bar.outline.set_visible(False)
    mark = frame[frame["feature"] == chosen]
    if len(mark):
        ax.scatter(mark[x], mark[y], s=90, facecolors="none", edgecolors=STEERED, linewidths=1.6)
        ax.annotate(
            str(chosen),
            (mark[x].iloc[0], mark[y].iloc[0]),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=10,
        )
