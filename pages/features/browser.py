"""All features of a layer: a table and a map of the same things, each filtering the other."""

from __future__ import annotations

import hashlib
from functools import partial
from html import escape

import pandas as pd
import streamlit as st

from core.answers.feature import layer_answer
from core.figures.atlas import NAMES, feature_map, language_scatter
from core.figures.screen import draw
from core.frames import records
from core.run import Run
from core.run.reader import Catalog
from core.run.reader.search import Asked, fit, fold
from core.run.schema.features import FEATURES
from core.run.schema.gender import GENDER_FEATURES
from pages.kit import export, notes, nulls, pickers, runs, selection, states, text, typed
from pages.kit.examples import layer_features
from pages.kit.gallery import preview
from pages.kit.links import href
from pages.kit.style import is_dark

QUESTION = "What has the model learned to notice?"
HEIGHT = 476  # of the map, which with its menu is as tall as the table
VIEWS = ("Neighbours", "Languages")
SORTS = {
    "Explained share": "explained_share",
    "How often it fires": "density",
    "Strongest": "max",
    "Leans to Arabic": "lean",
    "On the person": "on_person",
    "Number": "feature",
}
GENDER_SORTS = {"Women or men, English": "chosen_en", "Women or men, Arabic": "chosen_ar"}  # by the training images
OWNERS = {"All": "", "English": "english", "Arabic": "arabic", "Both": "shared"}  # what it says: language_class
RECURS = ("All", "Yes", "No")
EDGES = (0.0, 0.0001, 0.001, 0.01, 0.1, 1.0)
EDGE_NAMES = ("0", "0.01 %", "0.1 %", "1 %", "10 %", "100 %")
EVERY = "All features"
OWN = {"own": "your label", "note": "your note"}
OWN_WEIGHT = 5.0  # of a label or note by the users, above all that was computed
BEST = {"Best match": "score"}
N_EVERYWHERE = 8


def main() -> None:
    run = runs.current_run()
    runs.needs(run, "train", "features", title=QUESTION)
    head = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom", key="pickers"):
        with st.container(width=96):
            layer = pickers.layer_picker(runs.catalog(run))
        features = notes.with_notes(run, layer_features(run, layer))
        kept = filtered(run, features)
    with head:
        answer = layer_answer(features)
        text.page_title(QUESTION, f"In layer {layer}: {answer.text}", answer.sure, note=answer.note)
    picked = selection.read_picked(run, layer) & set(features["feature"])
    shown = kept[kept["feature"].isin(picked)] if picked else kept
    chosen = selection.read_chosen(features)
    if asked := st.query_params.get("q", "").strip():
        everywhere(runs.catalog(run), asked)
    left, right = st.columns([1.35, 1], gap="medium")
    with left:
        table(shown, layer, len(features[features["alive"]]), picked)
    with right:
        atlas(run, features[features["alive"]], kept, picked, chosen, layer)
    nulls.list_line(runs.catalog(run), layer)
    nulls.labels_line(runs.catalog(run), layer)
    if chosen is None:
        states.empty("Select a row of the table or a point of the map.", "Its strongest images appear here.")
    else:
        preview(run, runs.catalog(run), features[features["feature"] == chosen].iloc[0], layer)
    notes.manager(run, runs.catalog(run))
    text.method(METHOD)


