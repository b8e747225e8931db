"""The graph of one word, bottom to top: patches, features layer by layer, the word; and what such graphs explain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from core.figures.marks import Axis, Chart, Legend, Mark, Panel, Points, line
from core.figures.palette import CONTROL, GENDER
from core.frames import records

MIN_SHOWN = 0.03  # of the strongest edge: thinner ones are left to the table
PLACES = {"image": "image", "question": "question", "words": "words so far", "here": "where the word is chosen"}
SYMBOLS = {
    "patches": ("patches of the picture", "hexagon"),
    "image": ("feature at the image", "square"),
    "question": ("feature at the question", "triangle-down"),
    "words": ("feature at the words so far", "triangle-up"),
    "here": ("feature where the word is chosen", "circle"),
    "error": ("what the SAE leaves out", "diamond-open"),
    "word": ("the word", "star"),
}
SIDES = {1: ("for a woman’s word", "female", "solid"), -1: ("for a man’s word", "male", "dash")}
SERIES = {
    "the graph’s features alone": ("single", "circle"),
    "the same, by gradients": ("single", "circle-open"),
    "as many of a random dictionary": (CONTROL, "square"),
    "other features that change as much": (CONTROL, "triangle-up"),
    "left out by the SAE": ("muted", "diamond-open"),
}


def letters(nodes: pd.DataFrame) -> dict[str, str]:
    """Short names of the nodes of patches: A, B, C by strength, and "rest"."""
    own = [r["node"] for r in records(nodes[nodes["kind"] == "patches"])]
    named = [n for n in own if n != "rest of the picture"]
    return {**{n: "ABCDEFGH"[i] for i, n in enumerate(named)}, "rest of the picture": "rest"}


def placed(nodes: pd.DataFrame, edges: pd.DataFrame) -> pd.DataFrame:
    """Nodes with ``x`` (-1 to 1) and ``row`` (0 for patches): in each row in the order of where their edges come from,
    which crosses few of them; the error at the right."""
    levels = sorted(set(nodes["layer"]))
    frame = nodes.assign(row=[levels.index(n) for n in nodes["layer"]], x=0.0).reset_index(drop=True)
    at: dict[str, float] = {}
    for row in range(len(levels)):
        mine = frame[frame["row"] == row]
        keys = {}
        for n in records(mine):
            into = edges[(edges["target"] == n["node"]) & edges["source"].isin(at)]
            weight = into["effect"].abs().to_numpy()
            places = np.array([at[s] for s in into["source"]])
            keys[n["node"]] = float((weight * places).sum() / weight.sum()) if weight.sum() else 0.0
        last = {"error": 1, "patches": 0, "feature": 0, "word": 0}
        order = sorted(records(mine), key=lambda n: (last[n["kind"]], n["node"].startswith("rest"), keys[n["node"]]))
        k = len(order)
        for i, n in enumerate(order):
            at[n["node"]] = 0.0 if k == 1 else -1 + 2 * (i + 0.5) / k
    frame["x"] = [at[n] for n in frame["node"]]
    return frame


def graph_figure(nodes: pd.DataFrame, edges: pd.DataFrame, word: str = "") -> Chart:
    """Width and opacity: how much; pink and solid: for a woman's word, green and dashed: for a man's. A cross on an
    edge: running the model does not bear it out. Numbers are those of features; hover says the rest."""
    frame = placed(nodes, edges)
    place = frame.set_index("node")[["x", "row"]]
    top = float(edges["effect"].abs().max()) if len(edges) else 1.0
    marks: list[Mark] = []
    for e in records(edges.sort_values("effect", key=np.abs)):
        share = abs(e["effect"]) / (top or 1)
        if share < MIN_SHOWN:
            continue
        (x0, y0), (x1, y1) = place.loc[e["source"]], place.loc[e["target"]]
        _, gender, dash = SIDES[1 if e["effect"] >= 0 else -1]
        opacity = (0.35 + 0.55 * share) * (1.0 if e["holds"] else 0.5)
        marks.append(line([x0, x1], [y0, y1], GENDER[gender], "", dash, 0.8 + 7 * share, opacity))
        middle = [(x0 + x1) / 2], [(y0 + y1) / 2]
        said = edge_words(e, frame)
        if e["holds"]:
            marks.append(Points(*middle, size=12, opacity=0, hover=said))
        else:
            marks.append(Points(*middle, colour="ink", symbol="x", size=7, hover=said))
    short = letters(nodes)
    biggest = float(frame.loc[frame["kind"] != "word", "effect"].abs().max()) if len(frame) > 1 else 1.0
    for kind, (name, symbol) in SYMBOLS.items():
        mine = frame[(frame["kind"] == kind) | ((frame["kind"] == "feature") & (frame["place"] == kind))]
        if mine.empty:
            continue
        size = 9 + 15 * np.sqrt((mine["effect"].abs() / (biggest or 1)).clip(0, 1))
        marks.append(
            Points(
                mine["x"],
                mine["row"],
                name,
                colour=[GENDER["female" if e >= 0 else "male"] for e in mine["effect"]],
                symbol=symbol,
                size=size.tolist(),
                edge=(1, "ground"),
                opacity=1,
                text=[node_short(n, short, word) for n in records(mine)],
                text_at="top center",
                text_size=11,
                data=mine.assign(said=[node_words(n, short, word) for n in records(mine)])[["said"]].to_numpy(),
                hover="%{customdata[0]}",
                legend=False,
            )
        )
        marks.append(Points([None], [None], name, colour="muted", symbol=symbol, size=9))
    for name, gender, dash in SIDES.values():
        marks.append(line([None, None], [None, None], GENDER[gender], name, dash, 3, legend=True))
    levels = sorted(set(nodes["layer"]))
    names = ["picture", *(f"layer {n}" for n in levels[1:-1]), "word"][: len(levels)]
    y = Axis(ticks=range(len(levels)), labels=names, range=(-0.45, len(levels) - 0.45), grid=False, names=True)
    panel = Panel(marks, Axis(shown=False, range=(-1.05, 1.05)), y)
    return Chart([panel], 130 + 84 * len(levels), (64, 8, 120, 8), Legend(-0.06), inches=7.2)


def node_short(node: dict[str, Any], short: dict[str, str], word: str) -> str:
    """What stands at a node: the feature's number, a region's letter, the word."""
    if node["kind"] == "feature":
        return str(node["feature"])
    return {"patches": short.get(node["node"], ""), "error": "left out", "word": word}[node["kind"]]


def node_words(node: dict[str, Any], short: dict[str, str], word: str) -> str:
    """A node in words, for hovering."""
    head = {
        "feature": f"feature {node['feature']} of layer {node['layer']}, {PLACES.get(node['place'], '')}",
        "patches": f"patches {short.get(node['node'], '')} ({len(node['patches'])})",
        "error": f"what the SAE of layer {node['layer']} leaves out",
        "word": word,
    }[node["kind"]]
    if node["kind"] == "feature":
        label = f" “{node['label']}”" if node.get("label") else ""
        head += f"{label}<br>fires {node['activation']:.1f}, with the mean picture {node['usual']:.1f}"
    if node["kind"] == "word":
        return f"{head}<br>the picture adds {node['effect']:+.2f} log-odds"
    return f"{head}<br>adds {node['effect']:+.2f}; taken back {node['taken']:+.2f}, alone {node['alone']:+.2f}"


def edge_words(edge: dict[str, Any], nodes: pd.DataFrame) -> str:
    """An edge in words, for hovering."""
    short = letters(nodes)
    by_name = {r["node"]: r for r in records(nodes)}
    ends = [node_short(by_name[edge[n]], short, "the word") for n in ("source", "target")]
    borne = "" if edge["holds"] else "<br>running the model does not bear it out"
    return (
        f"{ends[0]} → {ends[1]}: adds {edge['effect']:+.2f}<br>by running: taken back {edge['taken']:+.2f}, "
        f"alone {edge['alone']:+.2f}{borne}"
    )


def shares_figure(shares: pd.DataFrame) -> Chart:
    """By layer, of all that pictures do to the words of several captions: what the graphs' features bring about, beside
    as many of random dictionaries, other features that change as much, and what the SAE leaves out."""
    layers = sorted(set(shares["layer"]))
    marks: list[Mark] = [line([-0.6, len(layers) - 0.4], [1, 1], "muted", dash="dot")]
    for i, (series, (colour, symbol)) in enumerate(SERIES.items()):
        mine = shares[shares["series"] == series]
        x = [layers.index(n) + 0.13 * (i - 2) for n in mine["layer"]]
        marks.append(
            Points(
                x,
                mine["share"],
                series,
                colour=colour,
                symbol=symbol,
                size=9,
                y_ends=(mine["low"], mine["high"]),
                data=mine[["layer", "share", "low", "high", "n"]].to_numpy(),
                hover="layer %{customdata[0]}: %{customdata[1]:.0%} [%{customdata[2]:.0%}, %{customdata[3]:.0%}], "
                "n = %{customdata[4]}",
            )
        )
    x_axis = Axis("layer", ticks=range(len(layers)), labels=[str(n) for n in layers], grid=False)
    y_axis = Axis("share of what the picture does", format=".0%", zero=True)
    return Chart([Panel(marks, x_axis, y_axis)], 400, (60, 10, 170, 10), Legend(-0.3))


def checks_figure(edges: pd.DataFrame) -> Chart:
    """Every edge of every graph: what running the model shows against what gradients say."""
    known = edges.dropna(subset=["measured"])
    top = 1.05 * float(np.nanmax([0.1, known[["effect", "measured"]].abs().to_numpy().max()])) if len(known) else 1.0
    marks: list[Mark] = [line([-top, top], [-top, top], CONTROL, "as gradients say", "dash")]
    for holds, (name, symbol) in {
        True: ("borne out", "circle"),
        False: ("not borne out", "x"),
    }.items():
        mine = known[known["holds"].astype(bool) == holds]
        said = mine["source"].str.cat(mine["target"], " → ") if len(mine) else mine["source"]
        marks.append(
            Points(
                mine["effect"],
                mine["measured"],
                name,
                symbol=symbol,
                size=6,
                opacity=0.7,
                data=mine.assign(said=said)[["said"]].to_numpy(),
                hover="%{customdata[0]}: gradients %{x:+.2f}, running %{y:+.2f}",
            )
        )
    x, y = Axis("by gradients, log-odds", range=(-top, top)), Axis("by running the model", range=(-top, top))
    return Chart([Panel(marks, x, y)], 380, (60, 10, 100, 10), Legend(-0.24))
