"""How one word was written: its graph beside its picture, what running the model says of it, and several together."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from core.answers import graph as graph_answers
from core.config import LANGUAGE_NAME
from core.figures import graph
from core.figures.graph_json import to_json
from core.figures.palette import GENDER
from core.frames import records
from core.run import Run
from core.run.reader import Catalog
from pages.kit import export, images, panels, states, text
from pages.kit.examples import feature_link
from pages.kit.links import href

N_EDGES = 24  # rows of the table; the download has all


def show(run: Run, cat: Catalog, lang: str) -> None:
    """The section; where the run has no graphs, how to have them."""
    text.heading("How one word was written")
    if not cat.has("graphs"):
        states.empty(
            "This run has no graphs of single words.",
            "Its stage graph has not been run.",
            f"Run python -m precompute run {run.name} --only graph",
        )
        return
    graphs = cat.graphs()
    layers = cat.graph_layers()
    text.said(graph_answers.graph_answer(graphs, layers), "cs-answer")
    mine = graphs[(graphs["lang"] == lang) & (graphs["why"] == "")]
    if mine.empty:
        why = next((w for w in graphs[graphs["lang"] == lang]["why"] if w), "no caption of it was followed back")
        states.empty(f"There is no graph in {LANGUAGE_NAME[lang]}.", f"{why[:1].upper()}{why[1:]}.")
        return
    sample_id = picked(mine)
    row = next(r for r in records(mine) if r["sample_id"] == sample_id)
    nodes, edges = cat.graph_nodes(lang, row["sample_id"]), cat.graph_edges(lang, row["sample_id"])
    text.said(graph_answers.caption_answer(row, nodes, edges), "cs-answer")
    one(run, cat, row, nodes, edges)
    table(nodes, edges)
    over_captions(cat, graphs, layers, lang)


def picked(mine: pd.DataFrame) -> int:
    """The image whose graph is shown."""
    known = [int(i) for i in mine["sample_id"]]
    largest = int(mine["sample_id"].iloc[int(mine["total"].abs().argmax())])
    return int(
        st.selectbox(
            "Image",
            known,
            index=known.index(largest),
            key="graph",
            bind="query-params",
            width=140,
            help="Held-out images, those of women first. Followed back is the first gendered word of the model’s own "
            "caption; at first that to which the picture adds most.",
        )
    )


def one(run: Run, cat: Catalog, row: dict[str, Any], nodes: pd.DataFrame, edges: pd.DataFrame) -> None:
    """Picture and graph side by side, one below the other where it is narrow."""
    name = f"graph-{row['lang']}-{row['sample_id']}"
    left, right = st.columns([1, 2.4], gap="large")
    with left:
        picture(run, cat, row, nodes)
    with right:
        panels.panel(
            "From the picture up to the word",
            "numbers are features; width: log-odds that pass; a cross: running the model does not bear it out",
            name,
            edges,
            graph.graph_figure(nodes, edges, row["word"]),
            f"Graph of “{row['word']}”: {' → '.join(graph_answers.strongest_path(nodes, edges))}",
            key="graph-figure",
        )
        st.download_button(
            "JSON for circuit-tracer’s viewer",
            lambda: as_json(run, row, nodes, edges),
            f"{name}.json",
            "application/json",
            key="graph-json",
            on_click="ignore",
            type="tertiary",
            icon=":material/download:",
        )


def as_json(run: Run, row: dict[str, Any], nodes: pd.DataFrame, edges: pd.DataFrame) -> str:
    """The graph for viewers of circuit-tracer's format."""
    odds = row["log_odds"] if row["gender"] == "female" else -row["log_odds"]
    probability = float(1 / (1 + np.exp(-odds)))
    slug, scan = f"{run.name}-{row['lang']}-{row['sample_id']}", str(run.config().model.name)
    names = {"word": row["word"], "counterpart": row["counterpart"]}
    return to_json(nodes, edges, slug=slug, scan=scan, probability=probability, **names)