def filtered(run: Run, features: pd.DataFrame) -> pd.DataFrame:
    """The living features of the layer that the pickers leave, in their order."""
    with st.container(width=190):
        query = typed.search_field("Find a meaning", placeholder="woman, امرأة, …", help=FIND)
    owner = "All"
    if "language_class" in features:
        owner = st.segmented_control(
            "Keeps to", list(OWNERS), default="All", key="lean", required=True, bind="query-params", help=OWNER
        )
    recurs = "All"
    if "recurs" in features:
        recurs = st.segmented_control(
            "Recurs with another seed",
            RECURS,
            default="All",
            key="recurs",
            required=True,
            bind="query-params",
            help=RECUR,
        )
    low, high = st.select_slider(
        "Fires on",
        EDGE_NAMES,
        value=(EDGE_NAMES[0], EDGE_NAMES[-1]),
        key="density",
        bind="query-params",
        width=150,
        help=text.glossary("density"),
    )
    left = features[features["alive"]]
    if query.strip():
        left = found(runs.catalog(run), left, query)
    first = BEST if query.strip() else {}
    sorts = {name: column for name, column in {**first, **SORTS, **GENDER_SORTS}.items() if column in left}
    order = st.selectbox("Order", list(sorts), key="order" if first else "sort", bind="query-params", width=150)
    lists = sorted({name for names in left.get("lists", []) for name in names})
    if lists:
        chosen = st.selectbox("List", [EVERY, *lists], key="list", bind="query-params", width=150)
        left = left[[chosen in names for names in left["lists"]]] if chosen != EVERY else left
    if recurs != "All":
        left = left[left["recurs"].eq(1.0) if recurs == "Yes" else left["recurs"].lt(1.0)]
    if owner != "All":
        left = left[left["language_class"] == OWNERS[owner]]
    left = left[left["density"].between(EDGES[EDGE_NAMES.index(low)], EDGES[EDGE_NAMES.index(high)])]
    by = left[sorts[order]]
    by = (by - 0.5).abs() if order in GENDER_SORTS else by
    return left.loc[by.sort_values(ascending=order == "Number", kind="stable", na_position="last").index]


def found(cat: Catalog, features: pd.DataFrame, query: str) -> pd.DataFrame:
    """The features that answer to the query, with ``score`` and ``why``; users' own labels and notes come first."""
    hits = cat.search(query, int(features["layer"].iloc[0]), None) if len(features) else pd.DataFrame()
    left = features.assign(score=0.0, why="")
    if len(hits):
        by_feature = hits.set_index("feature")
        left["score"] = left["feature"].map(by_feature["score"]).fillna(0.0)
        left["why"] = left["feature"].map(by_feature["why"]).fillna("")
    asked = [Asked(fold(query), 1.0)]
    for column, name in OWN.items():
        if column in left:
            fits = pd.Series([fit(fold(str(said)), asked) for said in left[column]], index=left.index)
            left["why"] = left["why"].where(fits == 0, f"{name} · " + left["why"]).str.removesuffix(" · ")
            left["score"] += OWN_WEIGHT * fits
    return left[left["score"] > 0]


def everywhere(cat: Catalog, query: str) -> None:
    """The best features of all layers, with what speaks for them."""
    hits = cat.search(query, None, N_EVERYWHERE)
    if hits.empty:
        return
    links = [
        (
            f"{int(hit['layer'])}",
            f'<a href="{href("feature", layer=int(hit["layer"]), feature=int(hit["feature"]))}">'
            f"{int(hit['feature'])}</a>",
            f"<bdi>{escape(text.without_overrides(hit['why']))}</bdi>",
        )
        for hit in records(hits)
    ]
    with st.expander(f"The best of all layers for “{query.strip()}”", expanded=True):
        text.html(text.table(("Layer", "Feature", "Why"), links, numeric=(0, 1)))


