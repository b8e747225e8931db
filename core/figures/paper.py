"""Charts on paper: SVG, PDF and PNG by matplotlib, in IBM Plex, Arabic shaped and searchable.

matplotlib (3.11 and newer) shapes Arabic natively. PDF text is embedded as TrueType (fonttype 42), so that it can be
searched and selected, and SVG keeps text as text, with its fonts inside; a text with dollar signs is set plainly and
never read as mathematics.
"""

from __future__ import annotations

import base64
import html
import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, singledispatch
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from core.figures.marks import Axis, Band, Bars, Box, Cells, Chart, Legend, Mark, Note, Panel, Points, Rule, Shades
from core.figures.origin import Origin
from core.figures.palette import LIGHT

FONTS_DIR = Path(__file__).resolve().parents[2] / "static"
FORMATS = {"svg": "image/svg+xml", "pdf": "application/pdf", "png": "image/png"}
FAMILIES = ["IBM Plex Sans", "IBM Plex Sans Arabic", "DejaVu Sans"]  # DejaVu comes with matplotlib and knows Arabic
FACES = (("IBM Plex Sans", "plex-sans-latin-400.woff2"), ("IBM Plex Sans Arabic", "plex-sans-arabic-400.woff2"))
PER_INCH = 118  # pixels of the screen that an inch of paper holds
MARK, LINE, TYPE = 0.48, 0.62, 0.6  # points on paper to a pixel of a mark's size, of a line's width, of type
SYMBOLS = {
    "circle": "o",
    "diamond": "D",
    "square": "s",
    "star": "*",
    "x": "x",
    "triangle-up": "^",
    "triangle-left": "<",
    "triangle-down": "v",
    "hexagon": "h",
    "line-ns": "|",
    "line-ew": "_",
}
DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "": "-"}
SIDES = {"left": "right", "right": "left", "center": "center"}  # the anchor of words on a side of their place


@cache
def _register_fonts() -> tuple[str, ...]:
    """Make the shipped TTF files known to matplotlib; returns the families that are there, in order of use."""
    for path in sorted(FONTS_DIR.rglob("IBMPlex*.ttf")):
        font_manager.fontManager.addfont(str(path))
    known = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(family for family in FAMILIES if family in known)


