"""The panels of a feature's page: where and how strongly it fires, its words, its neighbours, its numbers."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from core.answers.feature import AREA_NAMES, areas_answer, ratio_told
from core.config import LANGUAGE_NAME
from core.figures.feature import (
    activation_histogram,
    densities_frame,
    density_bars,
    histogram_frame,
    is_word,
    percent,
    visible,
    words_bars,
    words_frame,
)
from core.figures.marks import Chart
from core.figures.palette import VIRIDIS
from core.figures.screen import draw
from core.frames import records
from pages.kit import export, text
from pages.kit.examples import feature_link
from pages.kit.style import is_dark

if TYPE_CHECKING:
    from core.run.reader import Catalog

PLAIN = {"displayModeBar": False}


def scale_bar(top: float) -> None:
    """The one colour scale of all heat maps of a page."""
    bar = f"height:8px;width:9rem;border-radius:4px;background:linear-gradient(90deg,transparent,{','.join(VIRIDIS)})"
    text.html(
        f'<p class="cs-small" style="display:flex;gap:.6em;align-items:center;margin:0">0 <span style="{bar}">'
        f"</span> {top:.2f} (its strongest activation). Hover an image to see it bare.</p>"
    )


def words(row: dict[str, Any]) -> None:
    """The words that it answers to, in both scripts."""
    text.heading("Words it answers to", "the caption and question words on which it fires most")
    text.html(chips(row))


def places(row: dict[str, Any], name: str) -> None:
    """How often it fires on each kind of token; `name` begins the names of the files."""
    where = densities_frame(row)
    said = "; ".join(f"{w}: {percent(d)}" for w, d in zip(where["where"], where["density"], strict=True))
    n = f"share of tokens of each kind; n = {row['n_active']:,} firings"
    panel(
        "Where it fires",
        n,
        f"{name}-densities",
        where,
        density_bars(where),
        said,
    )


def areas(rows: pd.DataFrame, has_map: bool, name: str) -> None:
    """Its activation on person, object and background beside their areas, from its rows of feature_areas.parquet."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        with st.container(width="stretch"):
            text.heading("Where on the picture", "its activation on image patches, beside the area; description only")
        if len(rows):
            export.downloads(f"{name}-areas", rows)
    text.said(areas_answer(rows, has_map), "cs-small")
    shown = [row for row in records(rows) if not row["why"]]
    if shown:
        head = ("Where", "Activation", "Area", "Ratio", "On other images' areas")
        cells = [
            (
                AREA_NAMES[row["kind"]].removeprefix("the ").capitalize(),
                f"{row['share']:.0%}",
                f"{row['area']:.0%}",
                ratio_told(row),
                f"{row['null_share']:.0%}",
            )
            for row in shown
        ]
        text.html(text.table(head, cells, numeric=(1, 2, 3, 4)))


def strengths(row: dict[str, Any], name: str) -> None:
    """The histogram of its activations."""
    top, p999 = float(row["max"] or 0), float(row["p999"] or 0)
    counts = histogram_frame(list(row["histogram"] or []), top)
    panel(
        "How strongly",
        "tokens by activation, where it fires at all; logarithmic",
        f"{name}-histogram",
        counts,
        activation_histogram(counts, p999),
        f"Histogram of activations up to {top:.2f}, 99.9th percentile {p999:.2f}",
    )


def pushes(row: dict[str, Any], name: str) -> None:
    """The words that it pushes up and down."""
    pushed = words_frame(
        row["logits_up_tokens"] or [], row["logits_up"] or [], row["logits_down_tokens"] or [], row["logits_down"] or []
    )
    panel(
        "Words it pushes",
        "down to the left, up to the right, in both languages",
        f"{name}-words",
        pushed,
        words_bars(pushed),
        "Words pushed up: " + ", ".join(map(visible, row["logits_up_tokens"] or [])),
    )


def panel(
    title: str,
    note: str,
    name: str,
    frame: pd.DataFrame,
    chart: Chart,
    alt: str,
    shown: bool = True,
    **options: Any,
) -> None:
    """A figure under its heading, its downloads beside the heading; where it is not `shown` only these two."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        with st.container(width="stretch"):
            text.heading(title, note)
        export.downloads(name, frame, chart)
    if shown:
        figure(chart, alt, **{"key": f"figure-{title}", **options})


def figure(chart: Chart, alt: str, **options: Any) -> None:
    """A chart in the theme of the page, `alt` for those who do not see it."""
    st.plotly_chart(draw(chart, is_dark()), theme=None, config=PLAIN, alt=alt, **options)


def chips(row: dict[str, Any]) -> str:
    """The top tokens in both scripts, with their activation behind them."""
    top = float(row["max"] or 1)
    known = list(zip(row["top_tokens"] or [], row["top_token_values"] or [], strict=True))
    words = [pair for pair in known if is_word(pair[0])] or known  # tags of the chat template are no words
    spans = [
        f'<bdi style="{text.weight_style(float(value) / top)};padding:.1em .45em" title="{value:.2f}">'
        f"{escape(visible(word))}</bdi>"
        for word, value in words
    ]
    return f'<p style="line-height:2.1;display:flex;flex-wrap:wrap;gap:.2em .5em">{"".join(spans) or "none"}</p>'


def neighbours(cat: Catalog, layer: int, feature: int) -> None:
    """The features whose directions are most alike, as links."""
    near = cat.neighbours(layer, feature)
    text.heading("Its neighbours", "features of the same layer that write in nearly the same direction")
    rows = [
        [
            feature_link(layer, int(n["feature"])),
            f"{n['cosine']:.2f}",
            percent(n["density"]),
            " · ".join(f"<bdi>{escape(visible(w))}</bdi>" for w in str(n["tokens"] or "").split(" · ") if is_word(w)),
        ]
        for n in records(near)
    ]
    text.html(text.table(["Feature", "Cosine", "Fires on", "Words it answers to"], rows, numeric=(1, 2)))


def statistics(row: dict[str, Any], layer: int, feature: int) -> None:
    """The numbers themselves."""
    text.heading("Statistics")
    text.html(
        text.facts(
            [
                ("Firings", f"{row['n_active']:,}"),
                ("Fires on", percent(row["density"])),
                ("Mean", f"{row['mean']:.3g}"),
                ("Standard deviation", f"{row['std']:.3g}"),
                ("p99.9", f"{row['p999']:.3g}"),
                ("Maximum", f"{row['max']:.3g}"),
                ("Explains", percent(row["explained_share"])),
                *(
                    (f"Mean on {name} captions", f"{row[f'lang_{lang}']:.3g}")
                    for lang, name in LANGUAGE_NAME.items()
                    if pd.notna(row[f"lang_{lang}"])
                ),
                ("Dictionary", str(row["sae_id"])),
            ]
        )
    )
    plain = {k: v for k, v in row.items() if not isinstance(v, list)}
    export.downloads(f"layer-{layer}-feature-{feature}-statistics", pd.DataFrame([plain]))