def table(shown: pd.DataFrame, layer: int, n_alive: int, picked: set[int]) -> None:
    """The table; a row that is selected becomes the chosen feature."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="table-head"):
        with st.container(width="stretch"):
            text.html(
                f'<p class="cs-small" style="margin:0">{len(shown):,} of {n_alive:,} living features'
                f"{', picked' if picked else ''}</p>"
            )
        if picked:
            st.button(
                "Clear",
                key="clear",
                type="tertiary",
                icon=":material/close:",
                on_click=selection.clear_picked,
                help="Show all features again, not only those picked on the map",
            )
        export.downloads(f"features-layer-{layer}", shown)
    if shown.empty:
        states.empty("No feature passes these filters.", "", "Widen them, or clear the search.")
        return
    ids, config = shown["feature"].tolist(), st.column_config
    key = f"table-{layer}-{hashlib.sha1(repr(ids).encode()).hexdigest()[:8]}"
    columns = {
        "feature": config.NumberColumn("No.", width=52, format="%d", help=FEATURES["feature"].tooltip),
        "label": config.TextColumn("Label", width=110, help=LABEL),
        "why": config.TextColumn("Why it was found", width=240),
        "words": config.TextColumn("Words it answers to", width=120 if "label" in shown else 190),
        "auc_en": config.NumberColumn("♀♂ EN", format="%.2f", width=64, help=AUC),
        "auc_ar": config.NumberColumn("♀♂ AR", format="%.2f", width=64, help=AUC),
        "recurs": config.NumberColumn("Recurs", format="percent", width=62, help=RECUR),
        "density": config.NumberColumn("Fires on", format="percent", width=66, help=FEATURES["density"].tooltip),
        "lean": config.NumberColumn("EN−AR+", format="%.2f", width=74, help=LEAN),
        "on_person": config.NumberColumn("On person", format="%.2f", width=76, help=ON_PERSON),
        "explained_share": config.NumberColumn(
            "Explains", format="percent", width=70, help=FEATURES["explained_share"].tooltip
        ),
        "max": config.NumberColumn("Max", format="%.1f", width=52, help=FEATURES["max"].tooltip),
        "p999": config.NumberColumn("p99.9", format="%.1f", width=56, help=FEATURES["p999"].tooltip),
    }
    columns = {name: column for name, column in columns.items() if name in shown}
    st.dataframe(
        shown[list(columns)],
        hide_index=True,
        height=min(520, 35 * len(ids) + 40),
        key=key,
        selection_mode=["single-row", "single-cell"],
        on_select=partial(selection.choose_row, key, ids),
        selection_default=selection.selection_of(ids),
        column_config=columns,
    )


def atlas(run: Run, alive: pd.DataFrame, kept: pd.DataFrame, picked: set[int], chosen: int | None, layer: int) -> None:
    """The map; points that are clicked or lassoed filter the table."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="map-pickers"):
        view = st.segmented_control(
            "Map", VIEWS, default=VIEWS[0], key="map", required=True, bind="query-params", label_visibility="collapsed"
        )
        names = {name: column for column, name in NAMES.items() if column in alive}
        colour = "lean"
        if view == "Neighbours":
            name = st.selectbox("Colour", list(names), key="colour", bind="query-params", label_visibility="collapsed")
            colour = names[name]
    if view == "Languages" and states.one_language(run.languages, "No feature can be placed between two languages."):
        return
    inside = set(kept["feature"]) & picked if len(picked) > 1 else set(kept["feature"])
    if view == "Neighbours":
        chart = feature_map(alive, colour, chosen, inside, HEIGHT)
    else:
        chart = language_scatter(alive, chosen, inside, HEIGHT)
    fig = draw(chart, is_dark())
    fig.update_layout(dragmode="pan", uirevision=f"{layer}-{view}")  # in lasso mode a click would choose nothing
    key = f"map-{run.name}-{layer}-{view}-{st.session_state.get('map_turn', 0)}"
    alt = f"A map of the {len(alive)} features of this layer; the table beside it holds the same."
    st.plotly_chart(
        fig, theme=None, key=key, config=MODEBAR, alt=alt, on_select=partial(selection.choose_points, run, key, layer)
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        with st.container(width="stretch"):
            text.html('<p class="cs-small" style="margin:0">Click a point, or draw round some with the lasso.</p>')
        export.downloads(f"map-layer-{layer}", alive, chart, key="download-map")
    if view == "Neighbours":
        nulls.map_line(runs.catalog(run), layer)


FIND = (
    "In labels, what the model says of a feature, words it answers to or pushes; also the word of the other language "
    "that stands in captions of the same images."
)
RECUR = "Whether the dictionary, trained again with another seed, has a feature that fires and points like this one."
LABEL = "Your own label, else the word or attribute that best predicts its firing on held-out images."
AUC = f"Before the first gendered word: {GENDER_FEATURES['auc_test'].meaning}."
OWNER = (
    "As on the page English and Arabic: tested, with enough firings; features between the two stand under All alone."
)
ON_PERSON = (
    "Its activation on patches of the person over the person's share of the area: 1 where it is as strong there as "
    "elsewhere. What fires in the middle of any picture is high too, and of many features the highest are partly so by "
    "chance: interval and null are on the feature's page."
)
LEAN = "−1: fires on English captions only; +1: on Arabic captions only; 0: equally often on both."
REMOVED = ["autoScale2d", "toImage", "zoomIn2d", "zoomOut2d"]
MODEBAR = {"displaylogo": False, "displayModeBar": True, "modeBarButtonsToRemove": REMOVED}
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