def picture(run: Run, cat: Catalog, row: dict[str, Any], nodes: pd.DataFrame) -> None:
    """The picture with its regions, each with its letter and in the colour of the words that it speaks for."""
    regions = [r for r in records(nodes[nodes["kind"] == "patches"]) if r["node"] != "rest of the picture"]
    n = sum(len(r["patches"]) for r in records(nodes[nodes["kind"] == "patches"]))
    side = round(n**0.5)
    caption = f"<bdi>{escape(row['word'])}</bdi> rather than <bdi>{escape(row['counterpart'])}</bdi>"
    link = f'<a href="{escape(href("samples", sample=row["sample_id"]))}">image {row["sample_id"]}</a>'
    if not regions or side * side != n:
        known = "How the image tokens lie over the picture is not known here: no regions are drawn on it."
        images.grid(run, [images.GridItem(int(row["sample_id"]), f"{caption}, {link}")], columns=1, full=True)
        text.html(f'<p class="cs-small">{known}</p>')
        return
    short, marks = graph.letters(nodes), []
    for r in regions:
        colour, line = GENDER["female" if r["effect"] >= 0 else "male"], "solid" if r["effect"] >= 0 else "dashed"
        marks += [
            f'<span style="{_at(i % side, i // side, side)};background:{colour}40;border:2px {line} {colour}"></span>'
            for i in r["patches"]
        ]
        x, y = (float(np.mean([f(i) for i in r["patches"]])) for f in (lambda i: i % side, lambda i: i // side))
        marks.append(
            f'<b style="{_at(x, y, side)};display:flex;align-items:center;justify-content:center;color:#fff;'
            f'text-shadow:0 0 3px #000,0 0 3px #000">{short[r["node"]]}</b>'
        )
    alt = "; ".join(f"region {short[r['node']]}: {r['effect']:+.1f} log-odds" for r in regions)
    text.html(
        '<figure class="cs-tile" style="max-width:300px">'
        '<span class="cs-frame" style="position:relative;display:block">'
        f'<img src="{images.data_uri(run, int(row["sample_id"]), True)}" alt="{escape(alt)}" style="width:100%">'
        f"{''.join(marks)}</span><figcaption>{caption}, {link}</figcaption></figure>"
    )


def _at(column: float, row: float, side: int) -> str:
    """Style that lays something over a cell of a picture's grid."""
    cell = 100 / side
    place = f"left:{column * cell:.3f}%;top:{row * cell:.3f}%;width:{cell:.3f}%;height:{cell:.3f}%"
    return f"position:absolute;box-sizing:border-box;{place}"


def table(nodes: pd.DataFrame, edges: pd.DataFrame) -> None:
    """The strongest edges as a list: what gradients say beside what running the model shows."""
    by_name = {r["node"]: r for r in records(nodes)}
    short = graph.letters(nodes)

    def cell(name: str) -> str:
        node = by_name[name]
        if node["kind"] == "feature":
            label = f" <bdi>“{escape(node['label'])}”</bdi>" if node["label"] else ""
            place = graph_answers.PLACE[node["place"]]
            return f"{feature_link(node['layer'], node['feature'])}{label} <span class='cs-small'>{place}</span>"
        if node["kind"] == "patches":
            return escape(graph_answers.called(node, short))
        return "the word" if node["kind"] == "word" else f"left out, layer {node['layer']}"

    rows = [
        [
            cell(e["source"]),
            cell(e["target"]),
            f"{e['effect']:+.2f}",
            f"{e['measured']:+.2f}",
            f"{e['taken']:+.2f}",
            f"{e['alone']:+.2f}",
            "yes" if e["holds"] else "no",
        ]
        for e in records(edges.head(N_EDGES))
    ]
    with st.expander(f"The {len(rows)} strongest of {len(edges)} edges, each checked by running the model"):
        head = ["From", "To", "By gradients", "By running", "Taken back", "Alone", "Borne out"]
        text.html(text.table(head, rows, (2, 3, 4, 5)))


def over_captions(cat: Catalog, graphs: pd.DataFrame, layers: pd.DataFrame, lang: str) -> None:
    """Shares over captions beside their controls, and how far gradients can be believed."""
    shares = graph_answers.share_rows(graphs, layers, lang)
    edges = cat.graph_edges()
    left, right = st.columns(2, gap="large")
    with left:
        panels.panel(
            "What such graphs explain",
            f"{LANGUAGE_NAME[lang]}, all captions with a graph; intervals over captions",
            f"graph-shares-{lang}",
            shares,
            graph.shares_figure(shares),
            "Share of what pictures do to words, by layer and dictionary",
            key="graph-shares",
        )
    with right:
        panels.panel(
            "Gradients and running the model",
            graph_answers.agreement_sentence(edges),
            "graph-checks",
            edges,
            graph.checks_figure(edges),
            "Edges by gradients against running the model",
            key="graph-checks",
        )
    export.downloads("graph-layers", layers)