def settings() -> dict[Any, Any]:
    """matplotlib's settings for everything that is drawn for paper."""
    return {
        "font.family": list(_register_fonts()),
        "font.size": 9,
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 7,
        "legend.frameon": False,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "none",
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


def render(fig: Figure, kind: str, dpi: int = 220, origin: Origin | None = None, signed: bool = False) -> bytes:
    """The file of a figure in one of `FORMATS`; the same figure gives the same bytes.

    ``origin`` goes into the file's metadata and, ``signed``, as a small line below the figure.
    """
    if kind not in FORMATS:
        raise ValueError(f"unknown format {kind!r}, known are {', '.join(FORMATS)}")
    stamp: dict[str, str | None] = dict({"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind])
    if origin is not None:
        name = {"svg": "Description", "pdf": "Subject", "png": "Description"}[kind]
        stamp |= {"Title": f"{origin.page} of the run {origin.run}", name: origin.line}
    out = io.BytesIO()
    with mpl.rc_context(settings()):
        if origin is not None and signed:
            fig.supxlabel(textwrap.fill(origin.line, 110), fontsize=6, color=LIGHT.muted, x=0.01, ha="left")
        fig.savefig(out, format=kind, dpi=dpi, bbox_inches="tight", metadata=stamp)
    return with_fonts(out.getvalue()) if kind == "svg" else out.getvalue()


def with_fonts(svg: bytes) -> bytes:
    """An SVG with the fonts of its text inside, so that it looks the same where they are not installed."""
    needed = [FACES[0], *(FACES[1:] if re.search("[\u0600-\u06ff]", svg.decode()) else ())]
    return svg.replace(b"<defs>", f"<defs><style>{''.join(map(_face, needed))}</style>".encode(), 1)


@cache
def _face(face: tuple[str, str]) -> str:
    family, file = face
    data = base64.b64encode((FONTS_DIR / "fonts" / file).read_bytes()).decode()
    return f"@font-face{{font-family:'{family}';src:url(data:font/woff2;base64,{data})}}"


def draw(chart: Chart) -> Figure:
    """The matplotlib figure of a chart, in the light theme."""
    with mpl.rc_context(settings()):
        fig = Figure(figsize=(chart.inches, chart.height / PER_INCH), layout="constrained")
        n_rows = max((p.row for p in chart.panels), default=1)
        n_columns = max((p.column + p.span - 1 for p in chart.panels), default=1)
        grid, first = fig.add_gridspec(n_rows, n_columns), None
        for panel in chart.panels:
            place = grid[panel.row - 1, panel.column - 1 : panel.column - 1 + panel.span]
            ax = fig.add_subplot(place, sharey=first if chart.share_y else None)
            first = first or ax
            _panel(ax, panel, chart, hidden=chart.share_y and ax is not first)
        if chart.legend is not None:
            _legend(fig, chart, chart.legend)
        return fig


def plain(text: str) -> str:
    """Words without plotly's markup and without the isolates that a browser needs."""
    lines = re.sub(r"<br\s*/?>", "\n", text)
    return re.sub("[\u2066-\u2069]", "", html.unescape(re.sub(r"<[^>]+>", "", lines)))


def _panel(ax: Axes, panel: Panel, chart: Chart, hidden: bool) -> None:
    names = {side: _names(panel.marks, side) for side in "xy"}
    bottom = np.zeros(len(names["y"] or names["x"]))  # of stacked bars
    for order, mark in enumerate(panel.marks):
        z = 1.0 if isinstance(mark, (Cells, Band, Box)) else 1.5 if isinstance(mark, (Bars, Rule)) else 2.0
        artist = _add(_placed(mark, names), ax, z + order * 1e-3, chart, bottom)
        if isinstance(mark, (Points, Cells)) and mark.shades and mark.shades.bar:
            _key(ax, artist, mark.shades)
    filled = any(len(m.x if isinstance(m, Points) else m.at) for m in panel.marks if isinstance(m, (Points, Bars)))
    _axis(ax, "x", panel.x, names["x"], filled)
    _axis(ax, "y", panel.y, names["y"], filled)
    if hidden:
        ax.tick_params(axis="y", labelleft=False)
    if panel.title:
        size, side = chart.titles
        ax.set_title(plain(panel.title), fontsize=TYPE * size, loc=side)
    if not panel.x.shown and not panel.y.shown:
        ax.set_axis_off()


def _names(marks: Sequence[Mark], side: str) -> list[str]:
    """The names that marks have as places on an axis, in the order in which they come."""
    found: list[str] = []
    for mark in marks:
        if isinstance(mark, Bars):
            values = mark.at if mark.across == (side == "y") else ()
        else:
            values = getattr(mark, side, ()) if isinstance(mark, (Points, Cells)) else ()
        found += [value for value in values if isinstance(value, str)]
    return list(dict.fromkeys(found))


def _placed(mark: Mark, names: dict[str, list[str]]) -> Mark:
    """The mark with numbers in the place of names."""

    def numbers(values: Any, side: str) -> Any:
        return np.array([names[side].index(v) if isinstance(v, str) else v for v in values], dtype=float)

    if isinstance(mark, Bars):
        return replace(mark, at=numbers(mark.at, "y" if mark.across else "x"))
    if isinstance(mark, (Points, Cells)):
        return replace(mark, x=numbers(mark.x, "x"), y=numbers(mark.y, "y"))
    return mark


@singledispatch
def _add(mark: Any, ax: Axes, z: float, chart: Chart, bottom: np.ndarray) -> Any:
    raise TypeError(f"{type(mark).__name__} is no mark")


@_add.register
def _points(mark: Points, ax: Axes, z: float, chart: Chart, bottom: np.ndarray) -> Any:
    if mark.opacity == 0:
        return None
    colour = LIGHT.of(mark.colour) if isinstance(mark.colour, str) else [LIGHT.of(one) for one in mark.colour]
    common: dict[str, Any] = {"zorder": z, "alpha": mark.opacity}
    if mark.dash:
        ax.plot(mark.x, mark.y, DASHES[mark.dash], color=colour, linewidth=LINE * mark.width, **common)
    ends = {
        name: np.maximum([middle - np.asarray(pair[0]), np.asarray(pair[1]) - middle], 0)
        for name, middle, pair in (("xerr", mark.x, mark.x_ends), ("yerr", mark.y, mark.y_ends))
        if pair is not None
    }
    if ends:
        ink: Any = colour  # one colour, or one a mark
        ax.errorbar(mark.x, mark.y, **ends, fmt="none", elinewidth=LINE * mark.bar, **common, ecolor=ink)
    artist = _symbols(mark, ax, colour, common) if len(mark.symbol) else None
    for x, y, text in zip(mark.x, mark.y, mark.text if mark.text is not None else (), strict=False):
        vertical, side = mark.text_at.split()
        up = {"top": 6, "bottom": -6}.get(vertical, 0)
        ax.annotate(
            plain(text),
            (x, y),
            xytext=(0, up),
            textcoords="offset points",
            fontsize=TYPE * mark.text_size,
            ha=SIDES[side],
            va={6: "bottom", -6: "top"}.get(up, "center"),
        )
    if mark.name and mark.legend is not False and len(mark.x):
        _named(mark, ax, colour if isinstance(colour, str) else LIGHT.single)
    return artist


def _named(mark: Points, ax: Axes, colour: str) -> None:
    """The entry of the legend: a mark as the first of them, on its line."""
    symbol = mark.symbol if isinstance(mark.symbol, str) else next(iter(mark.symbol))
    style: dict[str, Any] = {"color": colour, "alpha": mark.opacity, "linewidth": LINE * mark.width}
    if symbol:
        style |= {"marker": SYMBOLS[symbol.removesuffix("-open")], "markersize": 4}
    if symbol.endswith("-open"):
        style["markerfacecolor"] = "none"
    ax.plot([], [], label=mark.name, linestyle=DASHES[mark.dash] if mark.dash else "none", **style)


def _symbols(mark: Points, ax: Axes, colour: Any, common: dict[str, Any]) -> Any:
    """The marks themselves, those of one symbol at once; returns what a colour bar can be made of."""
    n, artist = len(mark.x), None
    each = [np.broadcast_to(np.asarray(v), n) for v in (mark.symbol, mark.size, mark.edge[0] if mark.edge else 0)]
    symbols, sizes, edges = each
    x, y = np.asarray(mark.x), np.asarray(mark.y)
    for symbol in dict.fromkeys(symbols.tolist()):
        here, name = symbols == symbol, symbol.removesuffix("-open")
        ink: Any = LIGHT.of(mark.edge[1]) if mark.edge else "none"
        style: dict[str, Any] = {"s": (MARK * sizes[here]) ** 2, "linewidths": LINE * edges[here], **common}
        fill = "none" if mark.colour == "clear" else colour if isinstance(colour, str) else np.asarray(colour)[here]
        if mark.shades:
            scale = Normalize(mark.shades.low, mark.shades.high)
            shades = LinearSegmentedColormap.from_list("shades", list(mark.shades.colours))
            fill = shades(scale(np.asarray(mark.shades.values, float)[here]))
            artist = ScalarMappable(scale, shades)
        if name.startswith("line"):
            style |= {"color": ink if mark.edge else fill, "linewidths": LINE * np.maximum(edges[here], 2)}
        elif name == "x":
            style |= {"color": fill, "linewidths": 0.9}
        elif symbol.endswith("-open"):
            style |= {"facecolors": "none", "edgecolors": fill, "linewidths": LINE * np.maximum(edges[here], 1.3)}
        else:
            style |= {"facecolors": fill, "edgecolors": ink}
        ax.scatter(x[here], y[here], marker=SYMBOLS[name], **style)
    return artist


@_add.register
def _band(mark: Band, ax: Axes, z: float, chart: Chart, bottom: np.ndarray) -> Any:
    x, low, high = (np.asarray(values, float) for values in (mark.x, mark.low, mark.high))
    style: dict[str, Any] = {"color": LIGHT.of(mark.colour), "alpha": mark.opacity, "zorder": z, "label": mark.name}
    return ax.fill_between(x, low, high, linewidth=LINE * mark.edge, **style)


@_add.register
def _bars(mark: Bars, ax: Axes, z: float, chart: Chart, bottom: np.ndarray) -> Any:
    length = np.nan_to_num(np.asarray(mark.length, float))
    base = np.zeros(len(length)) if mark.base is None else np.nan_to_num(np.asarray(mark.base, float))
    if chart.bars == "stack":
        base = bottom.copy()
        bottom += length
    wide = min(1 - chart.bar_gap, 0.8) if mark.width is None else mark.width
    colour = LIGHT.of(mark.colour) if isinstance(mark.colour, str) else [LIGHT.of(one) for one in mark.colour]
    style: dict[str, Any] = {"color": colour, "alpha": mark.opacity, "zorder": z, "label": mark.name, "linewidth": 0}
    if mark.edge or chart.bars == "stack":
        style |= {"edgecolor": LIGHT.ground, "linewidth": 0.4}
    if mark.across:
        ax.barh(mark.at, length, left=base, height=wide, **style)
    else:
        ax.bar(mark.at, length, bottom=base, width=wide, **style)
    texts = mark.text if mark.text is not None else ()
    for at, start, end, text in zip(mark.at, base, base + length, texts, strict=False):
        _bar_text(mark, ax, at, start, end, text if isinstance(text, str) else f"{text:g}")
    return None


def _bar_text(mark: Bars, ax: Axes, at: float, start: float, end: float, text: str) -> None:
    """What is written at the end of a bar that lies on its side, or in it."""
    if mark.inside and end <= start:
        return
    if mark.inside:
        ink = LIGHT.of(mark.text_ink) if mark.text_ink else _on(LIGHT.of(str(mark.colour)))
        place, shift, side = (start + end) / 2, 0, "center"
    else:
        ink, place, shift, side = LIGHT.ink, end, 4, "left"
    style: dict[str, Any] = {"va": "center", "ha": side, "fontsize": 7.5, "color": ink, "zorder": 3}
    ax.annotate(plain(text), (place, at), xytext=(shift, 0), textcoords="offset points", **style)


@_add.register
def _cells(mark: Cells, ax: Axes, z: float, chart: Chart, bottom: np.ndarray) -> Any:
    shades = LinearSegmentedColormap.from_list("shades", list(mark.shades.colours))
    return ax.pcolormesh(
        _borders(mark.x),
        _borders(mark.y),
        np.ma.masked_invalid(np.asarray(mark.shades.values, float)),
        cmap=shades,
        vmin=mark.shades.low,
        vmax=mark.shades.high,
        edgecolors=LIGHT.ground,
        linewidth=LINE * mark.gap,
        zorder=z,
    )


def _borders(middles: Any) -> np.ndarray:
    """The borders of cells around their middles."""
    x = np.asarray(middles, float)
    between = (x[1:] + x[:-1]) / 2
    first, last = (x[0] - between[0], x[-1] - between[-1]) if len(x) > 1 else (-0.5, 0.5)
    return np.concatenate(([x[0] + first], between, [x[-1] + last]))


@_add.register
def _rule(mark: Rule, ax: Axes, z: float, chart: Chart, bottom: np.ndarray) -> Any:
    style: dict[str, Any] = {"color": LIGHT.of(mark.colour), "linewidth": LINE * mark.width, "alpha": mark.opacity}
    style |= {"linestyle": DASHES[mark.dash], "zorder": z - 0.6 if mark.below else z}
    if mark.x is None:
        return ax.axhline(mark.y, **style)
    return ax.axvline(mark.x, **style) if mark.y is None else ax.plot(mark.x, mark.y, **style)


@_add.register
def _box(mark: Box, ax: Axes, z: float, chart: Chart, bottom: np.ndarray) -> Any:
    style: dict[str, Any] = {"color": LIGHT.of(mark.colour), "alpha": mark.opacity, "linewidth": 0, "zorder": z}
    if mark.x is None:
        return ax.axhspan(*mark.y, **style) if np.isfinite(mark.y).all() else None
    style["linewidth"] = 0.4
    return ax.fill_between(mark.x, *mark.y, **style)  # one without width is seen as a line


@_add.register
def _note(mark: Note, ax: Axes, z: float, chart: Chart, bottom: np.ndarray) -> Any:
    frames = {"data": "data", "panel": "axes fraction"}
    return ax.annotate(
        plain(mark.text),
        (mark.x, mark.y),
        xycoords=(frames[mark.x_in], frames[mark.y_in]),
        xytext=(LINE * mark.shift, 0),
        textcoords="offset points",
        ha=mark.anchor,
        va=mark.vertical.replace("middle", "center"),
        fontsize=TYPE * mark.size,
        color=LIGHT.of(mark.colour),
        zorder=3,
    )


def _on(colour: Any) -> str:
    """Ink that is read on a colour."""
    red, green, blue = to_rgb(colour)
    return LIGHT.ink if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else LIGHT.ground


def _key(ax: Axes, artist: Any, shades: Shades) -> None:
    bar, fig = shades.bar, ax.get_figure()
    assert bar is not None and fig is not None
    style: dict[str, Any] = {"aspect": 25}
    if bar.across:
        style = {"location": "top", "shrink": 0.4, "aspect": 30, "anchor": (0, 0)}
    drawn = fig.colorbar(artist, ax=ax, **style)
    if bar.ticks is not None:
        drawn.set_ticks(list(bar.ticks), labels=list(bar.labels or map(str, bar.ticks)))
    drawn.set_label(bar.title, fontsize=8)
    drawn.outline.set_visible(False)


def _axis(ax: Axes, side: Literal["x", "y"], axis: Axis, names: Sequence[str], filled: bool) -> None:
    one = ax.xaxis if side == "x" else ax.yaxis
    if axis.log and filled:
        (ax.set_xscale if side == "x" else ax.set_yscale)("log")
    ticks, labels = axis.ticks, axis.labels
    if ticks is None and names:
        ticks, labels = range(len(names)), names
    if ticks is not None:
        one.set_ticks(list(ticks), None if labels is None else [plain(label) for label in labels])
    else:
        if axis.step and not axis.log:
            one.set_major_locator(MultipleLocator(axis.step))
        if axis.format or axis.log:
            one.set_major_formatter(FuncFormatter(lambda value, _: _number(value, axis.format)))
    (ax.set_xlabel if side == "x" else ax.set_ylabel)(plain(axis.title))
    if axis.range is not None:
        (ax.set_xlim if side == "x" else ax.set_ylim)(*axis.range)
    elif axis.to_zero and not axis.log:
        ax.set_xlim(left=0) if side == "x" else ax.set_ylim(bottom=0)
    if axis.turned:
        one.set_inverted(True)
    if axis.names:
        ax.tick_params(axis=side, length=0, labelcolor=LIGHT.ink)
    if axis.grid and axis.shown:
        ax.grid(axis=side)
    if axis.zero:
        (ax.axvline if side == "x" else ax.axhline)(0, color=LIGHT.muted, linewidth=0.7, zorder=1)
    if axis.angle:
        ax.tick_params(axis=side, labelrotation=-axis.angle)
    if axis.side in ("top", "right"):
        place: Any = axis.side  # a side of this axis
        one.set_ticks_position(place)
        one.set_label_position(place)
    if not axis.numbers:
        ax.tick_params(axis=side, **{"labelbottom" if side == "x" else "labelleft": False})
    if not axis.shown:
        one.set_visible(False)
        ax.spines["bottom" if side == "x" else "left"].set_visible(False)
    if axis.equal:
        ax.set_aspect("equal", adjustable="datalim")


def _number(value: float, format: str) -> str:
    if "%" in format:
        return f"{100 * value:.3g} %"
    return f"{value:+g}".replace("-", "−") if format.startswith("+") and value else f"{value:,.4g}"


def _legend(fig: Figure, chart: Chart, legend: Legend) -> None:
    """Every name once, under or over the panels; what stands first on the screen stands first."""
    found: dict[str, Any] = {}
    for ax in fig.axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    ranks = {m.name: m.rank for p in chart.panels for m in p.marks if isinstance(m, (Points, Band)) and m.rank}
    shown = sorted(found, key=lambda name: ranks.get(name, 0))
    shown = shown[::-1] if legend.turned else shown
    if shown:
        columns = min(len(shown), max(2, int(chart.inches * 16 / max(map(len, shown)))))
        place = "outside upper left" if legend.y > 0 else "outside lower left"
        fig.legend([found[name] for name in shown], shown, loc=place, ncols=columns)
