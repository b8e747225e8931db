"""What a figure is made of, as plain data: panels with axes and marks, drawn by `screen` (plotly) and `paper` alike.

A figure type is one function that returns a `Chart`. Colours are names of a theme's inks ("ink", "muted", "rule",
"ground", "single", "en", "ar"), "clear", or hex. Sizes and widths are pixels of the screen; paper scales them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Values = Any  # numbers or names, one a mark: list, numpy array, pandas Series or Index
Ends = tuple[Values, Values]  # the low and the high ends of intervals, in the unit of their axis


@dataclass(frozen=True)
class ColourBar:
    """The key of a colour scale, upright at the right or across the top."""

    title: str
    ticks: Sequence[float] | None = None
    labels: Sequence[str] | None = None
    across: bool = False


@dataclass(frozen=True)
class Shades:
    """Colour by value: the colours from `low` to `high`, at equal distances."""

    values: Values
    low: float
    high: float
    colours: Sequence[str]
    bar: ColourBar | None = None


@dataclass(frozen=True)
class Points:
    """Marks at (x, y) with their intervals, joined by a line where `dash` names one; also lines or words alone.

    Symbols, dashes and places of text have plotly's names; `hover` is its template over `data` (customdata), "" for
    none. Without `symbol` there is no mark, without `dash` no line. `dim` is the opacity of what is not selected.
    """

    x: Values
    y: Values
    name: str = ""
    colour: str | Sequence[str] = "single"
    symbol: str | Sequence[str] = "circle"
    size: Any = 9
    edge: tuple[Any, str] | None = None
    shades: Shades | None = None
    dash: str = ""
    width: float = 2
    x_ends: Ends | None = None
    y_ends: Ends | None = None
    bar: float = 1.4
    opacity: float | None = None
    text: Sequence[str] | None = None
    text_at: str = "top center"
    text_size: int = 13
    hover: str = ""
    data: Any = None
    group: str = ""
    legend: bool | None = None
    rank: int | None = None
    clip: bool = True
    webgl: bool = False
    dim: float | None = None


@dataclass(frozen=True)
class Band:
    """The area between two lines over x: what a control or chance gives."""

    x: Values
    low: Values
    high: Values
    colour: str
    opacity: float = 0.3
    edge: float = 0
    name: str = ""
    rank: int | None = None


@dataclass(frozen=True)
class Bars:
    """Bars from `base` (0) of the given lengths, at `at` of the other axis; `across` lays them on their side."""

    at: Values
    length: Values
    base: Values = None
    across: bool = True
    width: Any = None
    colour: str | Sequence[str] = "single"
    opacity: float | None = None
    edge: tuple[float, str] | None = None
    name: str = ""
    text: Any = None
    text_ink: str = ""
    inside: bool = False
    hover: str = ""
    data: Any = None


@dataclass(frozen=True)
class Cells:
    """A heat map: `shades.values` is a grid, row by row upwards unless the axis is turned."""

    x: Values
    y: Values
    shades: Shades
    gap: int = 2
    text: Any = None
    hover: str = ""
    data: Any = None


@dataclass(frozen=True)
class Rule:
    """A reference line: at one x, at one y, or from (x[0], y[0]) to (x[1], y[1])."""

    x: Any = None
    y: Any = None
    colour: str = "muted"
    width: float = 1
    dash: str = ""
    opacity: float | None = None
    below: bool = False


@dataclass(frozen=True)
class Box:
    """A filled ground from corner to corner; without `x` as wide as the panel."""

    y: tuple[float, float]
    colour: str
    opacity: float
    x: tuple[float, float] | None = None
    below: bool = False


@dataclass(frozen=True)
class Note:
    """Words at a place of the data, or of the panel (0 to 1) where `x_in` or `y_in` says so; plotly's light markup."""

    x: Any
    y: Any
    text: str
    anchor: Literal["left", "center", "right"] = "center"
    vertical: Literal["top", "middle", "bottom"] = "middle"
    shift: float = 0
    size: int = 13
    colour: str = "ink"
    x_in: Literal["data", "panel"] = "data"
    y_in: Literal["data", "panel"] = "data"
    printed: bool = False  # on paper alone, where nothing can be pointed at


Mark = Points | Band | Bars | Cells | Rule | Box | Note


@dataclass(frozen=True)
class Axis:
    """One axis. `range` is in the data's unit, high before low where it is turned; `format` is d3's."""

    title: str = ""
    range: Sequence[float] | None = None
    ticks: Iterable[float] | None = None
    labels: Iterable[str] | None = None
    step: float | None = None
    n_ticks: int | None = None
    format: str = ""
    grid: bool = True
    zero: bool = False  # a line at 0
    to_zero: bool = False  # the range begins at 0
    log: bool = False
    category: bool = False
    turned: bool = False
    names: bool = False  # its labels are read as text: larger and in ink
    angle: float | None = None
    side: str = ""
    numbers: bool = True  # the labels of its ticks are drawn
    shown: bool = True
    equal: bool = False  # as long a unit as on the other axis


def line(
    x: Values,
    y: Values,
    colour: str = "muted",
    name: str = "",
    dash: str = "solid",
    width: float = 1,
    opacity: float | None = None,
    hover: str = "",
    legend: bool | None = None,
) -> Points:
    """A line without marks."""
    return Points(x, y, name, colour, "", dash=dash, width=width, opacity=opacity, hover=hover, legend=legend)


def rows(names: Sequence[str], last: float | None = None) -> Axis:
    """The y axis of named rows, the first on top; `last` is the row below which nothing is drawn."""
    end = len(names) - 1 if last is None else last
    return Axis(ticks=range(len(names)), labels=names, range=(end + 0.6, -0.6), grid=False, names=True)


@dataclass(frozen=True)
class Panel:
    """Marks on a pair of axes, at its place in the grid of the figure (from 1), `span` columns wide."""

    marks: Sequence[Mark]
    x: Axis = Axis()
    y: Axis = Axis()
    title: str = ""
    row: int = 1
    column: int = 1
    span: int = 1


@dataclass(frozen=True)
class Legend:
    """Where the legend stands, in heights of the panels: above 1 over them, below 0 under them, at 0 at the foot."""

    y: float = 0.0
    size: int | None = None
    turned: bool = False
    fixed: bool = False  # a click hides nothing
    printed: bool = False  # on paper alone, where no text of the page says it


@dataclass(frozen=True)
class Chart:
    """A whole figure: panels, pixels of height and of margins (left, right, bottom, top), inches of width on paper."""

    panels: Sequence[Panel]
    height: int
    margin: tuple[int, int, int, int] = (52, 10, 44, 12)
    legend: Legend | None = None
    once: bool = False  # what has one name in several panels stands once in the legend
    share_y: bool = False
    gaps: tuple[float | None, float | None] = (None, None)  # between columns, between rows; shares of the figure
    titles: tuple[int, Literal["center", "left"]] = (15, "center")  # of panels: size and side
    bars: Literal["", "stack", "overlay"] = ""
    bar_gap: float = 0.06
    inches: float = 5.2
