"""All features of a layer: a table and a map of the same things, each filtering the other."""

from __future__ import annotations

import hashlib
from functools import partial

import pandas as pd
import streamlit as st

from core.figures import paper
from core.figures.answers import ONE_LANGUAGE, layer_answer
from core.figures.densities import language_scatter, percent
from core.figures.points import COLOURS
from core.figures.umap_map import feature_map
from core.runs import Run
from pages.kit import export, pickers, runs, selection, states, text
from pages.kit.examples import example_items, layer_features
from pages.kit.images import grid
from pages.kit.links import PAGES
from pages.kit.style import is_dark

QUESTION = "What has the model learned to notice?"
SORTS = {"Explained share": "explained_share", "How often it fires": "density", "Strongest": "max",
         "Leans to Arabic": "lean", "Number": "feature"}  # fmt: skip
LEANS = ("All", "English", "Arabic", "Both")
EDGES = (0.0, 0.0001, 0.001, 0.01, 0.1, 1.0)
EDGE_NAMES = ("0", "0.01 %", "0.1 %", "1 %", "10 %", "100 %")
HEIGHT = 476  # of the map, which with its menu is as tall as the table
VIEWS = ("Neighbours", "Languages")


def main() -> None:
    run = runs.current_run()
    runs.needs(run, "train", "features")
    head = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom", key="knobs"):
        with st.container(width=96):
            layer = pickers.layer_picker(runs.catalog(run))
        features = layer_features(run, layer)
        kept = filtered(features)
    with head:
        answer = layer_answer(features)
        text.page_title(QUESTION, f"In layer {layer}: {answer.text}", answer.sure)
    picked = selection.read_picked(layer) & set(features["feature"])
    shown = kept[kept["feature"].isin(picked)] if picked else kept
    chosen = selection.read_chosen(features)
    left, right = st.columns([1.3, 1], gap="medium")
    with left:
        table(shown, layer, len(features[features["alive"]]), picked)
    with right:
        atlas(features[features["alive"]], kept, picked, chosen, layer)
    preview(run, features, layer, chosen)
    text.method(METHOD)


def filtered(features: pd.DataFrame) -> pd.DataFrame:
    """The knobs, and the living features that they leave, in order."""
    query = st.text_input("Find a word", key="q", bind="query-params", placeholder="woman, امرأة, …", width=150)
    lean = st.segmented_control("Fires on captions in", LEANS, default="All", key="lean", required=True,
                                bind="query-params")  # fmt: skip
    low, high = st.select_slider("Fires on", EDGE_NAMES, value=(EDGE_NAMES[0], EDGE_NAMES[-1]), key="density",
                                 bind="query-params", width=150, help=text.glossary("density"))  # fmt: skip
    order = st.selectbox("Order", list(SORTS), key="sort", bind="query-params", width=150)
    left = features[features["alive"]]
    if query.strip():
        cat = runs.catalog(runs.current_run())
        layer = int(features["layer"].iloc[0])
        left = left[left["feature"].isin(cat.features(layer, text=query)["feature"])]
    if lean == "Both":
        left = left[left["lean"].abs() < ONE_LANGUAGE]
    elif lean != "All":
        left = left[left["lean"] * (1 if lean == "Arabic" else -1) >= ONE_LANGUAGE]
    left = left[left["density"].between(EDGES[EDGE_NAMES.index(low)], EDGES[EDGE_NAMES.index(high)])]
    return left.sort_values(SORTS[order], ascending=order == "Number", kind="stable", na_position="last")


