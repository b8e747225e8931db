"""Charts on the screen: plotly figures in the light or the dark theme."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from core.figures.marks import Axis, Band, Bars, Box, Cells, Chart, Legend, Note, Points, Rule, Shades
from core.figures.palette import FONT, Look, look

BELOW = {"xref": "container", "y": 0, "yref": "container", "yanchor": "bottom", "traceorder": "normal"}


def draw(chart: Chart, dark: bool = False) -> go.Figure:
    """The plotly figure of a chart."""
    inks, fig = look(dark), _grid(chart)
    many = bool(fig._has_subplots())
    for panel in chart.panels:
        at = {"row": panel.row, "col": panel.column} if many else {}
        for mark in sorted(panel.marks, key=lambda mark: isinstance(mark, (Rule, Box, Note))):
            _add(mark, fig, at, inks)
    _dress(fig, chart, inks)
    for panel in chart.panels:
        at = {"row": panel.row, "col": panel.column} if many else {}
        fig.update_xaxes(**_axis(panel.x, inks, "y"), **at)
        fig.update_yaxes(**_axis(panel.y, inks, "x"), **at)
    if chart.legend is not None and not chart.legend.printed:
        _legend(fig, chart.legend, chart.once)
    return fig


def _grid(chart: Chart) -> go.Figure:
    panels = chart.panels
    if len(panels) == 1 and not panels[0].title:
        return go.Figure()
    n_rows = max((p.row for p in panels), default=1)
    n_columns = max((p.column + p.span - 1 for p in panels), default=1)
    options: dict[str, Any] = {"shared_yaxes": chart.share_y}
    if any(p.span > 1 for p in panels):
        specs: list[list[dict[str, int] | None]] = [[None] * n_columns for _ in range(n_rows)]
        for p in panels:
            specs[p.row - 1][p.column - 1] = {"colspan": p.span}
        options["specs"] = specs
    size, side = chart.titles
    if side == "center" and any(p.title for p in panels):
        options["subplot_titles"] = [p.title for p in panels]
    for name, gap in zip(("horizontal_spacing", "vertical_spacing"), chart.gaps, strict=True):
        if gap is not None:
            options[name] = gap
    fig = make_subplots(n_rows, n_columns, **options)
    fig.update_annotations(font_size=size)
    for p in panels if side == "left" else ():
        fig.add_annotation(
            x=0,
            y=1.02,
            xref="x domain",
            yref="y domain",
            text=p.title,
            showarrow=False,
            xanchor="left",
            yanchor="bottom",
            font_size=size,
            row=p.row,
            col=p.column,
        )
    return fig


def _dress(fig: go.Figure, chart: Chart, inks: Look) -> None:
    """Type, inks, rules and margins."""
    left, right, bottom, top = chart.margin
    font = {"family": FONT, "size": 14, "color": inks.ink}
    fig.update_layout(
        height=chart.height,
        margin={"l": left, "r": right, "b": bottom, "t": top, "pad": 2},
        font=font,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"font": font, "bgcolor": inks.ground, "bordercolor": inks.rule},
        showlegend=False,
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": inks.muted, "activecolor": inks.ink},
        bargap=chart.bar_gap,
        barmode=chart.bars or None,
    )
    axis = {
        "gridcolor": inks.rule,
        "linecolor": inks.muted,
        "tickcolor": inks.muted,
        "zeroline": False,
        "tickfont": {"size": 13, "color": inks.muted},
        "title": {"font": {"size": 14, "color": inks.ink}},
        "automargin": True,
    }
    fig.update_xaxes(**axis)
    fig.update_yaxes(**axis)
    for note in fig.layout.annotations:
        note.font.color = note.font.color or inks.ink


def _axis(axis: Axis, inks: Look, other: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "title_text": axis.title or None,
        "tickvals": None if axis.ticks is None else list(axis.ticks),
        "ticktext": None if axis.labels is None else list(axis.labels),
        "dtick": axis.step,
        "nticks": axis.n_ticks,
        "tickformat": axis.format or None,
        "tickangle": axis.angle,
        "side": axis.side or None,
    }
    if axis.range is not None:
        found["range"] = [float(np.log10(end)) for end in axis.range] if axis.log else list(axis.range)
    switches = (
        (not axis.grid, {"showgrid": False}),
        (axis.zero, {"zeroline": True, "zerolinecolor": inks.muted}),
        (axis.to_zero, {"rangemode": "tozero"}),
        (axis.log, {"type": "log", "exponentformat": "none"}),
        (axis.category, {"type": "category"}),
        (axis.turned, {"autorange": "reversed"}),
        (axis.names, {"tickfont": {"size": 14, "color": inks.ink}}),
        (not axis.numbers, {"showticklabels": False}),
        (not axis.shown, {"visible": False}),
        (axis.equal, {"scaleanchor": other, "scaleratio": 1}),
    )
    for on, setting in switches:
        found |= setting if on else {}
    return {name: value for name, value in found.items() if value is not None}


def _legend(fig: go.Figure, legend: Legend, once: bool) -> None:
    y = legend.y
    place: dict[str, Any] = dict(BELOW) if not y else {"y": y, "yanchor": "bottom" if y > 0 else "top"}
    if legend.turned:
        place["traceorder"] = "reversed"
    if legend.fixed:
        place["itemclick"] = False
    fig.update_layout(showlegend=True, legend={"orientation": "h", "x": 0, "font_size": legend.size, **place})
    seen: set[str] = set()
    for trace in fig.data:
        if not trace.name:
            trace.showlegend = False
        elif once:
            trace.legendgroup, trace.showlegend = trace.name, trace.name not in seen
            seen.add(trace.name)


@singledispatch
def _add(mark: Any, fig: go.Figure, at: dict[str, int], inks: Look) -> None:
    raise TypeError(f"{type(mark).__name__} is no mark")


@_add.register
def _points(mark: Points, fig: go.Figure, at: dict[str, int], inks: Look) -> None:
    colour = _colours(mark.colour, inks)
    marked = not isinstance(mark.symbol, str) or bool(mark.symbol)
    modes = [("lines", bool(mark.dash)), ("markers", marked), ("text", mark.text is not None)]
    trace: dict[str, Any] = {
        "x": mark.x,
        "y": mark.y,
        "mode": "+".join(name for name, there in modes if there),
        "opacity": mark.opacity if mark.dash else None,
        "legendgroup": mark.group or None,
        "legendrank": mark.rank,
        "showlegend": mark.legend,
        **_said(mark.name, mark.hover, mark.data),
    }
    if mark.dash:
        trace["line"] = {"color": colour, "width": mark.width, "dash": mark.dash}
    if marked:
        trace["marker"] = {"color": colour, "size": mark.size, "symbol": mark.symbol}
        if mark.opacity is not None and not mark.dash:
            trace["marker"]["opacity"] = mark.opacity
        if mark.shades:
            trace["marker"] |= _shades(mark.shades, inks)
        if mark.edge:
            trace["marker"]["line"] = {"width": mark.edge[0], "color": inks.of(mark.edge[1])}
    if mark.text is not None:
        font = {"size": mark.text_size, "color": inks.ink}
        trace |= {"text": mark.text, "textposition": mark.text_at, "textfont": font}
    for name, middle, ends in (("error_x", mark.x, mark.x_ends), ("error_y", mark.y, mark.y_ends)):
        if ends is not None:
            trace[name] = {
                "type": "data",
                "symmetric": False,
                "array": ends[1] - middle,
                "arrayminus": middle - ends[0],
                "thickness": mark.bar,
                "width": 0,
                "color": colour,
            }
    if mark.dim is not None:
        trace |= {"selected": {"marker": {"opacity": 1}}, "unselected": {"marker": {"opacity": mark.dim}}}
    if not mark.clip:
        trace["cliponaxis"] = False
    fig.add_trace((go.Scattergl if mark.webgl else go.Scatter)(**trace), **at)


@_add.register
def _band(mark: Band, fig: go.Figure, at: dict[str, int], inks: Look) -> None:
    colour = inks.of(mark.colour)
    fig.add_trace(
        go.Scatter(
            x=[*mark.x, *reversed(list(mark.x))],
            y=[*mark.high, *reversed(list(mark.low))],
            fill="toself",
            fillcolor=colour,
            opacity=mark.opacity,
            mode="lines",
            line={"width": mark.edge, "color": colour},
            legendrank=mark.rank,
            **_said(mark.name, "", None),
        ),
        **at,
    )


@_add.register
def _bars(mark: Bars, fig: go.Figure, at: dict[str, int], inks: Look) -> None:
    places = {"y": mark.at, "x": mark.length} if mark.across else {"x": mark.at, "y": mark.length}
    marker: dict[str, Any] = {"color": _colours(mark.colour, inks), "opacity": mark.opacity}
    if mark.edge:
        marker["line"] = {"width": mark.edge[0], "color": inks.of(mark.edge[1])}
    bar = go.Bar(
        **places,
        base=mark.base,
        orientation="h" if mark.across else None,
        width=mark.width,
        marker=marker,
        **_said(mark.name, mark.hover, mark.data),
    )
    if mark.text is not None:
        inside = {"textposition": "inside", "insidetextanchor": "middle", "textangle": 0, "textfont": {"size": 13}}
        outside = {"textposition": "outside", "cliponaxis": False, "textfont": {"size": 14, "color": inks.ink}}
        bar.update(text=mark.text, **(inside if mark.inside else outside))
        if mark.text_ink:
            bar.update(textfont_color=inks.of(mark.text_ink))
    fig.add_trace(bar, **at)


@_add.register
def _cells(mark: Cells, fig: go.Figure, at: dict[str, int], inks: Look) -> None:
    shades, low = _shades(mark.shades, inks), {"color": "z", "cmin": "zmin", "cmax": "zmax"}
    trace = {low.get(name, name): value for name, value in shades.items()}
    fig.add_trace(
        go.Heatmap(
            x=mark.x,
            y=mark.y,
            text=mark.text,
            xgap=mark.gap,
            ygap=mark.gap,
            showscale=mark.shades.bar is not None,
            **trace,
            **_said("", mark.hover, mark.data),
        ),
        **at,
    )


@_add.register
def _rule(mark: Rule, fig: go.Figure, at: dict[str, int], inks: Look) -> None:
    line = {"color": inks.of(mark.colour), "width": mark.width, "dash": mark.dash or None}
    options = {"line": line, "opacity": mark.opacity, "layer": "below" if mark.below else None, **at}
    if mark.x is None:
        fig.add_hline(y=mark.y, **options)
    elif mark.y is None:
        fig.add_vline(x=mark.x, **options)
    else:
        fig.add_shape(type="line", x0=mark.x[0], y0=mark.y[0], x1=mark.x[1], y1=mark.y[1], **options)


@_add.register
def _box(mark: Box, fig: go.Figure, at: dict[str, int], inks: Look) -> None:
    fill = {"fillcolor": inks.of(mark.colour), "opacity": mark.opacity, "line_width": 0}
    fill["layer"] = "below" if mark.below else None
    if mark.x is None:
        fig.add_hrect(y0=mark.y[0], y1=mark.y[1], **fill, **at)
    else:
        fig.add_shape(type="rect", x0=mark.x[0], x1=mark.x[1], y0=mark.y[0], y1=mark.y[1], **fill, **at)


@_add.register
def _note(mark: Note, fig: go.Figure, at: dict[str, int], inks: Look) -> None:
    if mark.printed:
        return
    frames = {"xref": "x domain" if mark.x_in == "panel" else "x", "yref": "y domain" if mark.y_in == "panel" else "y"}
    fig.add_annotation(
        x=mark.x,
        y=mark.y,
        text=mark.text,
        showarrow=False,
        xanchor=mark.anchor,
        yanchor=mark.vertical,
        xshift=mark.shift or None,
        font={"size": mark.size, "color": inks.of(mark.colour)},
        **frames,
        **at,
    )


def _said(name: str, hover: str, data: Any) -> dict[str, Any]:
    """Name, what is shown on hover, and the data that it and selections read."""
    said: dict[str, Any] = {"name": name or None, "customdata": data}
    if not hover:
        return {**said, "hoverinfo": "skip"}
    return {**said, "hovertemplate": hover if "<extra>" in hover else f"{hover}<extra></extra>"}


def _colours(colour: str | Sequence[str], inks: Look) -> str | list[str]:
    return inks.of(colour) if isinstance(colour, str) else [inks.of(one) for one in colour]


def _shades(shades: Shades, inks: Look) -> dict[str, Any]:
    stops = [[i / (len(shades.colours) - 1), colour] for i, colour in enumerate(shades.colours)]
    found = {"color": shades.values, "cmin": shades.low, "cmax": shades.high, "colorscale": stops}
    if shades.bar is None:
        return found
    bar: dict[str, Any] = {
        "title": {"text": shades.bar.title, "side": "top" if shades.bar.across else "right", "font": {"size": 13}},
        "tickvals": shades.bar.ticks,
        "ticktext": shades.bar.labels,
        "tickfont": {"size": 13, "color": inks.muted},
        "thickness": 8 if shades.bar.across else 12,
        "outlinewidth": 0,
    }
    if shades.bar.across:
        bar |= {"orientation": "h", "len": 0.42, "x": 0.0, "xanchor": "left", "y": 1.0, "yanchor": "bottom"}
        bar["tickangle"] = 0
    return {**found, "colorbar": bar}