def table(shown: pd.DataFrame, layer: int, n_alive: int, picked: set[int]) -> None:
    """The table; a row that is selected becomes the chosen feature."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="table-head"):
        with st.container(width="stretch"):
            text.html(f'<p class="cs-small" style="margin:0">{len(shown):,} of {n_alive:,} living features'
                      f"{', picked' if picked else ''}</p>")  # fmt: skip
        if picked:
            st.button("Clear", key="clear", type="tertiary", icon=":material/close:", on_click=selection.clear_picked,
                      help="Show all features again, not only those picked on the map")  # fmt: skip
        export.downloads(f"features-layer-{layer}", shown)
    if shown.empty:
        states.empty("No feature passes these filters.", "", "Widen them, or clear the search.")
        return
    gender = [c for c in shown.columns if c.startswith("gender") and pd.api.types.is_numeric_dtype(shown[c])]
    columns = ["feature", "words", "density", "explained_share", "lean", *gender, "max", "p999"]
    ids = shown["feature"].tolist()
    key = f"table-{layer}-{hashlib.sha1(repr(ids).encode()).hexdigest()[:8]}"
    config = st.column_config
    st.dataframe(
        shown[columns], hide_index=True, height=520, key=key, selection_mode=["single-row", "single-cell"],
        on_select=partial(selection.choose_row, key, ids), selection_default=selection.selection_of(ids),
        column_config={
            "feature": config.NumberColumn("No.", width=52, format="%d"),
            "words": config.TextColumn("Words it answers to", width=190),
            "density": config.NumberColumn("Fires on", format="percent", width=66, help=text.glossary("density")),
            "explained_share": config.NumberColumn("Explains", format="percent", width=70, help=EXPLAINS),
            "lean": config.NumberColumn("EN−AR+", format="%.2f", width=74, help=LEAN),
            "max": config.NumberColumn("Max", format="%.1f", width=52),
            "p999": config.NumberColumn("p99.9", format="%.1f", width=56, help=text.glossary("p99.9")),
        },
    )  # fmt: skip


def atlas(alive: pd.DataFrame, kept: pd.DataFrame, picked: set[int], chosen: int | None, layer: int) -> None:
    """The map; points that are clicked or lassoed filter the table."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="map-knobs"):
        view = st.segmented_control("Map", VIEWS, default=VIEWS[0], key="map", required=True, bind="query-params",
                                    label_visibility="collapsed")  # fmt: skip
        names = {name: column for column, name in COLOURS.items()}
        colour = "lean"
        if view == "Neighbours":
            name = st.selectbox("Colour", list(names), key="colour", bind="query-params", label_visibility="collapsed")
            colour = names[name]
    inside = set(kept["feature"]) & picked if len(picked) > 1 else set(kept["feature"])
    if view == "Neighbours":
        fig = feature_map(alive, colour, chosen, inside, is_dark(), HEIGHT)
        plot = partial(paper.feature_map, alive, colour, chosen, inside)
    else:
        fig = language_scatter(alive, chosen, inside, is_dark(), HEIGHT)
        plot = partial(paper.language_scatter, alive, chosen, inside)
    fig.update_layout(dragmode="pan", uirevision=f"{layer}-{view}")  # in lasso mode a click would choose nothing
    key = f"map-{layer}-{view}-{st.session_state.get('map_turn', 0)}"
    st.plotly_chart(fig, theme=None, key=key, on_select=partial(selection.choose_points, key, layer), config=MODEBAR,
                    alt=f"A map of the {len(alive)} features of this layer; the table beside it holds the same.")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        with st.container(width="stretch"):
            text.html('<p class="cs-small" style="margin:0">Click a point, or draw round some with the lasso.</p>')
        export.downloads(f"map-layer-{layer}", alive, plot, key="download-map")


def preview(run: Run, features: pd.DataFrame, layer: int, chosen: int | None) -> None:
    """The strongest images of the chosen feature, and the way to its page."""
    if chosen is None:
        states.empty("Select a row of the table or a point of the map.", "Its strongest images appear here.")
        return
    row = features[features["feature"] == chosen].iloc[0]
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        text.heading(f"Feature {chosen}", f"fires on {percent(row['density'])} of all tokens"
                     + (f" · {row['words']}" if row["words"] else ""))  # fmt: skip
        run_name = {"run": run.name}
        st.page_link(PAGES["feature"], label="Open feature", icon=":material/open_in_full:",
                     query_params={**run_name, "layer": str(layer), "feature": str(chosen)})  # fmt: skip
        st.page_link(PAGES["steering"], label="Steer with this", icon=":material/tune:",
                     query_params={**run_name, "features": f"{layer}:{chosen}"})  # fmt: skip
    if not row["alive"]:
        states.empty(f"Feature {chosen} never fired in this run.", "A dead feature has no examples.")
        return
    examples = runs.catalog(run).examples(layer, chosen, "top", 6)
    grid(run, example_items(examples, float(row["max"]), both=False), columns=6)


EXPLAINS = "The share of the layer's variance that is lost when this feature alone is left out."
LEAN = "−1: fires on English captions only; +1: on Arabic captions only; 0: equally often on both."
MODEBAR = {"displaylogo": False, "displayModeBar": True,
           "modeBarButtonsToRemove": ["autoScale2d", "toImage", "zoomIn2d", "zoomOut2d"]}
METHOD = r"""
Each layer has one dictionary (a sparse autoencoder), trained on the states of both languages together, so that a
feature's number means the same in English and in Arabic. *Fires on* is the share of all positions (image patches,
question and caption words) at which a feature is active; *EN−AR+* compares its densities $d$ on captions:
$(d_{AR} - d_{EN}) / (d_{AR} + d_{EN})$, and so does the map *Languages*. *Explains* is the share of the layer's
variance that is lost when the feature alone is left out. *Neighbours* is UMAP (McInnes et al., 2018) of the features'
decoder directions: near means similar, distances across the map mean little. Settings and versions of this run stand
on the page Provenance.
"""

main()
